"""What is kept of the validation batches that pass: latents of the user's own forward, and the calls that gave them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invariant.batch import BatchReader, RowLayout, clone, graph_of_nodes, to_device
from lightning_invariant.callback.capture.frames import (
    Arguments,
    Frame,
    LatentFunction,
    Settings,
    Slot,
    Way,
    put_in,
    replayed,
    step_arguments,
    take_out,
    with_mask,
)
from lightning_invariant.callback.capture.latent import LatentReader, find_layer, way_to
from lightning_invariant.callback.capture.nodes import NODE_BATCH, packed
from lightning_invariant.callback.capture.orbit import Orbit
from lightning_invariant.callback.capture.private_copy import PrivateCopy, random_snapshot
from lightning_invariant.callback.capture.recorder import CallRecorder, FullRecorder
from lightning_invariant.callback.capture.samples import (
    CallSample,
    Positions,
    Reservoir,
    flat_loaders,
    priority,
)
from lightning_invariant.callback.capture.trial import Step, Trial, copy_for, likeliest
from lightning_invariant.errors import LayerError

MAX_BYTES = 512 * 2**20
"""Bound on the memory of the kept latents, and on that of the kept arguments."""
FEW = 8
"""Rows of an example."""


@dataclass(frozen=True)
class Sizes:
    """How much is kept.

    Args:
        bank: Latents.
        queries: Inputs, whose transformed latents can be asked for.
        seed: Of the choice.
    """

    bank: int
    queries: int
    seed: int = 0


@dataclass
class Kept:
    """What was kept of one loader.

    Args:
        bank: Latents `z`, and where they are known labels `y` and groups `group`.
        calls: Arguments of some of the same rows; None where no way from inputs to latents is known.
        positions: Numbers the rows.
    """

    bank: Reservoir
    calls: CallSample | None
    positions: Positions


@dataclass
class _Batch:
    """The batch that runs."""

    batch: Any
    number: int
    loader: int
    labels: Tensor | None = None
    groups: Tensor | None = None
    mask: Tensor | None = None
    graph: Tensor | None = None
    step: Step | None = None
    arguments: Arguments | None = None
    rows: Tensor | None = None
    z: Tensor | None = None
    numbered: tuple[Tensor, Tensor] | None = None


@dataclass
class Capture:
    """Records validation batches, and chooses in the first one how calls are made again.

    What it tells: `way`, how calls are made again, or None for `reason`; `kept`, by loader; `copied`, the private copy
    that has the weights of this validation; `example`, arguments of a few rows.

    Args:
        reader: Reads latents off the layer's output, and knows the layer's name.
        function: Gives latents of module and batch, in the place of a layer.
        batches: Reads labels, groups and masks off a batch.
        sizes: How much is kept.
        say: Takes a key and a finding.
        orbit: From an example of the call's arguments, and which of them have rows, to the elements under each of which
            the call is made; None for the call as it is.
    """

    reader: LatentReader
    function: LatentFunction | None
    batches: BatchReader
    sizes: Sizes
    say: Callable[[str, str], None]
    orbit: Callable[[Arguments, RowLayout | None], Orbit] | None = None
    way: Way | None = None
    reason: str = "no validation batch was seen"
    tried: bool = False
    kept: dict[int, Kept] = field(default_factory=dict)
    copied: PrivateCopy | None = None
    example: Arguments | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self._slots: list[Slot] = []
        self._batch: _Batch | None = None
        self._recorder: CallRecorder | FullRecorder | None = None
        self._batch_kept: _Batch | None = None
        self._called = 0
        self._numbers: list[Positions] = []
        self.trainer: Any = None
        self.sharded = False
        self.labels_from = ""
        self._reads = self.batches

    def begin_run(self) -> None:
        """Forget another run."""
        self.way, self.reason, self.tried, self.labels_from = None, "no validation batch was seen", False, ""
        self._reads = self.batches
        self.release()

    def release(self) -> None:
        """Forget what was kept, and the copy."""
        self.detach()
        self.kept, self.copied, self._called = {}, None, 0

    def find(self, network: nn.Module) -> nn.Module | None:
        """Return the layer; None where latents come from a function.

        Raises:
            LayerError: There is no such layer, or it is a part of a scripted module.
        """
        if self.function is not None:
            return None
        layer = find_layer(network, self.reader.layer)
        for name, module in network.named_modules():
            scripted = isinstance(module, torch.jit.ScriptModule) and module is not layer
            if name and scripted and any(part is layer for part in module.modules()):
                raise LayerError(
                    f"Expected a layer whose calls can be seen but {self.reader.layer!r} is inside of {name!r}, "
                    f"which is scripted as one; name {name!r}, or give a function of module and batch as layer."
                )
        return layer

    def begin_validation(self, network: nn.Module, loaders: Any, trainer: Any) -> None:
        """Start fresh samples, and find the layer where `configure_model` or a bare `validate` made that impossible."""
        self.release()
        self._layer = self.find(network)
        self.reader.symmetry.look(self._layer, last=False)
        self._path = next((name for name, part in network.named_modules() if part is self._layer), "")
        self._way = {} if self._layer is None else way_to(network, self._layer)
        if self._layer not in self._way.values():
            self._way = {}  # inside of compiled code: its calls cannot be seen
        self._number_of_batches = 0
        self._numbers = [Positions.of(loader) for loader in flat_loaders(loaders)] or [Positions.of(None)]
        self.trainer = trainer

    @property
    def called(self) -> bool:
        """Whether any batch of this validation gave a latent."""
        return self._called > 0

    def _iterates(self, network: nn.Module, step: str) -> bool:
        """Whether a step takes an iterator of batches, so that no batch is known before it runs."""
        return "dataloader_iter" in inspect.signature(getattr(network, step)).parameters

    def begin_batch(self, network: nn.Module, batch: Any, number: int, loader: int | None, step: str) -> None:
        """A batch is about to run: read labels before anything can change them, and start to watch.

        Args:
            network: The LightningModule.
            batch: As the step gets it.
            number: Of the batch.
            loader: Number of its loader; None where there is one.
            step: Name of the step's method.

        Raises:
            BatchError: Labels or groups do not fit.
        """
        self.detach()
        at = min(loader or 0, len(self._numbers) - 1)
        self._batch = now = _Batch(batch, number, at)
        if self._number_of_batches == 0:
            self._iterating = self._iterates(network, step)
        self._number_of_batches += 1
        if not self._iterating:
            self._read(now)
        way = self.way
        if not self.tried:
            if not self._iterating:
                given = step_arguments(network, step, batch, number, loader)
                now.step = Step(step, clone(given), Settings.now(network), random_snapshot())
            if self._way and self._layer is not None:
                self._recorder = FullRecorder(self._way, self._layer, self.reader, now.mask, now.graph)
                self._slots = put_in(self._recorder.watches(self._way))
        elif way is None:
            self._watch_layer_alone()
        else:
            if way.frame.kind != "module":
                self._take_arguments(step_arguments(network, step, batch, number, loader))
            self._watch_way(network, way)

    def end_batch(self, network: nn.Module, batch: Any) -> None:
        """A batch has run: keep rows of it; after the first one choose how calls are made again.

        Raises:
            LatentError: The latent does not fit.
            LayerError: What a user has to change.
        """
        recorder, now = self._recorder, self._batch
        self.detach()
        if now is None:
            return
        if now.batch is not batch:
            now.batch = batch
            self._read(now)
        if recorder is not None and recorder.error is not None:
            raise recorder.error
        if not self.tried:
            self._choose(network, now, recorder)
        if self.copied is None and self.way is not None:
            self.copied = self.copy_of(network)
        if self.way is not None and not self.way.recorded and now.z is None and now.arguments is not None:
            self._encode(now)
        if now.z is not None:
            self._called += 1
            self._keep(now)

    def detach(self) -> None:
        """Take everything out of the network, at any moment."""
        take_out(self._slots)
        self._batch, self._recorder = None, None

    def run(self, arguments: Arguments, seed: int) -> Tensor:
        """Return latents of arguments on the private copy; inside of its `running`."""
        assert self.way is not None
        assert self.copied is not None
        return replayed(self.way.frame, self.copied, arguments, seed)

    def copy_of(self, network: nn.Module) -> PrivateCopy:
        """Return a fresh copy of what the chosen call needs, with the weights of this moment."""
        assert self.way is not None
        way = self.way
        copied = copy_for(way.frame, network, self.trainer, live=way.on_live, sharded=self.sharded, hooks=way.hooks)
        if copied.is_live:
            self.say("live copy", f"forwards of our own run on the live network, guarded, since {copied.reason}.")
        return copied

    def _read(self, now: _Batch) -> None:
        graph = graph_of_nodes(now.batch)
        now.graph = None if graph is None else graph.clone()
        if not self.labels_from:  # where the first batch has its labels, every batch has them
            counts = [None] if graph is None else [None, int(graph[-1]) + 1, len(graph)]
            rows = next((count for count in counts if self.batches.has_labels(now.batch, count)), None)
            self.labels_from = self.batches.labels_from(now.batch, rows)
            self._reads = self.batches.decide(now.batch, rows)
        reads = self._reads
        now.labels, now.groups, now.mask = (
            None if column is None else column.detach().clone()
            for column in (reads.labels(now.batch), reads.groups(now.batch), reads.mask(now.batch))
        )

    def _watch_layer_alone(self) -> None:
        """No way is known: latents alone are recorded."""
        if self._layer is None or not self._way:
            return
        frame = Frame("step", "", self.reader, Settings({}, ()))
        recorder = CallRecorder(frame, lambda arguments: None, self._take_output)
        self._recorder = recorder
        self._slots = put_in({self._layer: recorder._layer})

    def _watch_way(self, network: nn.Module, way: Way) -> None:
        if (way.recorded or way.frame.kind == "module") and self._layer is not None:
            recorder = CallRecorder(way.frame, self._take_arguments, self._take_output)
            self._recorder = recorder
            self._slots = put_in(recorder.watches(network, self._layer))

    def _take_arguments(self, given: Arguments) -> None:
        """Keep the rows of arguments that are wanted, as they are at entry."""
        way, now = self.way, self._batch
        if way is None or now is None:
            return
        given = with_mask(given, now.mask, now.graph)
        now.graph = given.get(NODE_BATCH, now.graph)
        if way.layout is None or not way.by_rows:
            now.arguments = clone(given)
            return
        count = way.layout.count_in(given)
        calls = self._of(now.loader).calls
        if not way.recorded:
            wanted = torch.arange(count)  # all of them are encoded
        else:
            wanted = None if calls is None else calls.wants(self._peek(now, count)[1])
        now.rows = wanted
        if wanted is not None and len(wanted):
            now.arguments = clone(given) if len(wanted) == count else way.layout.select(given, wanted)

    def _take_output(self, output: Any) -> None:
        if self._batch is not None and (self.way is None or self.way.recorded):
            self._batch.z = self.reader(output, self._batch.mask, self._batch.graph)

    def _choose(self, network: nn.Module, now: _Batch, recorder: Any) -> None:
        """After the first batch of a run."""
        self.tried = True
        trial = Trial(network, self._way, self._path, self.reader, self.trainer, self.sharded, self.sizes.seed)
        if isinstance(recorder, FullRecorder):
            if not recorder.hits:
                self.tried = False
                raise LayerError(self._never_called())
            hit = likeliest(recorder.hits, None if now.labels is None else len(now.labels))
            self.way, self.reason = trial.choose(hit, now.step, now.mask, now.batch, now.graph)
            now.z = hit.z
            if self.way is not None and self.way.frame.kind == "module":
                chosen = next(call for call in hit.calls if call.name == self.way.frame.name)
                given = with_mask(chosen.arguments, now.mask, now.graph)
            else:
                given = with_mask(now.step.arguments, now.mask, now.graph) if now.step is not None else {}
        else:
            assert now.step is not None
            self.way, self.reason, now.z = trial.choose_unrecorded(now.step, now.mask, self.function, now.graph)
            given = with_mask(now.step.arguments, now.mask, now.graph)
        now.graph = given.get(NODE_BATCH, now.graph)
        if self.way is None:
            if self.orbit is not None:
                raise LayerError(f"Expected a call that OrbitLayer can make for each element but {self.reason}.")
            return
        now.arguments, now.rows = given, None
        self.example = self._few(self.way, given)
        if self.orbit is not None:
            orbit = self.orbit(self.example, self.way.layout)
            self.way = replace(self.way, frame=replace(self.way.frame, orbit=orbit), recorded=False)
            now.z = None
        if self.copied is None:
            self.copied = self.copy_of(network)
        if self.way.layout is not None and self.way.by_rows:
            now.rows = torch.arange(self.way.layout.count_in(given))

    def _few(self, way: Way, given: Arguments) -> Arguments:
        if way.layout is None or not way.by_rows:
            return clone(given)
        return way.layout.select(given, torch.arange(min(FEW, way.layout.count_in(given))))

    def _encode(self, now: _Batch) -> None:
        assert self.copied is not None
        assert now.arguments is not None
        with self.copied.running(self.sizes.seed):
            now.z = self.run(clone(now.arguments), self.sizes.seed)

    def _of(self, loader: int) -> Kept:
        if loader not in self.kept:
            sizes, seed = self._graphs(self.sizes), self.sizes.seed + 1 + loader
            calls = (
                None
                if self.way is None
                else CallSample(sizes.queries, MAX_BYTES, self.way.layout if self.way.by_rows else None)
            )
            self.kept[loader] = Kept(self._reservoir(sizes.bank, seed), calls, self._numbers[loader])
        return self.kept[loader]

    def _reservoir(self, capacity: int, seed: int) -> Reservoir:
        growing = self.reader.nodes is not None and self.reader.nodes.seen and self.reader.nodes.are_packed
        return Reservoir(capacity, MAX_BYTES, seed, growing=growing)

    def _graphs(self, sizes: Sizes) -> Sizes:
        """How many graphs have about as many nodes, where these are evaluated one by one."""
        now, nodes = self._batch_kept, self.reader.nodes
        if now is None or now.graph is None or nodes is None or not nodes.seen or nodes.kind != "nodes":
            return sizes
        each = max(1, round(len(now.graph) / (int(now.graph[-1]) + 1)))
        return Sizes(max(2, sizes.bank // each), max(1, sizes.queries // each), sizes.seed)

    def _peek(self, now: _Batch, count: int) -> tuple[Tensor, Tensor]:
        """Positions of the next rows, and their priorities, which are one for a call that is kept whole."""
        if now.numbered is None or len(now.numbered[0]) != count:
            numbers = self._of(now.loader).positions
            positions = keys = numbers.peek(count)
            if self.way is not None and not self.way.by_rows:
                keys = torch.full_like(positions, now.number * numbers.processes + numbers.process)
            now.numbered = positions, priority(self._of(now.loader).bank.seed, keys)
        return now.numbered

    def _keep(self, now: _Batch) -> None:
        assert now.z is not None
        self.device = now.z.device
        self._batch_kept = now
        kept, count = self._of(now.loader), len(now.z)
        used = self._used(now, count)
        positions, priorities = self._peek(now, count)
        real = kept.positions.real(positions)
        kept.positions.next(count)
        columns = {"z": now.z[:used]}
        for name, column in (("y", self._labels_of(now)), ("group", now.groups)):
            if column is not None and len(column) == used:
                columns[name] = column
            elif column is not None:
                self.say(
                    f"{name} rows",
                    f"{'labels' if name == 'y' else 'groups'} were left out: expected one for each of {used} latents "
                    f"of {self.reader.layer!r} but got {len(column)}.",
                )
        if real is None:
            kept.bank.add(columns, positions[:used], priorities[:used])
        else:
            columns = {name: column[real[:used].to(column.device)] for name, column in columns.items()}
            kept.bank.add(columns, positions[:used][real[:used]], priorities[:used][real[:used]])
        if kept.calls is None or now.arguments is None or self.way is None:
            return
        if not self.way.by_rows:
            if len(kept.calls.wants(priorities)):
                kept.calls.add(to_device(now.arguments, "cpu"), positions, priorities)
        elif now.rows is not None and self.way.layout is not None:
            rows = now.rows if self.way.recorded else kept.calls.wants(priorities)
            rows = rows[rows < used] if used < count else rows
            self._keep_rows(kept.calls, now, rows if real is None else rows[real[rows]])

    def _labels_of(self, now: _Batch) -> Tensor | None:
        """Labels with a row for each row of the latents."""
        nodes, labels, graph = self.reader.nodes, now.labels, now.graph
        if labels is None or nodes is None or graph is None or nodes.kind != "nodes":
            return labels
        if len(labels) == len(graph):
            return packed(labels.reshape(len(labels), -1), graph, marked=False)
        self.say(
            "y rows",
            f"labels were left out: each of {len(graph)} nodes has a latent of its own but there are {len(labels)} "
            "labels; give pool='readout sum' or 'readout mean' for features of whole graphs, or name labels of nodes "
            "with batch=BatchReader(labels=...).",
        )
        return None

    def _keep_rows(self, calls: CallSample, now: _Batch, rows: Tensor) -> None:
        """Keep rows of the arguments, of which `now` has some or all."""
        assert now.rows is not None
        assert now.numbered is not None
        assert self.way is not None
        if not len(rows):
            return
        arguments, (positions, priorities) = now.arguments, now.numbered
        if len(rows) < len(now.rows):
            assert self.way.layout is not None
            arguments = clone(self.way.layout.select(arguments, torch.isin(now.rows, rows).nonzero()[:, 0]))
        calls.add(to_device(arguments, "cpu"), positions[rows], priorities[rows])

    def _used(self, now: _Batch, count: int) -> int:
        """Of views of the same samples that went through the layer as one batch the first counts."""
        labels = 0 if now.labels is None else len(now.labels)
        if labels and count > labels and count % labels == 0 and _has_views(now.batch, count // labels, labels):
            return labels
        return count

    def _never_called(self) -> str:
        parents = [name for name in self._way if name and name != self.reader.layer]
        hint = f" Of those around it, {parents[-1]!r} may run it as a part of something fused." if parents else ""
        return (
            f"Expected layer {self.reader.layer!r} to be called in the validation step but it never was; name a layer "
            f"whose call the step makes, or give a function of module and batch as layer.{hint}"
        )


def _has_views(batch: Any, views: int, rows: int) -> bool:
    """Whether a batch holds several tensors of one shape and so many rows in a list."""

    def lists(tree: Any, depth: int) -> Any:
        if isinstance(tree, (list, tuple)):
            yield tree
        if depth and isinstance(tree, (list, tuple, dict)):
            for part in tree.values() if isinstance(tree, dict) else tree:
                yield from lists(part, depth - 1)

    return any(
        len(found) == views
        and all(isinstance(v, Tensor) and v.dim() > 1 and v.shape == found[0].shape for v in found)
        and len(found[0]) == rows
        for found in lists(batch, 3)
    )
