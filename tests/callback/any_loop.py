"""Training loops of every kind that the callback has to leave alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, IterableDataset

from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder
from tests.callback.loops import REPRESENTATION, Classifier, data, loaders


class Manual(Classifier):
    """Manual optimisation with two optimizers, stepping every second batch."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.manual_backward(loss)
        if batch_idx % 2:
            for optimizer in self.optimizers():
                optimizer.step()
                optimizer.zero_grad()

    def configure_optimizers(self):
        return [torch.optim.SGD(part.parameters(), 0.05, momentum=0.9) for part in (self.encoder, self.head)]


class Configured(Classifier):
    """Layers that only exist from `configure_model` on."""

    def __init__(self):
        super().__init__()
        del self.encoder

    def configure_model(self):
        if not hasattr(self, "encoder"):
            self.encoder = QuarterTurnEncoder(1, 4)


class Checkpointed(Classifier):
    """Activations are computed twice in training."""

    def forward(self, x):
        return self.head(checkpoint(self.encoder, x, use_reentrant=False))


class CompiledInPlace(Classifier):
    def __init__(self):
        super().__init__()
        self.encoder.compile(backend="eager")


class CompiledWrapper(Classifier):
    def __init__(self):
        super().__init__()
        self.encoder = torch.compile(self.encoder, backend="eager")


class CompiledBefore(Classifier):
    """Its compiled code has run before the callback could hook anything."""

    def __init__(self):
        super().__init__()
        self.encoder = torch.compile(self.encoder, backend="eager")
        for rows in (2, 16):
            self.eval()(torch.zeros(rows, 1, 8, 8))
        self.train()


class TwoViews(Classifier):
    """SimCLR-like: two views of each image, through the encoder as one batch."""

    def training_step(self, batch, batch_idx):
        (one, other), _ = batch
        a, b = self.head(self.encoder(torch.cat([one, other]))).chunk(2)
        return -F.cosine_similarity(a, b).mean() + self.unused.weight.sum() * 0

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)


class TwoCalls(TwoViews):
    """The same, one call of the encoder a view."""

    def training_step(self, batch, batch_idx):
        (one, other), _ = batch
        return -F.cosine_similarity(self(one), self(other)).mean()


class Frozen(Classifier):
    """Transfer learning as in Lightning's documentation: a frozen encoder in eval mode, a new head."""

    def __init__(self):
        super().__init__()
        self.encoder.requires_grad_(False)

    def forward(self, x):
        self.encoder.eval()
        with torch.no_grad():
            z = self.encoder(x)
        return self.head(z)


class AutoEncoder(pl.LightningModule):
    """The first example of Lightning's documentation, with its `view`."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))
        self.decoder = nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 64))

    def training_step(self, batch, batch_idx):
        x, _ = batch
        x = x.view(x.size(0), -1)
        return F.mse_loss(self.decoder(self.encoder(x) + 0.01 * torch.randn(len(x), 16)), x)

    def validation_step(self, batch, batch_idx):
        self.training_step(batch, batch_idx)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Gan(pl.LightningModule):
    """The GAN of Lightning's documentation, smaller: manual optimisation, toggled optimizers."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.generator = nn.Sequential(nn.Linear(8, 64), nn.Tanh())
        self.encoder = QuarterTurnEncoder(1, 4)
        self.judge = nn.Linear(16, 1)

    def forward(self, z):
        return self.generator(z).reshape(-1, 1, 8, 8)

    def discriminate(self, x):
        return self.judge(self.encoder(x).flatten(1))

    def training_step(self, batch, batch_idx):
        x, _ = batch
        generator, discriminator = self.optimizers()
        noise = torch.randn(len(x), 8)
        for optimizer, images, target in (
            (generator, self(noise), 1.0),
            (discriminator, x, 1.0),
            (discriminator, self(noise).detach(), 0.0),
        ):
            self.toggle_optimizer(optimizer)
            scores = self.discriminate(images)
            self.manual_backward(F.binary_cross_entropy_with_logits(scores, torch.full_like(scores, target)))
            optimizer.step()
            optimizer.zero_grad()
            self.untoggle_optimizer(optimizer)

    def validation_step(self, batch, batch_idx):
        self.discriminate(batch[0])

    def configure_optimizers(self):
        judged = [*self.encoder.parameters(), *self.judge.parameters()]
        return torch.optim.Adam(self.generator.parameters(), 1e-3), torch.optim.Adam(judged, 1e-3)


class Plateau(Classifier):
    """A scheduler that acts on a number of ours, or on its own where the callback is not there."""

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step(batch, batch_idx)
        self.log("own", 0.5)

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "own"}}


class Stream(IterableDataset):
    """Rows without a length."""

    def __init__(self, rows, seed):
        self.rows, self.seed = rows, seed

    def __iter__(self):
        return iter([data(self.rows, self.seed)[row] for row in range(self.rows)])


def streams():
    return DataLoader(Stream(96, 0), 16), DataLoader(Stream(50, 1), 16)


def views():
    def collate(rows):
        x, y = (torch.stack([row[i] for row in rows]) for i in range(2))
        return [x, x.flip(-1)], y

    return DataLoader(data(), 16, shuffle=True, collate_fn=collate), DataLoader(data(64, 1), 16, collate_fn=collate)


@dataclass(frozen=True)
class Loop:
    """A training to run with the callback and without.

    Args:
        module: Builds the LightningModule.
        data: Builds its loaders.
        settings: Of the Trainer.
        layer: That the callback watches.
        callback: Settings of the callback.
        others: Builds callbacks that stand before and behind ours.
        unmeasured: Whether it is not known how the group transforms the inputs.
    """

    module: Callable[[], pl.LightningModule] = Classifier
    data: Callable[[], tuple[Any, Any]] = loaders
    settings: dict[str, Any] = field(default_factory=dict)
    layer: Any = "encoder"
    callback: dict[str, Any] = field(default_factory=dict)
    others: Callable[[], tuple[list[Any], list[Any]]] = lambda: ([], [])
    unmeasured: bool = False


def by_function(module, batch):
    return module.encoder(batch[0])


LOOPS = {
    "plain": Loop(),
    "budget": Loop(callback={"max_overhead": 0.05}),
    "two validations an epoch": Loop(settings={"val_check_interval": 0.5}),
    "validation by batches over epochs": Loop(settings={"val_check_interval": 4, "check_val_every_n_epoch": None}),
    "no sanity check": Loop(settings={"num_sanity_val_steps": 0}),
    "accumulation": Loop(settings={"accumulate_grad_batches": 2}),
    "bf16-mixed": Loop(settings={"precision": "bf16-mixed"}),
    "bf16-true": Loop(settings={"precision": "bf16-true"}, callback={"seed": 3}),
    "validation every second epoch": Loop(settings={"check_val_every_n_epoch": 2}),
    "clipping": Loop(settings={"gradient_clip_val": 0.1}),
    "max_steps": Loop(settings={"max_steps": 9, "max_epochs": -1}),
    "half of the training data": Loop(settings={"limit_train_batches": 0.5}),
    "manual optimisation": Loop(Manual),
    "configure_model": Loop(Configured),
    "activation checkpointing": Loop(Checkpointed),
    "compiled in place": Loop(CompiledInPlace),
    "compiled wrapper": Loop(CompiledWrapper),
    "compiled and run before": Loop(CompiledBefore),
    "two views in one call": Loop(TwoViews, views),
    "two views in two calls": Loop(TwoCalls, views),
    "streams without a length": Loop(data=streams),
    "averaging before ours": Loop(others=lambda: ([EMAWeightAveraging(decay=0.5)], [])),
    "averaging behind ours": Loop(others=lambda: ([], [EMAWeightAveraging(decay=0.5)])),
    "frozen encoder": Loop(Frozen),
    "autoencoder": Loop(AutoEncoder, unmeasured=True),
    "gan": Loop(Gan),
    "scheduler": Loop(Plateau),
    "function instead of a layer": Loop(layer=by_function),
    "feature map": Loop(layer="encoder.body", callback={"pool": "mean"}),
}

__all__ = ["LOOPS", "REPRESENTATION", "Loop"]
