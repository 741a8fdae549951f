"""What the classifiers of images have in common: their loss, and what is logged at a validation and a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytorch_lightning as pl
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


class ImageClassifier(pl.LightningModule):
    """Trains class scores by cross entropy on batches (x, y, ...); subclasses give `forward` and the optimiser."""

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy."""
        x, y, *_ = batch
        return F.cross_entropy(self(x), y)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log loss and accuracy on images as they come."""
        self._log_scores(batch, "val")

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log loss and accuracy on images as they come."""
        self._log_scores(batch, "test")

    def _log_scores(self, batch: Sequence[Tensor], stage: str) -> None:
        x, y, *_ = batch
        scores = self(x)
        self.log(f"{stage}/loss", F.cross_entropy(scores, y))
        self.log(f"{stage}/accuracy", (scores.argmax(dim=1) == y).float().mean(), prog_bar=True)
