"""What an export of a training writes: the folder, the entry of the queue, notes for a checkpoint."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.callback.checkpoints import Saved, is_sharded, wearing
from lightning_invariant.callback.encode import undisturbed
from lightning_invariant.callback.export_head import fitted_head
from lightning_invariant.callback.export_way import Way, find_way, moved
from lightning_invariant.callback.from_checkpoint import build_module
from lightning_invariant.callback.training import training_settings
from lightning_invariant.errors import LayerError
from lightning_invariant.probes import target_kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pytorch_lightning import LightningModule, Trainer
    from torch import nn

    from lightning_invariant.callback.collector import Collector
    from lightning_invariant.callback.findings import Findings
    from lightning_invariant.callback.hub_export import HubExport
    from lightning_invariant.callback.reporter import Reporter
    from lightning_invariant.hub.queue import Queue
    from lightning_invariant.projections import Projection
    from lightning_invariant.tracking import Report


class ExportWriter:
    """Writes what the network is, with the weights of a checkpoint or its own.

    Args:
        projection: From latents to features.
        collector: Knows how latents are reached, and holds inputs.
        reporter: Draws the picture, and knows how many samples were measured.
        findings: Where it goes that a head could not be fitted.
        prefix: Before the names of a report.
        folder: For the exported encoder; None for none.
        name: Of the model on its card; None for that of the folder or repository.
        hub: What goes to the Hub; None for nothing.
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

    def check(self) -> None:
        """Whether anything can be exported, as far as that can be known before the first step.

        Raises:
            ArtifactError: The folder cannot be written.
        """
        from lightning_invariant.hub.artifact import check_target

        if self.folder is not None:
            check_target(self.folder)

    def write(
        self,
        trainer: Trainer,
        module: LightningModule,
        report: Report | None,
        saved: Saved | None,
        which: str,
        queue: Queue | None,
        run: str,
    ) -> None:
        """Write the folder, and an entry of the queue.

        Args:
            trainer: Of the training.
            module: Its network.
            report: What was measured of these weights; None for nothing.
            saved: The weights; None for those that the module has.
            which: The same in words.
            queue: For the Hub; None for none.
            run: Tells this training's exports from others'.

        Raises:
            LayerError: There is no way from inputs to latents that could be exported.
            GraphError: The network cannot be written without its class.
        """
        network = self._whole(module, saved)
        way = find_way(network, self.collector)
        epoch, step = (saved.epoch, saved.step) if saved else (trainer.current_epoch, trainer.global_step)
        settings = self._settings(trainer, module, report, f"{which}, epoch {epoch}, step {step}")
        with undisturbed(network, self.collector.seed), wearing(network, saved.state) if saved else nullcontext():
            self._fit_head(way, settings)
            if self.folder is not None:
                self._export(self.folder, way, settings)
            if self.hub is not None and queue is not None:
                self._enqueue(self.hub, queue, way, settings, f"Export of step {step}: {which}", run)
        self.collector.source.attach(module)

    def notes(self, report: Report | None) -> dict[str, Any]:
        """What `lightning-invariant export` needs to know beside the weights; plain values, for the checkpoint."""
        source, columns = self.collector.source, self.collector.bank.few(1)
        masked = source.content.mask is not None
        if source.function is not None or "x" not in columns or (source.ragged and not masked):
            return {}
        inputs = columns["x"]
        return {
            "layer": source.tap.layer,
            "pick": pick if isinstance(pick := source.tap.pick, (int, str)) else None,
            "pool": source.pool,
            "route": self.collector.route,
            "masked": masked,
            "projection": self.projection.config(),
            "tensors": {name: tensor.detach().cpu() for name, tensor in self.projection.state_dict().items()},
            "input": {"shape": list(inputs.shape[1:]), "dtype": str(inputs.dtype).removeprefix("torch.")},
            "numbers": {} if report is None else _without(self.prefix, report.scalars),
            "targets": self._targets(),
            "samples": dict(self.reporter.samples),
            "seed": self.collector.seed,
        }

    def _settings(
        self, trainer: Trainer, module: LightningModule, report: Report | None, weights: str
    ) -> dict[str, Any]:
        """For `export_encoder`, all but the encoder."""
        hub = self.hub
        settings: dict[str, Any] = {
            "numbers": {} if report is None else _without(self.prefix, report.scalars),
            "picture": None if report is None else self.reporter.picture(report),
            "targets": self._targets(),
            "samples": self.reporter.samples,
            "seed": self.collector.seed,
            "name": self.name,
            "training": training_settings(
                trainer,
                module,
                weights=weights,
                measured=None if report is None else report.step,
                hyperparameters=bool(hub and hub.hyperparameters),
            ),
        }
        if hub is not None:
            repo_id = hub.target.repo_id
            settings |= {"repository": repo_id, "license": hub.license}
            settings["name"] = self.name or repo_id.split("/")[1]
        return settings

    def _targets(self) -> str | None:
        """What the probes were asked for."""
        y = self.collector.bank.few(1000).get("y")
        return None if y is None or not len(y) else target_kind(y)

    def _fit_head(self, way: Way, settings: dict[str, Any]) -> None:
        """A head that cannot be fitted is a finding; the encoder goes without."""
        if self.hub is None or self.hub.head is None:
            return
        with self.findings.guarding("head", strict=False):
            projection = self.projection.to(way.inputs[0].device)
            head, numbers = fitted_head(way, projection, self.collector, self.hub.head, self.hub.labels)
            settings |= head
            settings["numbers"] = {**settings["numbers"], **numbers}

    def _export(self, folder: Path, way: Way, settings: Mapping[str, Any]) -> None:
        from lightning_invariant.hub import export_encoder
        from lightning_invariant.hub.onnx_model import OnnxError

        example = tuple(column[:2] for column in way.inputs)
        write = partial(export_encoder, folder, way.network, self.projection.to(example[0].device), example)
        try:
            write(mask=way.mask, onnx=self.hub is not None and self.hub.onnx, **settings)
        except OnnxError as error:
            self.findings.add("onnx", f"the export goes without model.onnx: {error}")
            write(mask=way.mask, **settings)

    def _enqueue(
        self, hub: HubExport, queue: Queue, way: Way, settings: Mapping[str, Any], message: str, run: str
    ) -> None:
        from lightning_invariant.hub.artifact import is_own
        from lightning_invariant.hub.proof import write_proof
        from lightning_invariant.hub.queue import ENCODER, PROOF

        turned = moved(way, self.collector, self.reporter.survey.action)

        def fill(fresh: Path) -> None:
            if self.folder is None:
                self._export(fresh / ENCODER, way, settings)
            else:
                strange = [path.name for path in self.folder.iterdir() if not is_own(path.name)]
                shutil.copytree(self.folder, fresh / ENCODER, ignore=lambda folder, names: strange)
            write_proof(fresh / PROOF, way.network, self.projection, way.inputs, turned, way.mask)

        queue.add(hub.target, fill, message=message, run=run)

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


def _without(prefix: str, scalars: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in scalars.items()}
