"""Experiment trackers beside TensorBoard: each gets settings, points, figures and findings by its own means.

No service is imported here: a logger of one has imported it.
"""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from lightning_invariant.tracking.figures import Colours, principal
from lightning_invariant.tracking.labels import label_columns, plain_values
from lightning_invariant.tracking.rows import spread_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Float, UInt8

    from lightning_invariant.tracking.report import Embedding

MESSAGES = "invariance_findings"
ROWS = 2000
"""Most points of a table or cloud."""


@dataclass(frozen=True)
class Sample:
    """Finite points of an embedding, at most `ROWS`, with their labels as plain values.

    Args:
        points: Shape (n, K).
        labels: Column name to n values.
        dropped: Number of rows left out because they were not finite.
    """

    points: Float[np.ndarray, "n K"]
    labels: Mapping[str, list[Any]]
    dropped: int

    @classmethod
    def of(cls, embedding: Embedding, most: int = ROWS) -> Sample:
        """Take at most so many rows, those that `spread_rows` says."""
        rows = spread_rows(len(embedding.points), most)
        points = embedding.points.detach()[rows.to(embedding.points.device)].float().cpu()
        finite = torch.isfinite(points).all(dim=1)
        kept = rows[finite].tolist()
        columns = {name: plain_values(column) for name, column in label_columns(embedding.labels).items()}
        labels = {name: [column[row] for row in kept] for name, column in columns.items()}
        return cls(points[finite].numpy(), labels, len(rows) - len(kept))

    def table(
        self, points: Float[np.ndarray, "n K"] | None = None, step: int | None = None
    ) -> tuple[list[str], list[list[Any]]]:
        """Return names of columns, labels before points, and one row a point.

        Args:
            points: Coordinates to show; None for the points themselves.
            step: Put before the labels, for tables of which a service shows no step.
        """
        values = self.points if points is None else points
        first = {} if step is None else {"step": [step] * len(values)}
        words = {name: list(map(str, column)) for name, column in self.labels.items()}
        columns = {**first, **words, **{f"x{i}": column for i, column in enumerate(values.T.tolist())}}
        return list(columns), [list(row) for row in zip(*columns.values(), strict=True)]

    def cloud(self) -> Float[np.ndarray, "n 6"]:
        """Return three principal components and red, green and blue from 0 to 255, those of the figures."""
        column = next(iter(self.labels.values()), None)
        values = np.atleast_1d(Colours(column).values)
        if values.ndim == 1:
            colours = np.array([[int(name[at : at + 2], 16) for at in (1, 3, 5)] for name in values.tolist()])
        else:
            colours = np.round(values[:, :3] * 255)
        places = principal(torch.from_numpy(self.points), 3)[0]
        return np.hstack([places, np.broadcast_to(colours, (len(places), 3))])


class Sink(Protocol):
    """A place that takes points, figures and sentences, and answers with something true where it did."""

    name: str

    def points(self, tag: str, embedding: Embedding, step: int) -> Any:
        """Show points."""
        ...

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        """Show a figure."""
        ...

    def text(self, messages: Sequence[str], step: int) -> bool:
        """Show sentences."""
        ...


class Service(Sink):
    """The service behind a logger.

    Args:
        logger: Lightning logger.
    """

    logger: Any
    name: str

    def __init__(self, logger: Any) -> None:
        self.logger, self.name = logger, type(logger).__name__

    def settings(self, values: Mapping[str, str | float]) -> bool:
        """Show settings, names to numbers or words, among the hyperparameters."""
        self.logger.log_hyperparams(dict(values))
        return True


class _Wandb(Service):
    """Tables, which its page can project to the plane, and images."""

    def points(self, tag: str, embedding: Embedding, step: int) -> Sample:
        # Its tables look at every number by itself: 64,000 of them take a second.
        sample = Sample.of(embedding, max(100, min(ROWS, 64_000 // embedding.points.shape[1])))
        columns, rows = sample.table()
        self.logger.log_table(tag, columns=columns, data=rows, step=step)
        return sample

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        self.logger.log_image(tag, [image], step=step)
        return True

    def text(self, messages: Sequence[str], step: int) -> bool:
        self.logger.log_text(MESSAGES, columns=["message"], data=[[message] for message in messages], step=step)
        return True


class _MLFlow(Service):
    """Images by step, a text a step, and a table of the newest points of each tag.

    Only the newest: MLflow lists a run's tables in one tag of 8000 characters and logs no table any more once it is
    full, and `log_table` adds rows to a table that exists.
    """

    def points(self, tag: str, embedding: Embedding, step: int) -> Sample:
        sample, client, run = Sample.of(embedding), self.logger.experiment, self.logger.run_id
        names, rows = sample.table(step=step)
        path = f"invariance_points/{_mlflow_key(tag)}.json"
        if any(file.path == path for file in client.list_artifacts(run, "invariance_points")):
            client.log_dict(run, {"columns": names, "data": rows}, path)  # the form in which log_table writes
        else:
            client.log_table(run, {name: [row[at] for row in rows] for at, name in enumerate(names)}, path)
        return sample

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        self.logger.experiment.log_image(self.logger.run_id, image, key=_mlflow_key(tag), step=step)
        return True

    def text(self, messages: Sequence[str], step: int) -> bool:
        path = f"{MESSAGES}/{step:08d}.md"
        self.logger.experiment.log_text(self.logger.run_id, "\n\n".join(messages), path)
        return True


class _Comet(Service):
    """Point clouds by step, tables, images and text; nothing is taken by an experiment that is switched off."""

    def points(self, tag: str, embedding: Embedding, step: int) -> Sample | None:
        experiment = self.logger.experiment
        if not experiment.alive:
            return None
        sample = Sample.of(embedding)
        names, rows = sample.table()
        experiment.log_table(f"{tag}-{step:08d}.csv", rows, headers=names)
        experiment.log_points_3d(tag, (sample.cloud() / [1, 1, 1, 255, 255, 255]).tolist(), step=step)
        return sample

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        from PIL import Image

        # As a picture: colours of an array would be stretched.
        return bool(self.logger.experiment.log_image(Image.fromarray(image), name=tag, step=step))

    def text(self, messages: Sequence[str], step: int) -> bool:
        return bool(self.logger.experiment.log_text("\n\n".join(messages), step=step))


class _LitLogger(Service):
    """Images and text by step, and points as files of comma-separated values."""

    def points(self, tag: str, embedding: Embedding, step: int) -> Sample:
        sample, litlogger = Sample.of(embedding), sys.modules["litlogger"]
        names, rows = sample.table(step=step)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "points.csv"
            with path.open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([names, *rows])
            self.logger.experiment[tag].append(litlogger.File(str(path)), step=step)
        return sample

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        self.logger.experiment[tag].append(sys.modules["litlogger"].Image(image), step=step)
        return True

    def text(self, messages: Sequence[str], step: int) -> bool:
        self.logger.experiment[MESSAGES].append(sys.modules["litlogger"].Text("\n\n".join(messages)), step=step)
        return True


class _Trackio(Service):
    """Point clouds that can be turned, tables, images and Markdown by step."""

    def settings(self, values: Mapping[str, str | float]) -> bool:
        # Its loggers take hyperparameters only before the run starts, and Lightning has started it.
        for name, value in values.items():
            self.logger.experiment.config.setdefault(name, value)
        return True

    def points(self, tag: str, embedding: Embedding, step: int) -> Sample:
        sample, trackio = Sample.of(embedding), sys.modules["trackio"]
        cloud = sample.cloud()
        # The page loads all tables of a run at once: components, not whole latents.
        columns, rows = sample.table(cloud[:, :3])
        shown = {f"{tag}/table": trackio.Table(columns=columns, data=rows), f"{tag}/cloud": trackio.Object3D(cloud)}
        self.logger.experiment.log(shown, step=step)
        return sample

    def image(self, tag: str, image: UInt8[np.ndarray, "H W 3"], step: int) -> bool:
        self.logger.experiment.log({tag: sys.modules["trackio"].Image(image)}, step=step)
        return True

    def text(self, messages: Sequence[str], step: int) -> bool:
        text = sys.modules["trackio"].Markdown("\n\n".join(messages))
        self.logger.experiment.log({MESSAGES: text}, step=step)
        return True


KINDS: dict[str, type[Service]] = {
    "WandbLogger": _Wandb,
    "MLFlowLogger": _MLFlow,
    "CometLogger": _Comet,
    "LitLogger": _LitLogger,
}
"""Lightning's own loggers."""
OTHERS: dict[str, type[Service]] = {"TrackioLogger": _Trackio}
"""Loggers of others, by the name of their class."""


def register_service(name: str, kind: type[Service]) -> None:
    """Let a logger of another package take points, figures, findings and settings.

    Args:
        name: Name of the logger's class.
        kind: Subclass of `Service`, which gets the logger.

    Raises:
        ValueError: There is one for loggers of that name.
    """
    if name in KINDS or OTHERS.get(name, kind) is not kind:
        raise ValueError(f"Expected a logger without a service but {name} has one.")
    OTHERS[name] = kind


def service_of(logger: Any) -> Service | None:
    """Return the service of a logger; None for one that is not known."""
    for name, kind in KINDS.items():
        if isinstance(logger, logger_classes("", name)):
            return kind(logger)
    for parent in type(logger).__mro__:
        kind = OTHERS.get(parent.__name__)
        if kind is not None and (kind is not _Trackio or "trackio" in sys.modules):
            return kind(logger)
    return None


def logger_classes(module: str, name: str) -> tuple[type, ...]:
    """Return the class of that name in both packages that Lightning comes in, as far as they are imported.

    A logger's class is the only sign to trust: a DummyLogger's experiment has every attribute that it is asked for.
    """
    roots = [
        ".".join(filter(None, (root, module))) for root in ("pytorch_lightning.loggers", "lightning.pytorch.loggers")
    ]
    return tuple(getattr(sys.modules[root], name) for root in roots if hasattr(sys.modules.get(root), name))


def _mlflow_key(tag: str) -> str:
    """MLflow takes few characters in names."""
    return re.sub(r"[^\w./ -]", "_", tag, flags=re.ASCII)
