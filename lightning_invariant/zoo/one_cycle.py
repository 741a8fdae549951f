"""The schedule that the image recipes train with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.types import OptimizerLRScheduler


def one_cycle(module: pl.LightningModule, lr: float) -> OptimizerLRScheduler:
    """Adam with one cycle of learning rates over the whole training.

    Args:
        module: Attached to its Trainer.
        lr: The highest rate.

    Source:
        Smith and Topin 2018 (arXiv 1708.07120).
    """
    optimizer = torch.optim.Adam(module.parameters(), lr=lr)
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(1, steps))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
