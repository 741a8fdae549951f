"""Small training loops for the tests: random pixels, real Trainer."""

from __future__ import annotations

import warnings

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder

REPRESENTATION = "C4: 4 regular"


def data(rows: int = 96, seed: int = 0) -> TensorDataset:
    """Four classes of 8 x 8 images: a bright line, corner, cross or blot, with noise."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (rows,), generator=generator)
    shapes = torch.zeros(4, 8, 8)
    shapes[0, 2, 1:7], shapes[1, 1:4, 1], shapes[1, 1, 1:4] = 1, 1, 1
    shapes[2, 4, 2:7], shapes[2, 2:7, 4], shapes[3, 1:4, 4:7] = 1, 1, 1
    x = shapes[y] + 0.2 * torch.randn(rows, 8, 8, generator=generator)
    return TensorDataset(x.unsqueeze(1), y)


class Classifier(pl.LightningModule):
    """An equivariant encoder with dropout in the head, so that a disturbed random state shows in the weights."""

    def __init__(self, encoder: nn.Module | None = None) -> None:
        super().__init__()
        self.encoder = encoder or QuarterTurnEncoder(1, 4)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(16, 4))
        self.unused = nn.Linear(2, 2)
        self.steps = 0

    def forward(self, x):
        return self.head(self.encoder(x))

    def training_step(self, batch, batch_idx):
        self.steps += 1
        x, y = batch
        return F.cross_entropy(self(x + 0.1 * torch.randn_like(x)), y)

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        x, y = batch
        self.log("val/loss", F.cross_entropy(self(x), y))

    def test_step(self, batch, batch_idx):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


def trainer(callbacks, folder, **settings) -> pl.Trainer:
    quiet = {
        "accelerator": "cpu",
        "max_epochs": 2,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pl.Trainer(callbacks=callbacks, **(quiet | settings))


def loaders(batch_size: int = 16):
    return (
        DataLoader(data(), batch_size, shuffle=True),
        DataLoader(data(64, seed=1), batch_size),
    )


def fit(callbacks, folder, module: pl.LightningModule | None = None, seed: int = 0, **settings):
    """Seed, build, train; returns the trained module and its trainer."""
    pl.seed_everything(seed, verbose=False)
    module = module if module is not None else Classifier()
    run = trainer(callbacks, folder, **settings)
    run.fit(module, *loaders())
    return module, run
