"""When a training run exports its encoder: at its end into a folder, and while it runs to the Hub."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_invariant.callback.export.checkpoints import (
    file_stamp,
    followed,
    read_checkpoint,
    same_state,
    saved_file,
    tensors_of,
)
from lightning_invariant.callback.export.hub_news import HubNews
from lightning_invariant.callback.export.settings import Export, HubExport
from lightning_invariant.callback.export.writer import ExportWriter, Snapshot, Weights
from lightning_invariant.callback.support.gather import shared
from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from lightning_invariant.callback.report.reporter import Reporter
    from lightning_invariant.tracking import Report

ENDED_WITH = "those the training ended with"


class _Pending(NamedTuple):
    """A checkpoint that was saved and is to be exported, and what was measured at that moment."""

    path: str
    stamp: tuple[Any, ...]
    which: str
    snapshot: Snapshot | None


class Exporter:
    """Exports weights that were measured, between two epochs or at the end, so that the training does not notice.

    Only rank 0 writes and uploads. What fails once the training runs becomes a finding.

    Args:
        export: What the user wants: a folder, its settings, or the Hub; None for nothing.
        reporter: Knows how latents are reached, and measures.

    Raises:
        ValueError: It is none of these.
    """

    def __init__(self, export: str | Path | Export | HubExport | None, reporter: Reporter) -> None:
        if isinstance(export, (str, Path)):
            export = Export(export)
        if export is not None and not isinstance(export, (Export, HubExport)):
            raise ValueError(f"Expected export= as a folder, Export(...) or HubExport(...) but got {export!r}.")
        self.export, self.reporter, self.findings = export, reporter, reporter.findings
        self.writer = ExportWriter(reporter, export) if export is not None else None
        self.hub = export if isinstance(export, HubExport) else None
        self.news: HubNews | None = None
        self.active = False
        self._snapshot: Snapshot | None = None
        self._pending: _Pending | None = None
        self._saved = self._averaged = False

    def begin(self, trainer: Trainer) -> None:
        """Check folder, queue, token, names and rights before the first step; a collective call.

        Raises:
            ArtifactError: A folder cannot be written.
            HubError: The Hub refuses; on every process alike.
        """
        self.active = self.writer is not None and not getattr(trainer, "fast_dev_run", False)
        self._saved = self._averaged = False
        self._snapshot, self._pending = None, None
        self._exported: tuple[Any, ...] | None = None
        self._run, self._last = uuid.uuid4().hex, -float("inf")
        self.news = None if self.hub is None else HubNews(self.hub, self.findings)
        if self.active:
            refusal = shared(self._refusal(trainer) if trainer.is_global_zero else None)
            if refusal is not None:
                raise refusal

    def rehearse(self, trainer: Trainer, module: LightningModule) -> None:
        """See, after the sanity check, whether the network can be exported at all; a collective call.

        Raises:
            InvariantError: It cannot, on every process alike.
        """
        if not self.active or self.writer is None or self.reporter.capture.sharded:
            return
        refusal: InvariantError | None = None
        if trainer.is_global_zero:
            try:
                self.writer.rehearse(trainer, module)
            except InvariantError as error:
                refusal = error
        if (refusal := shared(refusal)) is not None:
            raise refusal

    def saved(self) -> None:
        """Note that a checkpoint is about to be written."""
        self._saved = True

    def notes(self, report: Report | None) -> dict[str, Any]:
        """Return what `lightning-invariant export` needs beside the weights; plain values, for the checkpoint."""
        writer = self.writer or ExportWriter(self.reporter, Export("."))
        return writer.notes(report)

    def measured(self, report: Report | None, step: int) -> None:
        """Keep the weights that a report was measured on, and what was measured."""
        copied = self.reporter.capture.copied
        if not self.active or copied is None or copied.is_live:
            return
        state = {name: value.detach().to("cpu", copy=True) for name, value in tensors_of(copied.network).items()}
        scalars = {} if report is None else self.reporter.plain(report.scalars)
        self._snapshot = Snapshot(state, step, self.reporter.evaluation, scalars, self.reporter.given.symmetry.estimate)

    def after_validation(self, module: LightningModule, step: int) -> None:
        """See, before the next step, whether the validation ran with other weights than the training has."""
        snapshot, way = self._snapshot, self.reporter.capture.way
        if self.active and snapshot is not None and way is not None and snapshot.step == step:
            live = tensors_of(module.get_submodule(way.frame.root))
            self._averaged = not same_state(snapshot.state, live)

    def between(self, trainer: Trainer, module: LightningModule) -> None:
        """Export if a checkpoint was saved since the last export; never waits for the Hub."""
        if self.hub is None or self.news is None or not self.active or not trainer.is_global_zero:
            return
        self.news.listen()
        self._look(trainer, self.hub)
        waits = self.reporter.evaluation is None  # nothing was measured so far, and no input is kept to measure
        if self._pending is not None and not waits and time.monotonic() - self._last >= self.hub.at_most_every:
            self._export_saved(trainer, module)

    def end(self, trainer: Trainer, module: LightningModule) -> None:
        """Export what is left and wait for uploads, as long as the user allows."""
        if not self.active or not trainer.is_global_zero:
            return
        self.active = False
        if self.hub is None or self.news is None:
            self._export(trainer, module, self._snapshot, self._final(trainer))
            return
        self._look(trainer, self.hub)
        if self._pending is not None:
            self._export_saved(trainer, module, last=True)
        if self._exported is None:
            if self.hub.when != "end":
                self.findings.note(
                    "live weights",
                    f"no {self.hub.when} checkpoint was saved, so the weights that the training ended with are "
                    "published.",
                )
            self._export(trainer, module, self._snapshot, self._final(trainer))
        self.news.wait()

    def stop(self, trainer: Trainer, module: LightningModule) -> None:
        """Keep what was saved and wait for nothing, since the training run was interrupted."""
        if self.active and self.hub is not None and self.news is not None and trainer.is_global_zero:
            self.active = False
            with self.findings.guarding("export", strict=False):
                self._look(trainer, self.hub)
                if self._pending is not None:
                    self._export_saved(trainer, module, last=True)
            self.news.leave()

    def _look(self, trainer: Trainer, hub: HubExport) -> None:
        """See whether the followed checkpoint changed, and remember what was measured at that moment."""
        if not self._saved or hub.when == "end":
            return
        self._saved = False
        checkpoint = followed(trainer, hub.monitor)
        path = saved_file(checkpoint, best=hub.when == "best") if checkpoint is not None else ""
        known = (self._exported, None if self._pending is None else self._pending.stamp)
        if path and (stamp := file_stamp(path)) not in known:
            monitor = getattr(checkpoint, "monitor", None)
            which = f"{hub.when} checkpoint" + (f" by {monitor}" if monitor else "")
            self._pending = _Pending(path, stamp, which, self._snapshot)

    def _export_saved(self, trainer: Trainer, module: LightningModule, *, last: bool = False) -> None:
        """Export the checkpoint that waits for it."""
        pending, self._last = self._pending, time.monotonic()
        if pending is None:
            return
        try:
            saved = read_checkpoint(pending.path, trusted=True)
        except Exception as error:  # a file may be written in the background: it is tried again
            if last:
                self.findings.add("checkpoint", f"the checkpoint to export cannot be read: {error}")
            return
        self._pending, self._exported = None, pending.stamp
        self._export(trainer, module, pending.snapshot, Weights(saved, pending.which, saved.epoch, saved.step))

    def _final(self, trainer: Trainer) -> Weights:
        return Weights(None, ENDED_WITH, trainer.current_epoch, trainer.global_step)

    def _export(self, trainer: Trainer, module: LightningModule, snapshot: Snapshot | None, weights: Weights) -> None:
        assert self.writer is not None
        with self.findings.guarding("export", strict=False):
            made = self.writer.write(trainer, module, snapshot, weights, self._averaged, self.writer.folder)
            if self.news is not None and self.hub is not None:
                queue = self.news.queue
                made.enqueue(queue, self.hub, self._run)
                self.news.upload(queue)

    def _refusal(self, trainer: Trainer) -> InvariantError | None:
        """Why the training must not start."""
        try:
            if self.writer is not None:
                self.writer.check()
            if self.news is not None:
                self.news.check(trainer)
        except InvariantError as error:
            return error
        return None
