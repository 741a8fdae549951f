"""When a training exports its encoder: at its end into a folder, and while it runs to the Hub."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_invariant.callback.checkpoints import Saved, file_stamp, followed, read_checkpoint, saved_file
from lightning_invariant.callback.export_writer import ExportWriter
from lightning_invariant.callback.gather import shared
from lightning_invariant.callback.hub_news import HubNews
from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from pytorch_lightning import LightningModule, Trainer

    from lightning_invariant.callback.hub_export import HubExport
    from lightning_invariant.tracking import Report

ENDED_WITH = "those the training ended with"


class _Pending(NamedTuple):
    """A checkpoint that was saved and is to be exported, and what was measured at that moment."""

    path: str
    stamp: tuple[Any, ...]
    which: str
    report: Report | None


class Exporter:
    """Exports from the checkpoint that was saved, between two steps, so that the training does not notice.

    Only rank 0 writes and uploads. What fails once the training runs becomes a finding.

    Args:
        writer: Writes folder and entries of the queue, and knows which of them are wanted.
    """

    def __init__(self, writer: ExportWriter) -> None:
        self.writer = writer
        self.findings, self.folder, self.hub = writer.findings, writer.folder, writer.hub
        self.news: HubNews | None = None
        self._active = False

    def begin(self, trainer: Trainer) -> None:
        """Check folder, queue, token, names and rights before the first step; a collective call.

        Raises:
            ArtifactError: A folder cannot be written.
            HubError: The Hub refuses; on every process alike.
        """
        self._active = not getattr(trainer, "fast_dev_run", False) and not (self.folder is None and self.hub is None)
        self._saved = False
        self._pending: _Pending | None = None
        self._exported: tuple[Any, ...] | None = None
        self._run, self._last = uuid.uuid4().hex, -float("inf")
        self.news = None if self.hub is None else HubNews(self.hub, self.findings)
        if self._active:
            refusal = shared(self._refusal(trainer) if trainer.is_global_zero else None)
            if refusal is not None:
                raise refusal

    def saved(self) -> None:
        """A checkpoint is about to be written."""
        self._saved = True

    def notes(self, report: Report | None) -> dict[str, Any]:
        """What `lightning-invariant export` needs to know beside the weights; plain values, for the checkpoint."""
        return self.writer.notes(report)

    def between(self, trainer: Trainer, module: LightningModule, report: Report | None) -> None:
        """Export between two steps if a checkpoint was saved since the last export; never waits for the Hub."""
        if self.hub is None or self.news is None or not self._active or not trainer.is_global_zero:
            return
        self.news.listen()
        self._look(trainer, report, self.hub)
        if self._pending is not None and time.monotonic() - self._last >= self.hub.at_most_every:
            self._export_saved(trainer, module)

    def end(self, trainer: Trainer, module: LightningModule, report: Report | None) -> None:
        """Export what is left and wait for uploads, as long as the user allows."""
        if not self._active or not trainer.is_global_zero:
            return
        self._active = False
        if self.hub is None or self.news is None:
            self._export(trainer, module, report, None, ENDED_WITH)
            return
        self._look(trainer, report, self.hub)
        if self._pending is not None:
            self._export_saved(trainer, module, last=True)
        if self._exported is None:
            self._export_live(trainer, module, report, self.hub)
        self.news.wait()

    def stop(self, trainer: Trainer, module: LightningModule, report: Report | None) -> None:
        """The training was interrupted: keep what was saved, wait for nothing."""
        if self._active and self.hub is not None and self.news is not None and trainer.is_global_zero:
            self._active = False
            with self.findings.guarding("export", strict=False):
                self._look(trainer, report, self.hub)
                if self._pending is not None:
                    self._export_saved(trainer, module, last=True)
            self.news.leave()

    def _look(self, trainer: Trainer, report: Report | None, hub: HubExport) -> None:
        """See whether the followed checkpoint changed, and remember the report of that moment."""
        if not self._saved or hub.when == "end":
            return
        self._saved = False
        checkpoint = followed(trainer, hub.monitor)
        path = saved_file(checkpoint, best=hub.when == "best") if checkpoint is not None else ""
        known = (self._exported, None if self._pending is None else self._pending.stamp)
        if path and (stamp := file_stamp(path)) not in known:
            monitor = getattr(checkpoint, "monitor", None)
            which = f"{hub.when} checkpoint" + (f" by {monitor}" if monitor else "")
            self._pending = _Pending(path, stamp, which, report)

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
        self._export(trainer, module, pending.report, saved, pending.which)

    def _export_live(self, trainer: Trainer, module: LightningModule, report: Report | None, hub: HubExport) -> None:
        if hub.when != "end":
            self.findings.note(
                "live weights",
                f"no {hub.when} checkpoint was saved, so the weights that the training ended with are published.",
            )
        self._export(trainer, module, report, None, ENDED_WITH)

    def _export(
        self, trainer: Trainer, module: LightningModule, report: Report | None, saved: Saved | None, which: str
    ) -> None:
        with self.findings.guarding("export", strict=False):
            queue = None if self.news is None else self.news.queue
            self.writer.write(trainer, module, report, saved, which, queue, self._run)
            if self.news is not None and queue is not None:
                self.news.upload(queue)

    def _refusal(self, trainer: Trainer) -> InvariantError | None:
        """Why the training must not start."""
        try:
            self.writer.check()
            if self.news is not None:
                self.news.check(trainer)
        except InvariantError as error:
            return error
        return None
