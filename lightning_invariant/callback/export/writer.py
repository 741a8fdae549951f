"""What an export of a training run writes: the folder, the entry of the queue, notes for a checkpoint."""

from __future__ import annotations

import copy
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.batch import leaves
from lightning_invariant.batch import replace as replaced
from lightning_invariant.callback.capture.frames import SET_MASK
from lightning_invariant.callback.capture.private_copy import PrivateCopy, random_states
from lightning_invariant.callback.export.checkpoints import Saved, put_state, same_state, tensors_of
from lightning_invariant.callback.export.fitted_head import fitted_head
from lightning_invariant.callback.export.from_checkpoint import build_module
from lightning_invariant.callback.export.latent_path import COMPARED, Path, layer_alone, path_of
from lightning_invariant.callback.export.settings import Export, HubExport
from lightning_invariant.callback.report.illustrate import figure_png
from lightning_invariant.errors import ArtifactError, GraphError, LayerError
from lightning_invariant.probes import target_kind
from lightning_invariant.projections import GraphReadout
from lightning_invariant.projections.sets.graph_readout import of_one_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path as Folder

    from pytorch_lightning import LightningModule, Trainer

    from lightning_invariant.artifact.card import Card
    from lightning_invariant.callback.report.reporter import Reporter
    from lightning_invariant.encoder.export import Measurements
    from lightning_invariant.evaluation import Evaluation, FoundRepresentation
    from lightning_invariant.hub.queue import Queue
    from lightning_invariant.projections import Projection
    from lightning_invariant.tracking import Report


READ_OUT: dict[str, Any] = {"readout sum": "sum", "readout mean": "mean"}


@dataclass(frozen=True)
class Snapshot:
    """Weights, and what was measured of them.

    Args:
        state: State of the module that is copied, on the CPU.
        step: Global step of the validation.
        evaluation: Numbers and latents; None if nothing was measured.
        scalars: The numbers by logged name, without a prefix.
        estimate: The action that was found in its latents; None where it was declared or read off the layer.
    """

    state: Mapping[str, Tensor]
    step: int
    evaluation: Evaluation | None
    scalars: Mapping[str, float]
    estimate: FoundRepresentation | None = None


@dataclass(frozen=True)
class Weights:
    """Which weights are exported.

    Args:
        saved: Those of a checkpoint; None for those of the last validation, or those that the run ended with.
        words: The same in words.
        epoch: When they were saved, or the run ended.
        step: Likewise.
    """

    saved: Saved | None
    words: str
    epoch: int
    step: int


class ExportWriter:
    """Writes an encoder with weights that were measured, or measures those that are asked for.

    Args:
        reporter: Knows how latents are reached, and measures.
        export: What the user wants.
    """

    def __init__(self, reporter: Reporter, export: Export | HubExport) -> None:
        self.reporter, self.export = reporter, export
        self.findings = reporter.findings
        self.folder: Folder | None = export.folder

    @property
    def projection(self) -> Projection:
        """The invariant map."""
        return self.reporter.given.projection

    def projection_on(self, device: torch.device) -> Projection:
        """Return a copy of the projection on a device; reports go on with the one on the CPU."""
        projection = copy.deepcopy(self.projection)
        kind, readout = self.reporter.given.nodes.kind, self.reporter.given.nodes.readout
        if kind == "sets":
            projection = GraphReadout(of_one_node(projection.representation), projection, "set")
        if readout and kind == "readout":
            projection = GraphReadout(projection.representation, projection, READ_OUT[readout])
        return projection.to(device)

    def check(self) -> None:
        """See whether anything can be exported, as far as that can be known before the first step.

        Raises:
            ArtifactError: The folder cannot be written.
        """
        from lightning_invariant.artifact import check_target

        if self.folder is not None:
            check_target(self.folder)
        if self.reporter.given.orbit is not None and self.export.arguments is not None:
            raise ArtifactError(
                "Expected no arguments= for a layer=OrbitLayer(...), which is exported as a graph of tensors; put "
                "OrbitLayer(encoder, group) into the network to export it by class."
            )

    def write(
        self,
        trainer: Trainer,
        module: LightningModule,
        snapshot: Snapshot | None,
        weights: Weights,
        averaged: bool,
        folder: Folder | None,
    ) -> Exported:
        """Write the folder; what is to be published is in the result.

        Args:
            trainer: Of the run.
            module: Its network.
            snapshot: What was measured last; None for nothing.
            weights: Which ones are exported.
            averaged: Whether the validation ran with other weights than the training, which the snapshot holds.
            folder: Where to; None for nowhere yet.

        Raises:
            LayerError: There is no way from inputs to latents that could be exported.
            GraphError: The network cannot be written without its class.
        """
        capture = self.reporter.capture
        way, example = capture.way, capture.example
        if way is None or example is None:
            raise LayerError(f"Expected a call that leads to the latent but {capture.reason}; nothing is exported.")
        copied, snapshot, words = self._weighted(module, snapshot, weights, averaged)
        given = self.reporter.given
        if given.symmetry.sought is not None and snapshot is not None and snapshot.estimate is not None:
            given.settle(snapshot.estimate)  # as it was when these weights were measured
        reach = self.reporter.reach()
        transformed = set() if reach.action is None else set(reach.action.actions)
        path = path_of(way, copied, example, transformed, given.symmetry.estimate)
        exact = words if words != weights.words else f"{words}, epoch {weights.epoch}, step {weights.step}"
        made = Exported(self, path, snapshot, words, weights.step, self._settings(trainer, module, snapshot, exact))
        if folder is not None:
            made.to(folder)
        return made

    def rehearse(self, trainer: Trainer, module: LightningModule) -> None:
        """Write what would be exported now, and throw it away: what cannot be exported is known before the first step.

        Raises:
            LayerError: As `write`.
            GraphError: As `write`.
            ArtifactError: As `write`.
        """
        from pathlib import Path as Place

        if not self.reporter.given.symmetry.is_known:  # an action is found at the first validation
            return
        with TemporaryDirectory() as place:
            weights = Weights(None, "those before the training", 0, 0)
            self.write(trainer, module, None, weights, averaged=False, folder=Place(place) / "encoder")

    def notes(self, report: Report | None) -> dict[str, Any]:
        """Return what `lightning-invariant export` needs beside the weights; plain values, for the checkpoint."""
        capture, given = self.reporter.capture, self.reporter.given
        way, example = capture.way, capture.example
        if given.symmetry.sought is not None:
            return {"reason": "the action was found in a basis of the weights of one moment"}
        if way is None or example is None:
            return {}
        if given.reader.ragged or way.frame.kind != "module" or not way.by_rows:
            return {"reason": "the layer takes graphs, or no batch of rows"}
        orbit = way.frame.orbit
        if orbit is not None and (orbit.transforms is None or given.action is not None):
            return {"reason": "its OrbitLayer transforms inputs by an action of your own"}
        tensors = leaves(example)
        assert way.layout is not None
        names = [name for name in way.layout.axes if name in tensors and name != SET_MASK]
        if len(names) != 1 or set(example) - {SET_MASK} != set(names):
            return {"reason": "the layer is called with more than one input"}
        x = tensors[names[0]]
        return {
            "layer": given.layer_name if given.orbit is None else given.orbit.name,
            "orbit": None if given.orbit is None else str(given.orbit.group),
            "pick": given.reader.pick if isinstance(given.reader.pick, (int, str)) else None,
            "pool": given.reader.pooling,
            "frame": way.frame.name,
            "masked": SET_MASK in example,
            "projection": self.projection.config(),
            "tensors": {name: tensor.detach().cpu() for name, tensor in self.projection.state_dict().items()},
            "input": {"shape": list(x.shape[1:]), "dtype": str(x.dtype).removeprefix("torch.")},
            "numbers": {} if report is None else self.reporter.plain(report.scalars),
            "targets": self._targets(),
            "samples": {} if report is None else dict(report.samples),
            "seed": self.reporter.seed,
        }

    def _weighted(
        self, module: LightningModule, snapshot: Snapshot | None, weights: Weights, averaged: bool
    ) -> tuple[PrivateCopy, Snapshot | None, str]:
        """A copy with the weights, what was measured of exactly these, and which ones they are in words."""
        capture = self.reporter.capture
        assert capture.way is not None
        root = capture.way.frame.root
        copied = self._whole(module, weights.saved)
        if weights.saved is not None:
            put_state(copied.network, weights.saved.state, root)
        if snapshot is None and self.reporter.evaluation is None:
            return copied, None, weights.words
        if snapshot is not None:
            state = weights.saved.state if weights.saved is not None else tensors_of(copied.network)
            if same_state(snapshot.state, state, root if weights.saved is not None else ""):
                return copied, snapshot, weights.words
            if averaged and snapshot.step == weights.step:
                put_state(copied.network, snapshot.state)
                return copied, snapshot, f"averaged weights, those of the validation at step {snapshot.step}"
        self.findings.note(
            "measured again",
            "the weights that are exported are not those of the last validation, so its kept inputs are encoded anew "
            "for the numbers on the card.",
        )
        found = self.reporter.measure_again(copied)
        scalars = {} if found is None else self.reporter.scalars_of(found)
        return copied, self._again(copied, weights, found, scalars), weights.words

    def _again(
        self, copied: PrivateCopy, weights: Weights, found: Evaluation | None, scalars: Mapping[str, float]
    ) -> Snapshot:
        estimate = self.reporter.given.symmetry.estimate
        return Snapshot(tensors_of(copied.network), weights.step, found, scalars, estimate)

    def _whole(self, module: LightningModule, saved: Saved | None) -> PrivateCopy:
        """A copy, or where parameters are spread over processes a new module of its class, on the CPU."""
        capture = self.reporter.capture
        if not capture.sharded:
            copied = capture.copy_of(module)
            if copied.is_live:
                raise LayerError(f"Expected a copy of the network to export but there is none, since {copied.reason}.")
            return copied
        if saved is None:
            raise LayerError(
                "Expected a checkpoint to export, since parameters are spread over processes; add a ModelCheckpoint."
            )
        with random_states(self.reporter.seed):
            built = build_module(type(module), saved)
        assert capture.way is not None
        return PrivateCopy(built.get_submodule(capture.way.frame.root).eval())

    def _settings(
        self, trainer: Trainer, module: LightningModule, snapshot: Snapshot | None, words: str
    ) -> tuple[Card, Measurements]:
        """What stands on the card, and what was measured."""
        from lightning_invariant.artifact.card import Card
        from lightning_invariant.encoder.export import Measurements

        hub = self.export if isinstance(self.export, HubExport) else None
        evaluation = None if snapshot is None else snapshot.evaluation
        numbers = {} if snapshot is None else dict(snapshot.scalars)
        samples = {} if evaluation is None else {"bank": len(evaluation.latents.bank)}
        if evaluation is not None and evaluation.latents.transformed is not None:
            samples["queries"] = len(evaluation.latents.own)
        repo_id = None if hub is None else hub.target.repo_id
        card = Card(
            name=self.export.name or (None if repo_id is None else repo_id.split("/")[1]),
            repository=repo_id,
            license=None if hub is None else hub.license,
            training=training_settings(
                trainer,
                module,
                weights=words,
                measured=None if evaluation is None or snapshot is None else snapshot.step,
                hyperparameters=bool(hub and hub.hyperparameters),
            ),
            figure=None if evaluation is None else figure_png(evaluation, self.findings),
        )
        missing = {} if evaluation is None else dict(evaluation.missing)
        return card, Measurements(numbers, self._targets(), samples, self.reporter.seed, missing)

    def _targets(self) -> Any:
        """What the probes were asked for."""
        evaluation = self.reporter.evaluation
        labels = None if evaluation is None else evaluation.latents.labels
        return None if labels is None or not len(labels) else target_kind(labels)


@dataclass(frozen=True)
class Exported:
    """An encoder that is to be written.

    Args:
        writer: Knows what the user wants.
        path: From inputs to latents.
        snapshot: What was measured of its weights.
        words: Which weights they are.
        step: Global step of the weights.
        settings: For the card, and what was measured.
    """

    writer: ExportWriter
    path: Path
    snapshot: Snapshot | None
    words: str
    step: int
    settings: tuple[Card, Measurements]

    def to(self, folder: Folder) -> None:
        """Write the artefact: as a graph, else by the class of the layer where its arguments are given.

        Raises:
            GraphError: The network cannot be written without its class, and no arguments for that are given.
            LayerError: Nor with it.
        """
        export = self.writer.export
        try:
            self._to(folder, self.path, None)
        except GraphError as error:
            if export.arguments is None:
                reason, kind = str(error).split(" With ExportOptions")[0], type(export).__name__
                raise GraphError(
                    f"{reason} With {kind}(..., arguments={{...}}) for the layer's class, its path and weights are "
                    "published instead."
                ) from error
            self._to(folder, layer_alone(self.path), export.arguments)
            self.writer.findings.note(
                "class path",
                "the network cannot be written without its class, so the layer's class path and arguments are "
                "published: whoever pulls the encoder gives network= and what the layer takes.",
            )

    def _to(self, folder: Folder, path: Path, arguments: Mapping[str, Any] | None) -> None:
        from lightning_invariant.encoder.export import ExportOptions, export_encoder
        from lightning_invariant.encoder.onnx_model import OnnxError

        export, findings = self.writer.export, self.writer.findings
        example = path.few(2)
        projection = self.writer.projection_on(example[0].device)
        options = ExportOptions(
            head=self._head(), dynamic=path.dynamic, mask=path.mask, arguments=arguments, onnx=export.onnx
        )
        card, measured = self.settings
        keywords = {"measured": measured, "card": card}
        with _alone():
            try:
                export_encoder(folder, path.network, projection, example, options=options, **keywords)
            except OnnxError as error:
                findings.add("onnx", f"the export goes without model.onnx: {error}")
                options = replace(options, onnx=False)
                export_encoder(folder, path.network, projection, example, options=options, **keywords)

    def enqueue(self, queue: Queue, hub: HubExport, run: str) -> None:
        """Add it to the queue of what is to be published, with what a fresh process compares it with.

        A class is not imported there, which may run anything: such an export was compared when it was written.
        """
        from lightning_invariant.artifact.config import GRAPH, is_own
        from lightning_invariant.encoder.parity_check import write_parity
        from lightning_invariant.hub.queue import ENCODER, PARITY

        folder = self.writer.folder

        def fill(fresh: Folder) -> None:
            if folder is None:
                self.to(fresh / ENCODER)
            else:
                strange = [path.name for path in folder.iterdir() if not is_own(path.name)]
                shutil.copytree(folder, fresh / ENCODER, ignore=lambda folder, names: strange)
            if not (fresh / ENCODER / GRAPH).exists():
                return
            path = self.path
            projection = self.writer.projection_on(path.inputs[0].device)
            with _alone():
                write_parity(
                    fresh / PARITY,
                    path.network,
                    projection,
                    path.inputs,
                    self._transformed(),
                    path.mask,
                    rows=path.dynamic is None,
                )

        queue.add(hub.target, fill, message=f"Export of step {self.step}: {self.words}", run=run)

    def _head(self) -> Any:
        """A head that cannot be fitted is a finding; the encoder goes without."""
        hub = self.writer.export
        evaluation = None if self.snapshot is None else self.snapshot.evaluation
        if not isinstance(hub, HubExport) or hub.head is None or evaluation is None:
            return None
        with self.writer.findings.guarding("head", strict=False):
            measured = self.writer.reporter.projection  # of latents that carry their mask, where sets are padded
            return fitted_head(evaluation.latents, measured, hub.head, hub.labels)
        return None

    def _transformed(self) -> tuple[Tensor, ...] | None:
        """The inputs transformed by random group elements, where it is known how."""
        reporter = self.writer.reporter
        action = reporter.reach().action
        if action is None or self.path.dynamic is not None:
            return None
        rows = min(COMPARED, len(self.path.inputs[0]))
        elements = action.group.sample(rows, torch.Generator().manual_seed(reporter.seed))
        arguments = self.path.network.arguments  # type: ignore[union-attr]
        changed = leaves(action.transform(replaced(arguments, {}), elements))  # type: ignore[arg-type]
        return tuple(changed[name][:rows] for name in self.path.names)


@contextmanager
def _alone() -> Iterator[None]:
    """Without gradients, and without the random numbers of the training."""
    with torch.no_grad(), random_states(0):
        yield


LONGEST = 80
"""Characters of a value that are shown."""


def training_settings(
    trainer: Trainer, module: LightningModule, *, weights: str, measured: int | None, hyperparameters: bool
) -> dict[str, str]:
    """Return settings of the training run by name.

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
