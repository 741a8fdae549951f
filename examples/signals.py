"""Periodic signals: where a period starts means nothing, so the group shifts time.

Run: python examples/signals.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback

T = 64


def beats(count: int, seed: int) -> TensorDataset:
    """Signals (count, 1, 64) that start at their peak: four classes by the place and height of a second peak."""
    generator = torch.Generator().manual_seed(seed)
    y, t = torch.randint(4, (count,), generator=generator), torch.arange(T) / T
    place, height = 0.25 + 0.2 * (y % 2), 0.4 + 0.4 * (y // 2)
    x = sum(h * torch.exp(-200 * (t - p[:, None]) ** 2) for h, p in ((1, 0 * place + 0.1), (height[:, None], place)))
    return TensorDataset((x + 0.1 * torch.randn(count, T, generator=generator))[:, None], y)


class Classifier(pl.LightningModule):
    """Circular convolutions: a shifted signal has shifted latents."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv1d(1, 16, 9, padding=4, padding_mode="circular"), nn.ReLU()]
        self.encoder = nn.Sequential(*layers, nn.Conv1d(16, 8, 9, padding=4, padding_mode="circular"))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * T, 4))

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.head(self.encoder(batch[0])), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(output: str) -> None:
    callback = InvariantCallback("encoder", f"T{T}: 8 regular", export=f"{output}/encoder")
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(beats(600, 0), 64, True), DataLoader(beats(400, 1), 64))
    for name in ("equivariance_error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/signals"]))
