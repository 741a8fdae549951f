"""An ordinary regression of the atomisation energy on an equivariant encoder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F

from lightning_invariant.zoo.one_cycle import one_cycle
from lightning_invariant.zoo.vector_network import VectorEncoder, lengths

if TYPE_CHECKING:
    from jaxtyping import Float
    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor

UNIT = 100.0
"""kcal/mol: about what one atom contributes, so that the network predicts numbers near 1."""


class AtomisationEnergy(pl.LightningModule):
    """Sum over atoms of a linear map of their scalars and of the lengths of their vectors; knows no projections.

    Args:
        scalars: Numbers of an atom in the latent.
        vectors: Vectors of an atom in the latent.
        width: Scalars, and vectors, of an atom inside the encoder.
        layers: Rounds of messages.
        lr: Largest learning rate of AdamW; it falls to zero along a cosine.
    """

    def __init__(self, scalars: int = 8, vectors: int = 4, width: int = 32, layers: int = 3, lr: float = 2e-3) -> None:
        super().__init__()
        self.encoder = VectorEncoder(scalars=scalars, vectors=vectors, width=width, layers=layers)
        self.head = nn.Linear(scalars + vectors, 1)
        self.lr = lr

    def forward(self, x: Float[Tensor, "B n 4"]) -> Float[Tensor, "B"]:
        """Atomisation energies in kcal/mol."""
        z = self.encoder(x)
        n, cut = x.shape[1], self.encoder.scalars * x.shape[1]
        s = z[:, :cut].unflatten(1, (-1, n)).mT
        v = z[:, cut:].unflatten(1, (-1, n, 3)).transpose(1, 2)
        there = (x[..., 0] > 0).to(z.dtype)
        return UNIT * (self.head(torch.cat([s, lengths(v)], dim=-1))[..., 0] * there).sum(dim=1)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Absolute error, smooth near zero."""
        x, y = batch
        return F.smooth_l1_loss(self(x) / UNIT, y / UNIT, beta=0.02)

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Log the mean absolute error in kcal/mol on molecules as they come."""
        x, y = batch
        self.log("val/mae", F.l1_loss(self(x), y), prog_bar=True, batch_size=len(x))

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Long steps early in training would saturate the gates."""
        nn.utils.clip_grad_norm_(self.parameters(), 1.0)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with a warm-up and a cosine."""
        return one_cycle(self, self.lr, warm_up=0.1, decay=1e-4)
