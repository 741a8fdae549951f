"""Digits through networks of escnn, for C8 and O(2): the callback reads off the layer how the symmetry acts.

Run: python examples/images.py [folder]
"""

import sys

import pytorch_lightning as pl
import torch
from escnn import gspaces
from escnn import nn as enn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant import InvariantCallback


class Classifier(pl.LightningModule):
    """Three convolutions down to one pixel, then a linear head."""

    def __init__(self, space) -> None:
        super().__init__()
        self.image = enn.FieldType(space, [space.trivial_repr])
        if space.fibergroup.order() > 0:
            hidden = enn.FieldType(space, 8 * [space.regular_repr])
            act = lambda: enn.ReLU(hidden)  # noqa: E731
        else:
            hidden = enn.FieldType(
                space, 8 * [space.irrep(0, 0), space.irrep(1, 0), space.irrep(1, 1), space.irrep(1, 2)]
            )
            act = lambda: enn.NormNonLinearity(hidden)  # noqa: E731
        layers = [enn.R2Conv(self.image, hidden, 5), act(), enn.R2Conv(hidden, hidden, 5), act()]
        self.body = enn.SequentialModule(*layers, enn.R2Conv(hidden, hidden, 5))
        self.head = torch.nn.Linear(hidden.size, 10)

    def training_step(self, batch, batch_idx):
        z = self.body(self.image(batch[0])).tensor.flatten(1)
        return torch.nn.functional.cross_entropy(self.head(z), batch[1])

    validation_step = training_step

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


def main(output: str) -> None:
    x, y = (torch.as_tensor(part) for part in load_digits(return_X_y=True))
    x = torch.nn.functional.interpolate(x.float().reshape(-1, 1, 8, 8) / 16, size=13, mode="bilinear")
    sets = TensorDataset(x[:900], y[:900]), TensorDataset(x[900:1300], y[900:1300])
    for space in (gspaces.rot2dOnR2(8), gspaces.flipRot2dOnR2(-1, maximum_frequency=2)):
        callback = InvariantCallback("body")
        trainer = pl.Trainer(max_epochs=2, callbacks=[callback], default_root_dir=output, accelerator="cpu")
        trainer.fit(Classifier(space), DataLoader(sets[0], 64, shuffle=True), DataLoader(sets[1], 64))
        print(f"\n{callback.representation}")
        for name in ("equivariance_error", "knn_raw", "knn"):
            print(f"{name:20} {trainer.callback_metrics[f'invariance/{name}']:.3g}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["runs/images"]))
