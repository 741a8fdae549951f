"""Chromagrams: which chord it is should not depend on the key, so the group shifts the twelve pitch classes.

Run: python examples/chords.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback

CHORDS = [(0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8), (0, 4, 7, 10), (0, 4, 7, 11)]


def chromagrams(count: int, seed: int) -> TensorDataset:
    """Energies of shape (count, 1, 12, 16), pitch class and time, of chords in the key of C."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(6, (count,), generator=generator)
    x = torch.stack([torch.zeros(12).index_fill(0, torch.tensor(CHORDS[i]), 1.0) for i in y.tolist()])
    return TensorDataset(x[:, None, :, None] + 0.35 * torch.randn(count, 1, 12, 16, generator=generator), y)


class Classifier(pl.LightningModule):
    """Convolutions that are circular along the pitch classes: transposing the music shifts the latent."""

    def __init__(self) -> None:
        super().__init__()
        circular = {"kernel_size": (12, 1), "padding": (0, 0)}
        self.encoder = nn.Sequential(
            nn.CircularPad2d((0, 0, 0, 11)), nn.Conv2d(1, 16, **circular), nn.ReLU(),
            nn.CircularPad2d((0, 0, 0, 11)), nn.Conv2d(16, 8, **circular), nn.AdaptiveAvgPool2d((12, 1)), nn.Flatten(1),
        )  # fmt: skip
        self.head = nn.Linear(96, 6)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.head(self.encoder(batch[0])), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(output: str) -> None:
    callback = InvariantCallback("encoder", "T12: 8 regular", export=f"{output}/encoder")
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(chromagrams(600, 0), 64, True), DataLoader(chromagrams(400, 1), 64))
    for name in ("equivariance_error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/chords"]))
