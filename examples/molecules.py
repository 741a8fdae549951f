"""Molecule-like clouds through an EGNN: features of atoms are invariant already, coordinates rotate with the input.

Run: python examples/molecules.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from egnn_pytorch import EGNN
from torch import nn
from torch.utils.data import DataLoader

from lightning_invariant import InvariantCallback

ATOMS = 6


def molecules(count: int, seed: int) -> list[dict[str, torch.Tensor]]:
    """Dicts of positions (6, 3), turned at random, and types (6,), of one of five shapes."""
    generator = torch.Generator().manual_seed(seed)
    shapes = torch.randn(5, ATOMS, 3, generator=torch.Generator().manual_seed(7))
    rows = []
    for _ in range(count):
        y = torch.randint(5, (), generator=generator)
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator))[0]
        pos = (shapes[y] + 0.15 * torch.randn(ATOMS, 3, generator=generator)) @ turn
        order = torch.randperm(ATOMS, generator=generator)
        rows.append({"pos": (pos - pos.mean(0))[order], "z": (torch.arange(ATOMS) % 3)[order], "y": y})
    return rows


class Classifier(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.egnn, self.head = nn.Embedding(3, 8), EGNN(dim=8), nn.Linear(8, 5)

    def training_step(self, batch, batch_idx):
        features, _ = self.egnn(self.embed(batch["z"]), batch["pos"])
        return nn.functional.cross_entropy(self.head(features.mean(1)), batch["y"])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(output: str) -> None:
    # Both outputs of the layer, atom by atom: eight invariant features and a vector.
    both = {"pick": lambda out: torch.cat(out, dim=2)}
    callback = InvariantCallback("egnn", "S6 x O3: 6 points (8x0e + 1x1o)", **both)
    trainer = pl.Trainer(max_epochs=3, callbacks=[callback], default_root_dir=output, accelerator="cpu")
    trainer.fit(Classifier(), DataLoader(molecules(600, 0), 64, shuffle=True), DataLoader(molecules(400, 1), 64))
    for name in ("equivariance_error", "knn_raw", "knn"):
        print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/molecules"]))
