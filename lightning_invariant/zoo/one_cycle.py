"""The optimiser and schedule of the recipes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.utilities.types import OptimizerLRScheduler


def one_cycle(
    module: pl.LightningModule, lr: float, *, warm_up: float = 0.3, decay: float = 0.0, beta2: float = 0.999
) -> OptimizerLRScheduler:
    """AdamW whose learning rate rises first and then falls to zero along a cosine, over the whole training.

    Args:
        module: Attached to a Trainer, which knows how many steps there are.
        lr: The highest rate.
        warm_up: Share of the steps in which it rises.
        decay: Weight decay; without any this is Adam.
        beta2: Share of the mean square of gradients that is kept from one step to the next.

    Source:
        Smith and Topin 2018 (1708.07120); Loshchilov and Hutter 2019 (1711.05101).
    """
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, betas=(0.9, beta2), weight_decay=decay)
    # A schedule needs two steps at least, a dry run has one.
    steps = max(int(module.trainer.estimated_stepping_batches), 2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=warm_up)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
