"""The way from inputs to the latent as a module that can be exported: what lies behind the layer is no part of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from lightning_invariant.artifact.graph.record import plain_attention
from lightning_invariant.batch import clone, leaves, to_device
from lightning_invariant.batch import replace as replaced
from lightning_invariant.batch.rows import Role
from lightning_invariant.callback.capture.frames import (
    SET_MASK,
    Arguments,
    Frame,
    Reached,
    Settings,
    alike,
    bound,
    watching,
)
from lightning_invariant.callback.capture.nodes import NODE_BATCH
from lightning_invariant.errors import LayerError
from lightning_invariant.guests import escnn_modules

if TYPE_CHECKING:
    from lightning_invariant.batch import RowLayout
    from lightning_invariant.callback.capture.frames import Way
    from lightning_invariant.callback.capture.private_copy import PrivateCopy
    from lightning_invariant.evaluation import FoundRepresentation

GRAPH_AXES = {Role.GRAPHS, Role.NODES, Role.EDGES, Role.EDGE_INDEX, Role.GRAPH_INDEX, Role.POINTERS}
"""What arguments may be where graphs are exported by their nodes."""
COMPARED = 16
"""Inputs on which a fresh process compares an export with the live network."""


@dataclass(frozen=True)
class Path:
    """A network from inputs to flat latents, and some inputs.

    Args:
        network: Network in eval mode.
        names: Names of its inputs among the arguments of the recorded call; the mask of padded sets last.
        inputs: At least two rows of each, on the network's device.
        mask: Which of them is the mask that the projection gets too; None if none is.
        dynamic: Axes of any length of each, with names, where these are not the first ones.
    """

    network: nn.Module
    names: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    mask: int | None
    dynamic: tuple[dict[int, str], ...] | None = None

    def few(self, count: int) -> tuple[Tensor, ...]:
        """Return at most so many rows of each input; all of graphs, which have no rows."""
        return self.inputs if self.dynamic is not None else tuple(column[:count] for column in self.inputs)


class LatentPath(nn.Module):
    """Inputs to flat latents, by the recorded call, which ends at the layer.

    Args:
        network: The module that is called, a private copy.
        frame: The call.
        arguments: An example of all its arguments, of which those that are no inputs are kept.
        names: Which arguments are inputs.
        links: Arguments that follow from the mask of padded sets, or are the graph of each node, and whether they are
            its opposite.
        estimate: An action that was found: latents are given in its basis.
    """

    basis: Tensor | None
    offset: Tensor | None

    def __init__(
        self,
        network: nn.Module,
        frame: Frame,
        arguments: Arguments,
        names: tuple[str, ...],
        links: dict[str, bool],
        estimate: FoundRepresentation | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("basis", None if estimate is None else estimate.basis.float())
        self.register_buffer("offset", None if estimate is None else estimate.offset.float())
        self.network, self.frame, self.arguments, self.names, self.links = network, frame, arguments, names, links
        self.training = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return flat latents, padding and all."""
        given = dict(zip(self.names, inputs, strict=True))
        mask, graph = given.pop(SET_MASK, None), given.pop(NODE_BATCH, None)
        linked = mask if mask is not None else graph
        if linked is not None:
            given |= {path: ~linked if opposite else linked for path, opposite in self.links.items()}
        arguments = replaced(self.arguments, given)
        for name in (SET_MASK, NODE_BATCH):
            arguments.pop(name, None)
        z = self._latents(arguments)
        return z if self.basis is None or self.offset is None else (z - self.offset) @ self.basis

    def _latents(self, arguments: Arguments) -> Tensor:
        if self.frame.orbit is not None:
            return self.frame.orbit.latents(self._once, arguments)
        return self._once(arguments)

    def _once(self, arguments: Arguments) -> Tensor:
        frame = self.frame
        read = frame.reader.plain
        if frame.function is not None:
            return read(frame.function(self.network, arguments["batch"]))
        calls = [0]

        def watch(module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            output = call(*args, **kwargs)
            calls[0] += 1
            if calls[0] == frame.ordinal + 1:
                raise Reached(read(output))
            return output

        stack = _traced_modules()
        entered = list(stack.items())
        with watching({self.network.get_submodule(frame.path): watch}):
            try:
                frame.call(self.network, arguments)
            except Reached as reached:
                stack.clear()
                stack.update(entered)
                return reached.latent
        raise LayerError(f"Expected {frame} to reach layer {frame.reader.layer!r} but it did not.")


def path_of(
    way: Way,
    copied: PrivateCopy,
    arguments: Arguments,
    transformed: set[str],
    estimate: FoundRepresentation | None = None,
) -> Path:
    """Return the network that an export holds, out of a copy that has the weights to export.

    Args:
        way: How calls are made again.
        copied: Of the module that is called; it is changed, so it is of no use for anything else.
        arguments: Of a few rows.
        transformed: Names of the arguments that the group transforms.
        estimate: An action that was found: latents are given in its basis.

    Raises:
        LayerError: The call is not one of tensors with rows, so that whoever pulls the encoder could not make it.
    """
    frame = replace(way.frame, settings=Settings(dict.fromkeys(way.frame.settings.modes, False), ()))
    layout = way.layout
    nodes = frame.reader.nodes is not None and frame.reader.nodes.seen and NODE_BATCH in arguments
    unknown = layout is not None and any(
        axis < 0 and not (nodes and axis in GRAPH_AXES) for axis in layout.axes.values()
    )
    if layout is None or not way.by_rows or unknown:
        raise LayerError(
            f"Expected a call whose inputs are tensors with one row a sample but {way} takes others, so it cannot be "
            "written as a graph of tensors; export a module that takes tensors, or give Export(arguments=...) for the "
            "layer's class."
        )
    if frame.reader.ragged and not nodes:
        raise LayerError(
            "Expected a mask that is read off the batch but only the layer gives it, so that an export could not tell "
            "which points exist; give batch=BatchReader(mask=...)."
        )
    network = copied.network
    for module in network.modules():
        module.training = False
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]  # a private copy; an export may not write to its inputs
    with torch.no_grad():
        escnn_modules.settle(network)
    device = next((p.device for p in network.parameters()), next(iter(leaves(arguments).values())).device)
    arguments = to_device(clone(arguments), device)
    mask = arguments.get(SET_MASK)
    links = _links(arguments, mask)
    if nodes:
        links |= {p: False for p, axis in layout.axes.items() if axis == Role.GRAPH_INDEX and p != NODE_BATCH}
    with plain_attention():
        names = _inputs(frame, network, arguments, layout, transformed, links)
    if mask is not None:
        names = (*names, SET_MASK)
    if nodes:
        first = [name for name in names if layout.axes[name] == Role.NODES]
        by_set = frame.reader.nodes is not None and frame.reader.nodes.kind != "nodes"
        names = (*first, *(name for name in names if name not in first), *([NODE_BATCH] if by_set else []))
    known = leaves(arguments)
    path = LatentPath(network, frame, arguments, names, links, estimate).to(device)
    if nodes:
        axes: dict[int, dict[int, str]] = {
            Role.NODES: {0: "nodes"},
            Role.GRAPH_INDEX: {0: "nodes"},
            Role.EDGES: {0: "edges"},
        }
        axes |= {Role.EDGE_INDEX: {1: "edges"}}
        dynamic = tuple(axes.get(layout.axes[name], {0: "graphs"}) for name in names)
        return Path(path, names, tuple(known[name] for name in names), None, dynamic)
    return Path(
        path, names, tuple(known[name][:COMPARED] for name in names), len(names) - 1 if mask is not None else None
    )


@torch.no_grad()
def layer_alone(path: Path) -> Path:
    """Return the layer by itself, for an export of class path and arguments: its inputs are what it gets in the call.

    Raises:
        LayerError: It gets others than tensors with a row for each sample, or gives the latents in another form than
            flat, so that its class alone would not do.
    """
    whole = path.network
    assert isinstance(whole, LatentPath)
    layer = whole.network.get_submodule(whole.frame.path) if whole.frame.path else whole.network
    if layer is whole.network:
        alone = replace(path, network=layer)
    else:
        calls: list[Arguments] = []

        def watch(module: nn.Module, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
            calls.append(clone(bound(module, args, kwargs)))
            return call(*args, **kwargs)

        with watching({layer: watch}):
            whole(*(column.clone() for column in path.inputs))
        given = calls[whole.frame.ordinal]
        rows = len(path.inputs[0])
        if path.mask is not None or not all(isinstance(x, Tensor) and len(x) == rows for x in given.values()):
            raise LayerError(
                f"Expected layer {whole.frame.reader.layer!r} to get tensors with a row for each sample, so that its "
                f"class alone can be published, but it gets {', '.join(map(_kind, given.values()))}; name a layer that "
                "takes tensors."
            )
        alone = Path(layer, tuple(given), tuple(given.values()), None)
    try:
        latents = escnn_modules.plain_output(alone.network(*(column.clone() for column in alone.inputs)))
    except Exception as error:  # any user's forward may raise anything
        raise LayerError(
            f"Expected layer {whole.frame.reader.layer!r} to take {', '.join(alone.names)} and nothing else, in this "
            f"order, so that its class alone can be published, but it raises {type(error).__name__}: {error}"
        ) from error
    expected = whole(*(column.clone() for column in path.inputs))
    if not isinstance(latents, Tensor) or not alike(latents.flatten(1).float(), expected.flatten(1)):
        raise LayerError(
            f"Expected layer {whole.frame.reader.layer!r} to give the latents itself, one row of {expected.shape[1]} "
            "numbers a sample, since its class alone can be published, but pick= or pool= makes them of "
            f"{_kind(latents)}; do that in the layer."
        )
    return alone


def _kind(value: Any) -> str:
    return f"{tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


def _traced_modules() -> dict[Any, Any]:
    """What a tracer of torch.export keeps of the modules that it is in; an exception leaves those that it passed."""
    mode = get_proxy_mode()
    return {} if mode is None else getattr(mode.tracer, "module_stack", {})


def _links(arguments: Arguments, mask: Tensor | None) -> dict[str, bool]:
    """Arguments that say the same as the mask, of either polarity."""
    if mask is None:
        return {}
    found = {}
    for path, leaf in leaves(arguments).items():
        fits = path != SET_MASK and leaf.dtype == torch.bool and leaf.shape == mask.shape
        if fits and (torch.equal(leaf, mask) or torch.equal(leaf, ~mask)):
            found[path] = not torch.equal(leaf, mask)
    return found


@torch.no_grad()
def _inputs(
    frame: Frame,
    network: nn.Module,
    arguments: Arguments,
    layout: RowLayout,
    transformed: set[str],
    links: dict[str, bool],
) -> tuple[str, ...]:
    """Arguments on which the latents depend: labels in a batch are not among them."""
    plain = {name: value for name, value in arguments.items() if name != SET_MASK}
    expected = frame.latents(network, clone(plain))
    names = []
    for path in layout.axes:
        if path in (SET_MASK, NODE_BATCH) or path in links or axis_of_container(layout.axes[path]):
            continue
        if path in transformed or _matters(frame, network, plain, path, layout.axes[path], expected):
            names.append(path)
    return tuple(names)


def _matters(frame: Frame, network: nn.Module, arguments: Arguments, path: str, axis: int, expected: Tensor) -> bool:
    leaf = leaves(arguments)[path]
    other = leaf.roll(1, max(axis, 0))
    if axis == Role.EDGE_INDEX:
        other = torch.stack([leaf[0], leaf[1].roll(1)])
    try:
        found = frame.latents(network, clone(replaced(arguments, {path: other})))
    except Exception:  # an argument that must fit others does matter
        return True
    return not alike(found, expected)


def axis_of_container(axis: int) -> bool:
    """Whether a path is that of a batch of graphs, whose tensors have paths of their own, or follows from another."""
    return axis in (Role.GRAPHS, Role.POINTERS)
