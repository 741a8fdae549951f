"""What is written once: settings and a dashboard's layout when a training run starts, its last numbers when it ends.

TensorBoard's HParams page takes the columns of the first experiment and, of each run, the first session that it finds.
Where Lightning is about to write the user's hyperparameters, ours are written together with them just before, into the
same run. Where it is not, they go into a run of their own below it, without an experiment, so that whatever the user
writes later decides on the columns. The layout goes into that run too, where it is merged with the user's own.

The page shows the numbers of a session's own run, and sorts by them. Below the user's run there are none, so the last
ones are repeated there when the training ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.tracking.loggers import FOLDER, tried
from lightning_invariant.tracking.projector import safe_name
from lightning_invariant.tracking.services import logger_classes, service_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Sequence

    from lightning_invariant.tracking.dashboard import Layout

METRIC = "hp_metric"
"""The column that Lightning's logger gives to every run."""
SETTINGS = "settings.json"


def announce(
    settings: Mapping[str, str | float],
    layout: Layout,
    loggers: Iterable[Any],
    fallback_dir: str | os.PathLike[str] | None,
    *,
    hyperparameters: Mapping[str, Any] | None,
    metrics: Sequence[str] = (),
    part: str = "",
) -> tuple[str, ...]:
    """Show settings in every logger that can, and give TensorBoard the layout of a dashboard.

    Call it on one process only, before Lightning logs hyperparameters.

    Args:
        settings: Name to a number or word.
        layout: Layout of the Custom Scalars page.
        loggers: `trainer.loggers`.
        fallback_dir: Where `invariant/settings.json` is written if no logger took the settings; None for nowhere.
        hyperparameters: What Lightning is about to log, None if nothing.
        metrics: Tags that the HParams page shows beside the settings.
        part: Name that tells several callbacks of one run apart.

    Returns:
        What went wrong, one sentence an item.

    Note:
        Raises no exception, and takes no name that the user's hyperparameters have.
    """
    loggers, failures, below = list(loggers), [], _below(part)
    if loggers and all(isinstance(logger, logger_classes("logger", "DummyLogger")) for logger in loggers):
        return ()
    taken = False
    for logger in loggers:
        item = f"{type(logger).__name__}, settings"
        if isinstance(logger, logger_classes("", "TensorBoardLogger")):
            taken |= bool(
                tried(failures, item, lambda a=logger: _run(a, below, settings, hyperparameters, metrics, layout))
            )
        elif (service := service_of(logger)) is not None:
            taken |= bool(tried(failures, item, lambda a=service: a.settings(settings)))
    if not taken and fallback_dir is not None:
        tried(failures, SETTINGS, lambda: _file(Path(fallback_dir) / below, settings))
    return tuple(failures)


def conclude(
    numbers: Mapping[str, float],
    step: int,
    loggers: Iterable[Any],
    *,
    hyperparameters: Mapping[str, Any] | None,
    part: str = "",
) -> tuple[str, ...]:
    """Show the last numbers of a training run beside its settings on TensorBoard's HParams page.

    Call it on one process only. It raises no exception.

    Args:
        numbers: Tag to number.
        step: Global step at which they were measured.
        loggers: `trainer.loggers`.
        hyperparameters: Hyperparameters that `announce` got.
        part: Name that `announce` got.

    Returns:
        What went wrong, one sentence an item.
    """
    failures: list[str] = []
    for logger in loggers:
        if isinstance(logger, logger_classes("", "TensorBoardLogger")) and _has_own_run(logger, hyperparameters):
            item = f"{type(logger).__name__}, last numbers"
            tried(failures, item, lambda a=logger: _numbers(Path(a.log_dir) / _below(part), numbers, step))
    return tuple(failures)


def _below(part: str) -> str:
    return FOLDER + (safe_name(part) if part else "")


def _run(
    logger: Any,
    below: str,
    settings: Mapping[str, str | float],
    hyperparameters: Mapping[str, Any] | None,
    metrics: Sequence[str],
    layout: Layout,
) -> bool:
    from torch.utils.tensorboard import SummaryWriter
    from torch.utils.tensorboard.summary import hparams

    own = _has_own_run(logger, hyperparameters)
    with SummaryWriter(str(Path(logger.log_dir) / below)) as writer:
        writer.add_custom_scalars(layout)
        if own:
            _, session, end = hparams(dict(settings), {})
            for part in (session, end):
                writer._get_file_writer().add_summary(part)
    if not own:
        flat = _flat(hyperparameters or {})
        parts = hparams({**settings, **flat}, dict.fromkeys((METRIC, *metrics), -1.0))
        for part in parts:
            logger.experiment._get_file_writer().add_summary(part)
    return True


def _has_own_run(logger: Any, hyperparameters: Mapping[str, Any] | None) -> bool:
    """Whether settings stand in a run below the user's, because Lightning writes no hyperparameters into his."""
    return hyperparameters is None or not getattr(logger, "_default_hp_metric", True)


def _numbers(folder: Path, numbers: Mapping[str, float], step: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)


def _file(folder: Path, settings: Mapping[str, str | float]) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return True


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str | float]:
    """As Lightning's own logger writes them: nested names joined by slashes, what is no number or word as its repr."""
    flat: dict[str, str | float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}/")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat
