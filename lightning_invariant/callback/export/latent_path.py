"""The way from inputs to the latent as a module that can be exported: what lies behind the layer is no part of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import get_proxy_mode

from lightning_invariant.batch import clone, leaves, to_device
from lightning_invariant.batch import replace as replaced
from lightning_invariant.callback.capture.frames import SET_MASK, Arguments, Frame, Reached, Settings, alike, watching
from lightning_invariant.errors import LayerError

if TYPE_CHECKING:
    from lightning_invariant.batch import RowLayout
    from lightning_invariant.callback.capture.frames import Way
    from lightning_invariant.callback.capture.private_copy import PrivateCopy

COMPARED = 16
"""Inputs on which a fresh process compares an export with the live network."""


@dataclass(frozen=True)
class Path:
    """A network from inputs to flat latents, and some inputs.

    Args:
        network: In eval mode.
        names: Of its inputs among the arguments of the recorded call; the mask of padded sets last.
        inputs: At least two rows of each, on the network's device.
        mask: Which of them is the mask that the projection gets too; None if none is.
    """

    network: nn.Module
    names: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    mask: int | None


class LatentPath(nn.Module):
    """Inputs to flat latents, by the recorded call, which ends at the layer.

    Args:
        network: The module that is called, a private copy.
        frame: The call.
        arguments: An example of all its arguments, of which those that are no inputs are kept.
        names: Which arguments are inputs.
        links: Arguments that follow from the mask of padded sets, and whether they are its opposite.
    """

    def __init__(
        self, network: nn.Module, frame: Frame, arguments: Arguments, names: tuple[str, ...], links: dict[str, bool]
    ) -> None:
        super().__init__()
        self.network, self.frame, self.arguments, self.names, self.links = network, frame, arguments, names, links
        self.training = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return flat latents, padding and all."""
        given = dict(zip(self.names, inputs, strict=True))
        mask = given.pop(SET_MASK, None)
        if mask is not None:
            given |= {path: ~mask if opposite else mask for path, opposite in self.links.items()}
        arguments = replaced(self.arguments, given)
        arguments.pop(SET_MASK, None)
        return self._latents(arguments)

    def _latents(self, arguments: Arguments) -> Tensor:
        frame = self.frame
        read = lambda output: frame.reader.rows(_tensor(frame.reader.select(output)))  # noqa: E731
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


def path_of(way: Way, copied: PrivateCopy, arguments: Arguments, transformed: set[str]) -> Path:
    """Return the network that an export holds, out of a copy that has the weights to export.

    Args:
        way: How calls are made again.
        copied: Of the module that is called; it is changed, so it is of no use for anything else.
        arguments: Of a few rows.
        transformed: Names of the arguments that the group transforms.

    Raises:
        LayerError: The call is not one of tensors with rows, so that whoever pulls the encoder could not make it.
    """
    frame = replace(way.frame, settings=Settings(dict.fromkeys(way.frame.settings.modes, False), ()))
    layout = way.layout
    if layout is None or not way.by_rows or any(axis < 0 for axis in layout.axes.values()):
        raise LayerError(
            f"Expected a call whose inputs are tensors with one row a sample but {way} takes others, so it cannot be "
            "written as a graph of tensors; export a module that takes tensors, or give Export(arguments=...) for the "
            "layer's class."
        )
    if frame.reader.ragged:
        raise LayerError(
            "Expected a mask that is read off the batch but only the layer gives it, so that an export could not tell "
            "which points exist; give batch=BatchReader(mask=...)."
        )
    network = copied.network
    for module in network.modules():
        module.training = False
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]  # a private copy; an export may not write to its inputs
    device = next((p.device for p in network.parameters()), next(iter(leaves(arguments).values())).device)
    arguments = to_device(clone(arguments), device)
    mask = arguments.get(SET_MASK)
    links = _links(arguments, mask)
    with _plain_attention():
        names = _inputs(frame, network, arguments, layout, transformed, links)
    if mask is not None:
        names = (*names, SET_MASK)
    known = leaves(arguments)
    path = LatentPath(network, frame, arguments, names, links)
    return Path(
        path, names, tuple(known[name][:COMPARED] for name in names), len(names) - 1 if mask is not None else None
    )


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
        if path == SET_MASK or path in links:
            continue
        if path in transformed or _matters(frame, network, plain, path, layout.axes[path], expected):
            names.append(path)
    return tuple(names)


def _matters(frame: Frame, network: nn.Module, arguments: Arguments, path: str, axis: int, expected: Tensor) -> bool:
    leaf = leaves(arguments)[path]
    try:
        found = frame.latents(network, clone(replaced(arguments, {path: leaf.roll(1, max(axis, 0))})))
    except Exception:  # an argument that must fit others does matter
        return True
    return not alike(found, expected)


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention as it is traced, without the fused path."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


def _tensor(z: Any) -> Tensor:
    return z[0] if isinstance(z, tuple) else z
