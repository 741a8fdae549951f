"""A network of one hidden layer as a probe, for classes and for values.

scikit-learn's keeps its learning rate, and on wide features it is far from its best when its epochs are over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float, Int64
    from torch import Tensor

HIDDEN, EPOCHS, BATCH, HIGHEST = 128, 40, 128, 5e-3
"""Units, epochs, rows a step, and the highest rate of Adam under one cycle (Smith and Topin 2018, 1708.07120)."""


def mlp_classes(
    bank: Float[Tensor, "N K"], labels: Int64[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]], seed: int
) -> list[Int64[Tensor, "M"]]:
    """The likeliest class of each row, by cross entropy on the bank."""
    scores = _fitted(bank, int(labels.max()) + 1, lambda out, rows: F.cross_entropy(out, labels[rows]), queries, seed)
    return [part.argmax(dim=1) for part in scores]


def mlp_values(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]], seed: int
) -> list[Float[Tensor, "M"]]:
    """The value of each row, float64, by squared error on the bank."""
    mean, deviation = y.mean(), y.std()
    scaled = ((y - mean) / deviation).float()
    found = _fitted(bank, 1, lambda out, rows: F.mse_loss(out[:, 0], scaled[rows]), queries, seed)
    return [part[:, 0].double() * deviation.double() + mean.double() for part in found]


def _fitted(
    bank: Tensor, outputs: int, loss: Callable[[Tensor, Tensor], Tensor], queries: Sequence[Tensor], seed: int
) -> list[Tensor]:
    """Outputs for the queries.

    Features are centred and divided by one number, so that angles stay: scaling each column by itself would blow up
    those that hardly vary.
    """
    centre = bank.mean(dim=0)
    spread = (bank - centre).std().clamp_min(torch.finfo(bank.dtype).tiny)
    known, asked = ((bank - centre) / spread).float(), [((rows - centre) / spread).float() for rows in queries]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Linear(bank.shape[1], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, outputs)).to(bank.device)
        _train(network, known, loss)
    with torch.no_grad():
        return [network(rows) for rows in asked]


def _train(network: nn.Module, x: Tensor, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    size = min(BATCH, len(x))
    steps = len(x) // size
    optimizer = torch.optim.Adam(network.parameters(), lr=HIGHEST)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, HIGHEST, total_steps=EPOCHS * steps)
    for _ in range(EPOCHS):
        # What does not fill a batch is left out, other rows in every epoch.
        for rows in torch.randperm(len(x))[: steps * size].to(x.device).split(size):
            optimizer.zero_grad()
            loss(network(x[rows]), rows).backward()
            optimizer.step()
            schedule.step()
