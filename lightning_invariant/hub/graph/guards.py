"""Operators whose kernels trust their arguments: what would read or write beyond a tensor, or trap, is refused.

PyTorch's own layers check these arguments before they call the operator; a graph calls the operator itself. A guarded
operator computes what the bare one does, at the price of comparing a few shapes at every call.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.bindings import quickest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning_invariant.hub.graph.values import Node

_RECURRENT = {"aten.lstm.input": 4, "aten.gru.input": 3, "aten.rnn_tanh.input": 1, "aten.rnn_relu.input": 1}
"""Gates of each recurrent layer."""
_INTEGER_DIVISIONS = (
    "div.Tensor_mode div.Scalar_mode floor_divide.default floor_divide.Scalar remainder.Tensor remainder.Scalar "
    "fmod.Tensor fmod.Scalar remainder_.Tensor remainder_.Scalar"
)


def guarded(node: Node) -> Callable[..., Any]:
    """The function that a node calls: its operator, or that operator behind a check of its arguments."""
    target, check = node.target, _CHECKS.get(node.op)
    if check is None:
        return quickest(node)

    def checked(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return target(*args, **kwargs)

    return checked


def _recurrent(
    gates: int,
    input: Tensor,
    hx: Tensor | Sequence[Tensor],
    params: Sequence[Tensor],
    has_biases: bool,
    num_layers: int,
    dropout: float,
    train: bool,
    bidirectional: bool,
    batch_first: bool,
) -> None:
    """States and weights exactly as of `nn.RNNBase`: oneDNN takes their sizes from the input, not from them."""
    states = [hx] if isinstance(hx, Tensor) else list(hx)
    if not (isinstance(input, Tensor) and all(isinstance(t, Tensor) and t.dim() == 3 for t in (input, *states))):
        raise _refused("a recurrent layer with a batch of sequences and its states", [])
    if len(states) != 1 + (gates == 4) or num_layers < 1 or len(params) > 2**12:
        raise _refused("as many states and layers as the recurrent layer has", [])
    directions, batch = 1 + bidirectional, input.shape[0 if batch_first else 1]
    out, hidden = states[0].shape[2], states[-1].shape[2]
    wanted: list[tuple[int, ...]] = [(num_layers * directions, batch, out)]
    wanted += [(num_layers * directions, batch, hidden)] * (len(states) - 1)
    for layer in range(min(num_layers, 2**12)):
        size = input.shape[2] if layer == 0 else out * directions
        weights = [(gates * hidden, size), (gates * hidden, out)]
        biases = [(gates * hidden,)] * 2 if has_biases else []
        wanted += [*weights, *biases, *([(out, hidden)] if out != hidden else [])] * directions
    tensors = [*states, *params]
    got = [tuple(t.shape) for t in tensors]
    if got != wanted or any(t.dtype != input.dtype or t.device != input.device for t in tensors):
        raise _refused(f"states and weights of a recurrent layer of shapes {wanted[:6]} and one type", got[:6])
    if 0 in (input.shape[0], input.shape[1], input.shape[2], hidden, out) and batch:
        raise _refused("a recurrent layer of sequences and states with at least one entry", tuple(input.shape))


def _whole_division(self: Any, other: Any, **kwargs: Any) -> None:
    """Integers are divided by a positive number only: a tensor may hold 0, or -1 beside the smallest integer."""
    if kwargs.get("rounding_mode", "floor") is None or _is_inexact(self) or _is_inexact(other):
        return
    if isinstance(other, Tensor) or other <= 0:
        raise _refused(
            "integers that are divided by a positive number", other if isinstance(other, int) else "a tensor"
        )


def _is_inexact(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.dtype.is_floating_point or value.dtype.is_complex
    return isinstance(value, (float, complex))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> None:
    """One magnitude for each slice, as of `weight_norm`."""
    if not isinstance(v, Tensor) or not isinstance(g, Tensor) or not v.numel() or not -1 <= dim < v.dim():
        raise _refused("a weight with at least one entry to normalise", getattr(v, "shape", v))
    wanted = [size if axis == dim else 1 for axis, size in enumerate(v.shape)]
    if v.dtype != g.dtype or (g.numel() != 1 if dim == -1 else list(g.shape) != wanted):
        raise _refused(f"magnitudes of shape {wanted} of a normalised weight", list(g.shape))


def _refused(wanted: str, got: Any) -> GraphError:
    return GraphError(f"Expected {wanted} but got {got}; the graph is damaged or crafted.")


_CHECKS: dict[str, Callable[..., None]] = {
    **{op: partial(_recurrent, gates) for op, gates in _RECURRENT.items()},
    **{f"aten.{name}": _whole_division for name in _INTEGER_DIVISIONS.split()},
    "aten._weight_norm.default": _weight_norm,
}
