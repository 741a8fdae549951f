"""What a Trainer tells of the run that it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import distributed

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer
    from torch import nn


def is_last_validation(trainer: Trainer) -> bool:
    """Whether no other validation can be foreseen in this training; False where its end is not known."""
    if trainer.should_stop:
        return True
    if 0 <= trainer.max_steps <= trainer.global_step:
        return True
    if trainer.max_epochs is None or trainer.max_epochs < 0:
        return False
    left = trainer.max_epochs - 1 - trainer.current_epoch
    every, interval = trainer.check_val_every_n_epoch, trainer.val_check_batch
    if every is None or interval is None:  # counted in batches of all epochs, or in time
        return False
    batches = trainer.num_training_batches
    again = interval < batches and trainer.fit_loop.batch_idx + 1 + interval <= batches
    return not again and left < every


def is_whole_pass(trainer: Trainer) -> bool:
    """Whether epochs of this training see all of its data."""
    return trainer.limit_train_batches == 1.0


def monitored_names(trainer: Trainer) -> set[str]:
    """Names of the numbers that callbacks and schedulers act on."""
    monitors = [getattr(callback, "monitor", None) for callback in _callbacks(trainer)]
    monitors += [getattr(config, "monitor", None) for config in trainer.lr_scheduler_configs]
    return {monitor for monitor in monitors if isinstance(monitor, str)}


def forwarding(trainer: Trainer, network: LightningModule) -> nn.Module:
    """What to call for a forward: FSDP's wrapper where there is one, since it brings the parameters together."""
    if distributed.is_available() and distributed.is_initialized():
        from torch.distributed.fsdp import FullyShardedDataParallel

        if isinstance(trainer.model, FullyShardedDataParallel):
            return trainer.model
    return network


@contextmanager
def averaged_weights(trainer: Trainer, network: LightningModule, callback: Any) -> Iterator[None]:
    """The weights that the validation steps ran with.

    A WeightAveraging callback puts its average in for a validation and takes it out when the validation ends. One that
    stands before ours in the list has done so already, and puts it in once more while the block runs.
    """
    callbacks = _callbacks(trainer)
    before = callbacks[: callbacks.index(callback)] if callback in callbacks else []
    averaging = [one for one in before if any(base.__name__ == "WeightAveraging" for base in type(one).__mro__)]
    averaging = [] if trainer.testing else averaging
    for one in averaging:
        one.on_validation_epoch_start(trainer, network)
    try:
        yield
    finally:
        for one in averaging:
            one.on_validation_epoch_end(trainer, network)


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]  # set by a connector
