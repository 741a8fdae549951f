"""Volumes in any of the 24 orientations of a cube: an orbit layer around an ordinary 3-D network.

Run: python examples/volumes.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback, OrbitLayer

SHAPES = torch.tensor([
    [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 0, 3)], [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)],
    [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 2)], [(0, 0, 0), (0, 0, 1), (0, 0, 2), (0, 1, 1)],
    [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 2)], [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)],
])  # fmt: skip


def tetracubes(count: int, seed: int) -> TensorDataset:
    """Volumes (count, 1, 6, 6, 6) with one of six pieces of four voxels, and noise."""
    generator = torch.Generator().manual_seed(seed)
    x, y = 0.3 * torch.randn(count, 1, 6, 6, 6, generator=generator), torch.randint(6, (count,), generator=generator)
    for volume, label in zip(x, y, strict=True):
        place = SHAPES[label] + torch.randint(1, 3, (3,), generator=generator)
        volume[(0, *place.T)] += 2
    return TensorDataset(x, y)


class Classifier(pl.LightningModule):
    """Nothing makes it equivariant, and all its training data lie the same way."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv3d(1, 16, 3), nn.ReLU(), nn.Conv3d(16, 32, 3), nn.ReLU(), nn.AdaptiveMaxPool3d(1)]
        self.encoder, self.head = nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 16)), nn.Linear(16, 6)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.head(self.encoder(batch[0])), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


def main(output: str) -> None:
    plain = InvariantCallback("encoder", "Cube: 16 trivial", prefix="plain_")
    orbit = InvariantCallback(OrbitLayer("encoder", "Cube"), "Cube: 16 regular", max_overhead=None)
    trainer = pl.Trainer(max_epochs=4, callbacks=[plain, orbit], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(tetracubes(1500, 0), 64, True), DataLoader(tetracubes(400, 1), 64))
    for name in ("plain_invariance/knn", "invariance/error", "invariance/knn"):
        print(f"{name:24} {trainer.callback_metrics[name]:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/volumes"]))
