"""When a training exports its encoder: at its end into a folder, and while it runs to the Hub."""

from __future__ import annotations

import shutil
import time
import uuid
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lightning_invariant.callback.checkpoints import (
    Saved,
    file_stamp,
    followed,
    is_sharded,
    read_checkpoint,
    saved_file,
    wearing,
)
from lightning_invariant.callback.encode import undisturbed
from lightning_invariant.callback.from_checkpoint import build_module
from lightning_invariant.callback.gather import shared
from lightning_invariant.callback.path import LatentPath
from lightning_invariant.callback.roots import inform
from lightning_invariant.callback.training import training_settings
from lightning_invariant.errors import InvariantError, LayerError
from lightning_invariant.groups.actions import default_action

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytorch_lightning import LightningModule, Trainer
    from torch import Tensor, nn

    from lightning_invariant.callback.collector import Collector
    from lightning_invariant.callback.findings import Findings
    from lightning_invariant.callback.hub_export import HubExport
    from lightning_invariant.callback.reporter import Reporter
    from lightning_invariant.hub.publisher import Publisher
    from lightning_invariant.projections import Projection
    from lightning_invariant.tracking import Report

COMPARED = 16
"""Inputs on which a fresh process compares an export with the live network."""
PUSH = "run `lightning-invariant push` to try again"


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
        projection: From latents to features.
        collector: Knows how latents are reached, and holds inputs.
        reporter: Draws the picture, and knows how many samples were measured.
        findings: Where failures go.
        prefix: Before the names of a report.
        folder: For the exported encoder; None for none.
        name: Of the model on its card; None for that of the folder or repository.
        hub: Where to publish; None for nowhere.
    """

    def __init__(
        self,
        projection: Projection,
        collector: Collector,
        reporter: Reporter,
        findings: Findings,
        *,
        prefix: str,
        folder: Path | None,
        name: str | None,
        hub: HubExport | None,
    ) -> None:
        self.projection, self.collector, self.reporter, self.findings = projection, collector, reporter, findings
        self.prefix, self.folder, self.name, self.hub = prefix, folder, name, hub
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
        self._publisher: Publisher | None = None
        if self._active:
            refusal = shared(self._refusal(trainer) if trainer.is_global_zero else None)
            if refusal is not None:
                raise refusal

    def saved(self) -> None:
        """A checkpoint is about to be written."""
        self._saved = True

    def between(self, trainer: Trainer, module: LightningModule, report: Report | None) -> None:
        """Export between two steps if a checkpoint was saved since the last export; never waits for the Hub."""
        if self.hub is None or not self._active or not trainer.is_global_zero:
            return
        self._listen()
        self._look(trainer, report, self.hub)
        if self._pending is not None and time.monotonic() - self._last >= self.hub.at_most_every:
            self._export_saved(trainer, module, self.hub)

    def end(self, trainer: Trainer, module: LightningModule, report: Report | None) -> None:
        """Export what is left and wait for uploads, as long as the user allows."""
        if not self._active or not trainer.is_global_zero:
            return
        self._active = False
        if self.hub is None:
            with self.findings.guarding("export", strict=False):
                self._export(trainer, module, report, None, "those the training ended with")
            return
        self._look(trainer, report, self.hub)
        if self._pending is not None:
            self._export_saved(trainer, module, self.hub, last=True)
        if self._exported is None:
            self._export_live(trainer, module, report, self.hub)
        if self._publisher is not None:
            self._wait(self._publisher, self.hub)

    def stop(self, trainer: Trainer, module: LightningModule, report: Report | None) -> None:
        """The training was interrupted: keep what was saved, wait for nothing."""
        if self._active and self.hub is not None and trainer.is_global_zero:
            self._active = False
            with self.findings.guarding("export", strict=False):
                self._look(trainer, report, self.hub)
                if self._pending is not None:
                    self._export_saved(trainer, module, self.hub, last=True)
            self._listen()
            if self._publisher is not None:
                self._publisher.leave()

    def notes(self, report: Report | None) -> dict[str, Any]:
        """What `lightning-invariant export` needs to know beside the weights; plain values, for the checkpoint."""
        source, inputs = self.collector.source, self.collector.bank.few(1).get("x")
        if source.function is not None or source.ragged or inputs is None:
            return {}
        return {
            "layer": source.tap.layer,
            "pick": pick if isinstance(pick := source.tap.pick, (int, str)) else None,
            "pool": source.pool,
            "route": self.collector.route,
            "projection": self.projection.config(),
            "tensors": {name: tensor.detach().cpu() for name, tensor in self.projection.state_dict().items()},
            "input": {"shape": list(inputs.shape[1:]), "dtype": str(inputs.dtype).removeprefix("torch.")},
            "numbers": {} if report is None else _without(self.prefix, report.scalars),
            "samples": dict(self.reporter.samples),
            "seed": self.collector.seed,
        }

    # -- what is exported, and when --

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

    def _export_saved(self, trainer: Trainer, module: LightningModule, hub: HubExport, *, last: bool = False) -> None:
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
        with self.findings.guarding("export", strict=False):
            self._export(trainer, module, pending.report, saved, pending.which)

    def _export_live(self, trainer: Trainer, module: LightningModule, report: Report | None, hub: HubExport) -> None:
        if hub.when != "end":
            self.findings.note(
                "live weights",
                f"no {hub.when} checkpoint was saved, so the weights that the training ended with are published.",
            )
        with self.findings.guarding("export", strict=False):
            self._export(trainer, module, report, None, "those the training ended with")

    def _export(
        self, trainer: Trainer, module: LightningModule, report: Report | None, saved: Saved | None, which: str
    ) -> None:
        """Write the folder, and the entry of the queue."""
        collector, hub = self.collector, self.hub
        network = self._whole(module, saved)
        inputs, path = self._way(network)
        epoch, step = (saved.epoch, saved.step) if saved else (trainer.current_epoch, trainer.global_step)
        settings: dict[str, Any] = {
            "numbers": {} if report is None else _without(self.prefix, report.scalars),
            "picture": None if report is None else self.reporter.picture(report),
            "samples": self.reporter.samples,
            "seed": collector.seed,
            "name": self.name,
            "training": training_settings(
                trainer,
                module,
                weights=f"{which}, epoch {epoch}, step {step}",
                measured=None if report is None else report.step,
                hyperparameters=bool(hub and hub.hyperparameters),
            ),
        }
        if hub is not None:
            repo_id = hub.target.repo_id
            settings |= {"repository": repo_id, "license": hub.license}
            settings["name"] = self.name or repo_id.split("/")[1]
        with undisturbed(network, collector.seed), wearing(network, saved.state) if saved else nullcontext():
            if self.folder is not None:
                self._write(self.folder, path, inputs, settings)
            if hub is not None:
                self._enqueue(hub, path, inputs, settings, f"Export of step {step}: {which}")
        collector.source.attach(module)

    def _enqueue(
        self, hub: HubExport, path: LatentPath, inputs: Tensor, settings: dict[str, Any], message: str
    ) -> None:
        from lightning_invariant.hub.artifact import is_own
        from lightning_invariant.hub.proof import write_proof
        from lightning_invariant.hub.publisher import Publisher
        from lightning_invariant.hub.queue import ENCODER, PROOF, Queue

        def fill(fresh: Path) -> None:
            if self.folder is None:
                self._write(fresh / ENCODER, path, inputs, settings)
            else:
                strange = [path.name for path in self.folder.iterdir() if not is_own(path.name)]
                shutil.copytree(self.folder, fresh / ENCODER, ignore=lambda folder, names: strange)
            write_proof(fresh / PROOF, path, self.projection, inputs, self._moved(inputs))

        queue = Queue(hub.queue)
        queue.add(hub.target, fill, message=message, run=self._run)
        if self._publisher is None:
            self._publisher = Publisher(queue, hub.target.repo_id)
        self._publisher.start()

    def _write(self, folder: Path, path: LatentPath, inputs: Tensor, settings: dict[str, Any]) -> None:
        from lightning_invariant.hub import export_encoder

        export_encoder(folder, path, self.projection.to(inputs.device), inputs[:2], **settings)

    def _whole(self, module: LightningModule, saved: Saved | None) -> nn.Module:
        """The module, or where its parameters are spread over processes a new one of its class, on the CPU."""
        if not is_sharded(module):
            return module
        if saved is None:
            raise LayerError(
                "Expected a checkpoint to export, since parameters are spread over processes; add a ModelCheckpoint."
            )
        with torch.random.fork_rng():
            return build_module(type(module), saved)

    def _way(self, module: nn.Module) -> tuple[Tensor, LatentPath]:
        """Inputs on the network's device, and the way to their latents."""
        source, route, inputs = self.collector.source, self.collector.route, self.collector.bank.few(2).get("x")
        if source.function is not None or source.ragged:
            raise LayerError(
                "Expected a named layer without masks to export but latents come from a function or are padded sets; "
                "leave export_dir and export out, or use lightning_invariant.hub.export_encoder on a network of your "
                "own."
            )
        source.attach(module)
        if route is None or inputs is None or len(inputs) < 2:
            raise LayerError(
                f"Expected a forward of single tensors to reach layer {source.tap.layer!r} but none did, so there is "
                "no encoder to export; give inputs= to read x off the batch."
            )
        device = next((p.device for p in module.parameters()), inputs.device)
        return inputs[:COMPARED].to(device), LatentPath(module, source.tap, route, source.flat)

    def _moved(self, inputs: Tensor) -> Tensor | None:
        """The inputs moved by random group elements, where it is known how; never mind if not."""
        group, still = self.collector.source.representation.group, inputs.cpu()
        action = self.reporter.survey.action or default_action(group, still)
        if action is None:
            return None
        elements = group.sample(len(still), torch.Generator().manual_seed(self.collector.seed))
        return action.move(still, elements).to(inputs.device)

    # -- what the Hub says --

    def _refusal(self, trainer: Trainer) -> InvariantError | None:
        """Why the training must not start."""
        try:
            if self.folder is not None:
                from lightning_invariant.hub.artifact import check_target

                check_target(self.folder)
            if self.hub is not None:
                self._check_hub(trainer, self.hub)
        except InvariantError as error:
            return error
        return None

    def _check_hub(self, trainer: Trainer, hub: HubExport) -> None:
        from lightning_invariant.hub.access import check_access
        from lightning_invariant.hub.queue import Queue

        followed(trainer, hub.monitor)
        queue = Queue(hub.queue)
        queue.check()
        if trouble := check_access(hub.target):
            self.findings.add(
                "hub",
                f"{trouble}. The training goes on; exports wait in {queue.folder}, and are uploaded when it answers.",
            )

    def _listen(self) -> None:
        """Turn news of uploads into words."""
        if self._publisher is None:
            return
        outcomes, troubles = self._publisher.news()
        for outcome in outcomes:
            if outcome.state == "published":
                inform(f"lightning-invariant: published {outcome.url}")
            elif outcome.state in ("kept", "refused"):
                self.findings.add(
                    f"hub {outcome.trouble}",
                    f"not published to {outcome.repo_id}: {outcome.trouble}. It is kept in {outcome.entry}; {PUSH}.",
                )
        for trouble in troubles:
            self.findings.add(
                f"hub {trouble}", f"{trouble}. Exports are kept in {self._publisher.queue.folder}; {PUSH}."
            )

    def _wait(self, publisher: Publisher, hub: HubExport) -> None:
        say = lambda text: inform(f"lightning-invariant: {text}")  # noqa: E731
        with self.findings.guarding("upload", strict=False):
            ended = publisher.finish(hub.timeout, say)
            self._listen()
            if not ended:
                self.findings.add(
                    "hub timeout",
                    f"uploads to {hub.target} were not done after {hub.timeout:.0f} s. They go on in a process of "
                    f"their own; what that cannot upload is kept in {publisher.queue.folder}: {PUSH}.",
                )


def _without(prefix: str, scalars: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in scalars.items()}
