"""Records, while the user's own validation step runs, how modules are called and what the layer gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from lightning_invariant.batch import clone, graph_of_nodes
from lightning_invariant.callback.capture.frames import Arguments, Frame, Settings, Watch, bound
from lightning_invariant.callback.capture.latent import LatentReader
from lightning_invariant.callback.capture.private_copy import random_snapshot


@dataclass
class RecordedCall:
    """One call of a module on the way to the layer.

    Args:
        name: Of the module, "" for the LightningModule.
        path: Of the layer inside of it.
        arguments: Copies by name, as they were at entry.
        settings: What surrounded the call.
        random: States of torch's, NumPy's and Python's random numbers at entry.
        latents: What the layer gave while the call ran.
    """

    name: str
    path: str
    arguments: Arguments
    settings: Settings
    random: tuple[Any, ...]
    latents: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Hit:
    """One call of the layer.

    Args:
        z: Its flat latents.
        calls: Those that it happened in, from the outside in, the layer's own last.
        ordinals: Which of the layer's calls in each of those it was.
        count: Which of the layer's calls in the step it was.
    """

    z: Tensor
    calls: tuple[RecordedCall, ...]
    ordinals: tuple[int, ...]
    count: int


class FullRecorder:
    """Records every call on the way to the layer, once in a run, so that the one to make again can be chosen.

    Args:
        way: Modules that lead to the layer, by name, itself included.
        layer: The layer.
        reader: Reads latents off its output.
        mask: Of padded sets, as the batch has it.
        graph: Of each node, as the batch has it.
    """

    def __init__(
        self,
        way: Mapping[str, nn.Module],
        layer: nn.Module,
        reader: LatentReader,
        mask: Tensor | None = None,
        graph: Tensor | None = None,
    ) -> None:
        self.layer, self.reader, self.mask, self.graph = layer, reader, mask, graph
        self._names = {id(module): name for name, module in way.items()}
        self._paths = {
            id(module): next((inner for inner, part in module.named_modules() if part is layer), "")
            for module in way.values()
        }
        self._stack: list[RecordedCall] = []
        self.hits: list[Hit] = []
        self.error: Exception | None = None

    def watches(self, way: Mapping[str, nn.Module]) -> dict[nn.Module, Watch]:
        """Return what watches each module."""
        return dict.fromkeys(way.values(), self._watch)

    def _watch(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self.error is not None or is_redirected(module):
            return call(*args, **kwargs)
        if not self._open(module, args, kwargs):
            return call(*args, **kwargs)
        calls = tuple(self._stack)
        try:
            output = call(*args, **kwargs)
        finally:
            self._stack.pop()
        if module is self.layer:
            self._guarded(lambda: self._hit(output, calls))
        return output

    def _open(self, module: nn.Module, args: Any, kwargs: Any) -> bool:
        def make() -> None:
            self._stack.append(
                RecordedCall(
                    self._names[id(module)],
                    self._paths[id(module)],
                    clone(bound(module, args, kwargs)),
                    Settings.now(module),
                    random_snapshot(),
                )
            )

        return self._guarded(make)

    def _hit(self, output: Any, calls: tuple[RecordedCall, ...]) -> None:
        told = (self.graph, *(graph_of_nodes(call.arguments) for call in calls))
        z = self.reader(output, self.mask, next((graph for graph in told if graph is not None), None))
        ordinals = tuple(len(call.latents) for call in calls)
        for call in calls:
            call.latents.append(z)
        self.hits.append(Hit(z, calls, ordinals, len(self.hits)))

    def _guarded(self, work: Callable[[], None]) -> bool:
        """Work that must not disturb the user's forward; the first error is kept."""
        try:
            with torch.no_grad():
                work()
        except Exception as error:
            self.error = error
            return False
        return True


class CallRecorder:
    """Records the chosen call and the layer's output in it, the first time in a batch.

    Args:
        frame: The call.
        on_arguments: Takes the arguments at entry; not called for a step, whose batch is known before.
        on_output: Takes the layer's output.
    """

    def __init__(
        self, frame: Frame, on_arguments: Callable[[Arguments], None], on_output: Callable[[Any], None]
    ) -> None:
        self.frame, self.on_arguments, self.on_output = frame, on_arguments, on_output
        self.error: Exception | None = None
        self.begin()

    def begin(self) -> None:
        """Start a batch."""
        self._entered, self._inside, self._seen = self.frame.kind == "step", self.frame.kind == "step", 0
        self.called = False

    def watches(self, network: nn.Module, layer: nn.Module) -> dict[nn.Module, Watch]:
        """Return what watches the called module and the layer."""
        if self.frame.kind == "step":
            return {layer: self._layer}
        called = network.get_submodule(self.frame.name)
        return {called: self._both} if called is layer else {called: self._call, layer: self._layer}

    def _call(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._entered or is_redirected(module):
            return call(*args, **kwargs)
        self._entered = self._inside = True
        self._guarded(lambda: self.on_arguments(bound(module, args, kwargs)))
        try:
            return call(*args, **kwargs)
        finally:
            self._inside = False

    def _layer(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        if self._inside:
            self._seen += 1
            if self._seen == self.frame.ordinal + 1:
                self.called = True
                self._guarded(lambda: self.on_output(output))
        return output

    def _both(self, module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        return self._call(module, lambda *a, **k: self._layer(module, call, a, k), args, kwargs)

    def _guarded(self, work: Callable[[], None]) -> None:
        if self.error is None:
            try:
                with torch.no_grad():
                    work()
            except Exception as error:
                self.error = error


def is_redirected(module: nn.Module) -> bool:
    """Return whether Lightning calls a module only to get to another of its methods, as under DDP."""
    return "_ForwardRedirection" in getattr(module.__dict__.get("forward"), "__qualname__", "")
