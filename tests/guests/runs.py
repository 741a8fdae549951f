"""Short training runs of guests' networks: real Trainer, everything measured."""

from __future__ import annotations

import tempfile
import warnings

import pytorch_lightning as pl
import torch

from lightning_invariant import InvariantCallback


class Module(pl.LightningModule):
    """A network with a loss of its batches."""

    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = net

    def loss(self, batch):
        raise NotImplementedError

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def validation_step(self, batch, batch_idx):
        self.log("val/loss", self.loss(batch), batch_size=1)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


def fitted(module, loaders, *arguments, epochs=1, **settings) -> InvariantCallback:
    """Fit under a callback, which is returned."""
    torch.manual_seed(0)
    callback = InvariantCallback(*arguments, **({"max_overhead": None, "figures": None} | settings))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet(max_epochs=epochs, callbacks=[callback]).fit(module, *loaders)
    return callback


def quiet(**settings) -> pl.Trainer:
    """A Trainer that prints nothing and leaves no files."""
    silent = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    folder = tempfile.mkdtemp()  # messages go there
    return pl.Trainer(accelerator="cpu", enable_model_summary=False, default_root_dir=folder, **silent, **settings)


def number(callback: InvariantCallback, name: str) -> float:
    """A logged number of a report."""
    assert callback.report is not None
    scalars = callback.report.scalars
    return scalars.get(f"invariance/{name}", scalars.get(f"invariance_details/{name}", float("nan")))


def said(callback: InvariantCallback) -> str:
    """Everything that a report says, in one text."""
    assert callback.report is not None
    return "\n".join(callback.report.messages)


def wrong(callback: InvariantCallback) -> list[str]:
    """Findings about a layer that is equivariant as declared: there should be none of these."""
    assert callback.report is not None
    words = ("do not transform as", "cannot be had", "tell by which element", "were left out", "failed")
    return [message for message in callback.report.messages if any(word in message for word in words)]
