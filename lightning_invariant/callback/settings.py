"""What a run's pages say of the callback: its settings beside the user's own hyperparameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant.tracking import announce, dashboard

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from pytorch_lightning import LightningModule, Trainer

    from lightning_invariant.projections import Projection


def open_pages(
    trainer: Trainer,
    module: LightningModule,
    folder: str | os.PathLike[str],
    projection: Projection,
    *,
    layer: str,
    probes: Sequence[str],
    prefix: str,
) -> tuple[str, ...]:
    """Write settings and the dashboard's layout, once, before Lightning logs hyperparameters; on one rank only.

    Returns:
        What went wrong, one sentence an item.
    """
    settings = {
        "layer": layer,
        "representation": str(projection.representation),
        "projection": type(projection).__name__,
        "guarantee": str(projection.guarantee),
        "latent size": projection.representation.size,
        "features": projection.out_features,
    }
    return announce(
        {f"{prefix}invariant/{name}": value for name, value in settings.items()},
        dashboard(probes, prefix),
        trainer.loggers,
        folder,
        hyperparameters=_hyperparameters(trainer, module),
        metrics=[f"{prefix}{name}/{probe}" for probe in probes for name in ("raw", "invariant", "gap")],
        part=prefix,
    )


def _hyperparameters(trainer: Trainer, module: LightningModule) -> Mapping[str, Any] | None:
    """What Lightning is about to log; None if it will log nothing."""
    if not getattr(trainer, "enable_autolog_hparams", True):
        return None
    found: dict[str, Any] | None = None
    for part in (module, getattr(trainer, "datamodule", None)):
        if getattr(part, "_log_hyperparams", False):
            found = (found or {}) | dict(part.hparams_initial)  # type: ignore[union-attr]
    return None if found is None else {name: value for name, value in found.items() if name != "_class_path"}
