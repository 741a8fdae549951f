"""What is worth knowing of a training, for the model card: never paths, hyperparameters only if asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytorch_lightning import LightningModule, Trainer

LONGEST = 80
"""Characters of a value that are shown."""


def training_settings(
    trainer: Trainer, module: LightningModule, *, weights: str, measured: int | None, hyperparameters: bool
) -> dict[str, str]:
    """Settings by name.

    Args:
        trainer: In the midst of a training, or after it.
        module: The network.
        weights: Which weights these are, in words.
        measured: Step at which the card's numbers were measured; None if nothing was.
        hyperparameters: Whether those of the module are told.
    """
    found = {
        "network": type(module).__name__,
        "weights": weights,
        "measured": "" if measured is None else f"at step {measured}",
        "batch size": _batch_size(trainer),
        "optimizer": ", ".join(dict.fromkeys(type(optimizer).__name__ for optimizer in trainer.optimizers)),
        "precision": str(trainer.precision),
        "gradient accumulation": str(trainer.accumulate_grad_batches) if trainer.accumulate_grad_batches > 1 else "",
        "Lightning": import_module(type(trainer).__module__.split(".")[0]).__version__,
        "processes": str(trainer.world_size) if trainer.world_size > 1 else "",
    }
    if hyperparameters:
        found |= {f"hyperparameter {name}": value for name, value in _flat(getattr(module, "hparams", {})).items()}
    return {name: value for name, value in found.items() if value}


def _batch_size(trainer: Trainer) -> str:
    size = getattr(trainer.train_dataloader, "batch_size", None)
    return f"{size} a process" if size and trainer.world_size > 1 else str(size or "")


def _flat(values: Mapping[str, Any]) -> dict[str, str]:
    plain = (str, int, float, bool, type(None))
    return {str(name): str(value)[:LONGEST] for name, value in values.items() if isinstance(value, plain)}
