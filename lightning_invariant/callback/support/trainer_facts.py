"""What a Trainer tells of the run that it is in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, Subset, TensorDataset

from lightning_invariant.callback.capture.samples import flat_loaders

if TYPE_CHECKING:
    from pytorch_lightning import Trainer
    from torch import nn


def is_last_validation(trainer: Trainer) -> bool:
    """Return whether no other validation can be foreseen; False where the end of the training run is not known."""
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


def monitored_names(trainer: Trainer) -> set[str]:
    """Return names of the numbers that callbacks and schedulers act on."""
    monitors = [getattr(callback, "monitor", None) for callback in _callbacks(trainer)]
    monitors += [getattr(config, "monitor", None) for config in trainer.lr_scheduler_configs]
    return {monitor for monitor in monitors if isinstance(monitor, str)}


def is_sharded(trainer: Trainer, network: nn.Module) -> bool:
    """Return whether parameters are spread over processes, so that there is no whole network to copy."""
    parts = {type(module).__name__ for module in (trainer.model or network).modules()}
    kinds = {type(parameter).__name__ for parameter in network.parameters()}
    return "FullyShardedDataParallel" in parts or bool(kinds & {"DTensor", "FlatParameter"})


def files_folder(trainer: Trainer) -> str | None:
    """Return where files of the run belong, None where it is to leave none; a collective call."""
    if getattr(trainer, "barebones", False):
        return None
    return trainer.log_dir or trainer.default_root_dir


def repeated_share(trainer: Trainer) -> float:
    """Return which share of the validation data is training data too, as far as the loaders' data sets tell.

    Known are a data set that is given for both, subsets of one data set, and tensors that are the same memory.
    """
    training = [found for loader in flat_loaders(trainer.train_dataloader) if (found := _rows_of(loader)) is not None]
    validation = [found for loader in flat_loaders(trainer.val_dataloaders) if (found := _rows_of(loader)) is not None]
    total = sum(len(rows) for _, rows in validation)
    repeated = sum(
        len(rows & known)
        for base, rows in validation
        for other, known in training
        if base is other or _same(base, other)
    )
    return min(1.0, repeated / total) if total else 0.0


def _rows_of(loader: Any) -> tuple[Any, set[int]] | None:
    """The data set under any subsets, and the rows of it that a loader draws from; None if it has no length."""
    data = getattr(loader, "dataset", None)
    rows: list[int] | None = None
    while isinstance(data, Subset):
        inner = list(data.indices)
        rows = inner if rows is None else [inner[row] for row in rows]
        data = data.dataset
    if data is None or isinstance(data, IterableDataset):
        return None
    try:
        return data, set(range(len(data)) if rows is None else map(int, rows))  # type: ignore[arg-type]
    except TypeError:
        return None


def _same(one: Any, other: Any) -> bool:
    if one is other or not (isinstance(one, TensorDataset) and isinstance(other, TensorDataset)):
        return one is other
    a, b = one.tensors[0], other.tensors[0]
    return a.shape == b.shape and a.data_ptr() == b.data_ptr()


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(trainer.callbacks)  # type: ignore[attr-defined]  # set by a connector
