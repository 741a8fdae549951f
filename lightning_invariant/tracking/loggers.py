"""Where a report goes: one dispatch over the user's loggers, with files as the last resort."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.tracking.figures import figure_to_image
from lightning_invariant.tracking.projector import WrittenPoints, safe_name, write_projector
from lightning_invariant.tracking.services import MESSAGES, Sink, logger_classes, service_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence

    import numpy as np
    from jaxtyping import UInt8

    from lightning_invariant.tracking.report import Embedding, Report

FOLDER = "invariant"


def publish(report: Report, loggers: Iterable[Any], fallback_dir: str | os.PathLike[str] | None) -> tuple[str, ...]:
    """Show a report's embeddings, figures and messages in every logger that can.

    TensorBoard gets projector points, images and text; Weights & Biases, MLflow, Comet, LitLogger and trackio get
    tables or point clouds, images and text. An item that no logger took (CSV, no logger at all, or one that raised) is
    written below `<fallback_dir>/invariant/`: projector points that `tensorboard --logdir` opens, PNG files, and lines
    of `messages.txt`. Scalars are not logged here: they go through `LightningModule.log`, where EarlyStopping and
    ModelCheckpoint see them. With Lightning's DummyLogger (fast_dev_run) nothing is to be kept, and nothing is written.

    Call it on one process only.

    Args:
        report: What to show.
        loggers: `trainer.loggers`.
        fallback_dir: Local folder for files, or None where there is none.

    Returns:
        What went wrong, one sentence an item; empty when all is shown.

    Note:
        Raises no exception, and leaves the global random states alone.
    """
    loggers, failures = list(loggers), []
    if loggers and all(isinstance(logger, logger_classes("logger", "DummyLogger")) for logger in loggers):
        return ()
    sinks = [sink for logger in loggers if (sink := tried(failures, type(logger).__name__, lambda a=logger: _sink(a)))]
    last_resort: list[Sink] = [] if fallback_dir is None else [_Files(Path(fallback_dir) / FOLDER)]

    def show(item: str, on: Callable[[Sink], Any]) -> None:
        def offer(places: Sequence[Sink]) -> list[Any]:
            return [tried(failures, f"{place.name}, {item}", lambda p=place: on(p)) for place in places]

        taken = offer(sinks)
        if not any(taken):
            taken = offer(last_resort)
        dropped = max((getattr(done, "dropped", 0) for done in taken), default=0)
        if dropped:
            failures.append(f"{item}: {dropped} rows with NaN or infinite values were left out.")

    for tag, embedding in report.embeddings.items():
        show(f"points {tag!r} of step {report.step}", lambda s, t=tag, e=embedding: s.points(t, e, report.step))
    for tag, draw in report.figures.items():
        item = f"figure {tag!r} of step {report.step}"
        image = tried(failures, item, lambda d=draw: figure_to_image(d()))
        if image is not None:
            show(item, lambda s, t=tag, i=image: s.image(t, i, report.step))
    if report.messages:
        show(f"messages of step {report.step}", lambda s: s.text(report.messages, report.step))
    return tuple(failures)


class _TensorBoard(Sink):
    name = "TensorBoardLogger"

    def __init__(self, logger: Any) -> None:
        self.writer, self.folder = logger.experiment, logger.log_dir

    def points(self, tag: str, embedding: Embedding, step: int) -> WrittenPoints:
        return _write_points(self.folder, tag, embedding, step)

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        self.writer.add_image(tag, image, step, dataformats="HWC")
        return True

    def text(self, messages: Sequence[str], step: int) -> bool:
        self.writer.add_text(MESSAGES, "\n\n".join(messages), step)
        return True


class _Files(Sink):
    name = "files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def points(self, tag: str, embedding: Embedding, step: int) -> WrittenPoints:
        return _write_points(self.folder, tag, embedding, step)

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        from PIL import Image

        path = self.folder / "figures" / safe_name(tag) / f"{step:08d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        return True

    def text(self, messages: Sequence[str], step: int) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "messages.txt").open("a", encoding="utf-8") as file:
            file.writelines(f"step {step}: {message}\n" for message in messages)
        return True


def _sink(logger: Any) -> Sink | None:
    if isinstance(logger, logger_classes("", "TensorBoardLogger")):
        return _TensorBoard(logger)
    return service_of(logger)


def _write_points(folder: str | os.PathLike[str], tag: str, embedding: Embedding, step: int) -> WrittenPoints:
    return write_projector(
        folder, tag, step, embedding.points, labels=embedding.labels, thumbnails=embedding.thumbnails
    )


def tried(failures: list[str], item: str, action: Callable[[], Any]) -> Any:
    """Return what the action gives; None, and a sentence in `failures`, if it raises."""
    try:
        return action()
    except Exception as error:  # whatever a user's logger raises must not end the training
        failures.append(f"{item}: not shown, {type(error).__name__}: {error}")
        return None
