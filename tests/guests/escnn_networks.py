"""A small steerable network as in escnn's tutorials, and digits for it."""

import tempfile

import pytest
import pytorch_lightning as pl
import torch

pytest.importorskip("escnn", reason="needs escnn (make test-guests)")

from escnn import nn as enn
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset


class Steerable(pl.LightningModule):
    """Two steerable convolutions and a linear head.

    Args:
        space: Of escnn.
        fields: Representations of the latent's fields.
        direct: Whether the step calls the body itself, so that no forward takes plain tensors.
    """

    def __init__(self, space, fields, *, direct=False):
        super().__init__()
        self.inward, self.direct = enn.FieldType(space, [space.trivial_repr]), direct
        if space.fibergroup.order() > 0:
            middle = enn.FieldType(space, 4 * [space.regular_repr])
            first = [enn.R2Conv(self.inward, middle, 5), enn.InnerBatchNorm(middle), enn.ReLU(middle)]
        else:
            irreps = space.fibergroup.bl_irreps(2)
            nonlinearity = enn.FourierELU(space, 4, irreps=irreps, N=16, inplace=False)
            middle = nonlinearity.out_type
            first = [enn.R2Conv(self.inward, nonlinearity.in_type, 5), nonlinearity]
        outward = enn.FieldType(space, fields)
        self.body = enn.SequentialModule(*first, enn.R2Conv(middle, outward, 5))
        self.head = torch.nn.Linear(outward.size, 10)

    def latent(self, x):
        return self.body(enn.GeometricTensor(x, self.inward)).tensor.mean((2, 3))

    def forward(self, x):
        return self.head(self.latent(x))

    def _loss(self, batch):
        x, y = batch
        return torch.nn.functional.cross_entropy(self.head(self.latent(x)) if self.direct else self(x), y)

    def training_step(self, batch, _):
        return self._loss(batch)

    def validation_step(self, batch, _):
        self.log("val_loss", self._loss(batch))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-2)


class Encoder(torch.nn.Module):
    """An encoder of one's own class that gives a GeometricTensor, and cannot be traced where `branch` is set."""

    def __init__(self, n, fields, *, branch=False):
        super().__init__()
        from escnn import gspaces

        space = gspaces.rot2dOnR2(n)
        self.inward, self.branch = enn.FieldType(space, [space.trivial_repr]), branch
        outward = enn.FieldType(space, fields * [space.regular_repr])
        self.layers = enn.SequentialModule(enn.R2Conv(self.inward, outward, 9), enn.ReLU(outward))

    def forward(self, x):
        if self.branch and x.sum() > 1e9:
            x = -x
        return self.layers(enn.GeometricTensor(x, self.inward))


class Wrapped(pl.LightningModule):
    """A LightningModule around an encoder of one's own class."""

    def __init__(self, encoder, width, *, scale=1.0):
        super().__init__()
        self.encoder, self.head, self.scale = encoder, torch.nn.Linear(width, 10), scale

    def forward(self, x):
        return self.head(self.encoder(self.scale * x).tensor.flatten(1))

    training_step = Steerable.training_step
    validation_step = Steerable.validation_step
    configure_optimizers = Steerable.configure_optimizers

    def _loss(self, batch):
        return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])


def digits(size, count=160):
    """Return loaders for training and validation."""
    x, y = load_digits(return_X_y=True)
    x = torch.tensor(x[: 2 * count], dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    x = torch.nn.functional.interpolate(x, size=size, mode="bilinear")
    sets = (
        TensorDataset(x[:count], torch.tensor(y[:count])),
        TensorDataset(x[count:], torch.tensor(y[count : 2 * count])),
    )
    return [DataLoader(part, 32) for part in sets]


def fitted(module, callback, size=9, **settings):
    """Train for an epoch; return the last validation's inputs."""
    loaders = digits(size)
    trainer = pl.Trainer(
        max_epochs=1,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tempfile.mkdtemp(),
        **settings,
    )
    trainer.fit(module, *loaders)
    return loaders[1].dataset.tensors[0]
