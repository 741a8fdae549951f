"""Operators whose kernels trust their arguments: what would read or write beyond a tensor, or trap, is refused.

PyTorch's own layers check these arguments before they call the operator; a graph calls the operator itself. A guarded
operator computes what the bare one does, at the price of comparing a few shapes at every call.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.artifact.graph.operators import ALLOWED
from lightning_invariant.artifact.graph.values import Ref
from lightning_invariant.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from lightning_invariant.artifact.graph.values import Node

# PyTorch's own Python functions take half the time of `torch.ops`, and on small networks calls are what takes the time.
# Only those are listed that are no more than a door to the operator of the same name, its arguments in its order.
_FUNCTIONS = """
abs acos asin atan ceil cos cosh erf exp expm1 floor log log1p log2 neg reciprocal relu round rsqrt sigmoid sign sin
sinh sqrt square tan tanh isfinite isnan celu selu clamp clamp_min clamp_max nan_to_num logical_not bitwise_not clone
add.Tensor sub.Tensor mul.Tensor div.Tensor rsub.Scalar pow.Tensor_Scalar pow.Tensor_Tensor maximum minimum atan2 hypot
eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor lt.Scalar le.Tensor le.Scalar gt.Tensor gt.Scalar ge.Tensor ge.Scalar
logical_and logical_or bitwise_and.Tensor bitwise_or.Tensor bitwise_xor.Tensor where.self where.ScalarOther
matmul mm bmm mv dot addmm baddbmm outer cdist conv1d conv2d conv3d batch_norm layer_norm group_norm instance_norm
max_pool2d reshape flatten.using_ints unflatten.int transpose.int permute unsqueeze squeeze.dim select.int narrow
diagonal cat stack chunk unbind.int roll flip gather index_select tril triu softmax.int log_softmax.int cumsum
amax amin sum.default sum.dim_IntList mean.default mean.dim any.dim all.dim logsumexp argmax sort topk
"""
_LAYERS = "linear gelu silu leaky_relu elu hardtanh avg_pool2d adaptive_avg_pool2d log_sigmoid softplus"
_ALGEBRA = "linalg_vector_norm linalg_eigvalsh linalg_svdvals linalg_inv linalg_det"
_TRANSFORMS = "fft_fft fft_ifft fft_rfft fft_irfft fft_fft2 fft_rfft2"
_METHODS = """
expand repeat contiguous masked_fill.Scalar to.dtype type_as unfold
add_.Tensor sub_.Tensor mul_.Tensor div_.Tensor relu_ sigmoid_ tanh_ copy_ masked_fill_.Scalar fill_.Scalar
"""

MAX_PIECES = 2**16
MAX_AXES = 16
RECURRENT = {"aten.lstm.input": 4, "aten.gru.input": 3, "aten.rnn_tanh.input": 1, "aten.rnn_relu.input": 1}
"""Gates of each recurrent layer."""
_INTEGER_DIVISIONS = (
    "div.Tensor_mode div.Scalar_mode floor_divide.default floor_divide.Scalar remainder.Tensor remainder.Scalar "
    "fmod.Tensor fmod.Scalar remainder_.Tensor remainder_.Scalar"
)


def guarded(node: Node) -> Callable[..., Any]:
    """The function that a node calls: its operator, or that operator behind a check of its arguments."""
    target, check = node.target, _CHECKS.get(node.op)
    if check is None:
        first = node.args[0] if node.args else None
        tensors = isinstance(first, Ref) or (isinstance(first, list) and all(isinstance(v, Ref) for v in first))
        # A number in the place of a tensor is for the operator alone to understand.
        return _doors().get(node.op, target) if tensors else target

    def checked(*args: Any, **kwargs: Any) -> Any:
        check(*args, **kwargs)
        return target(*args, **kwargs)

    return checked


@lru_cache(maxsize=1)
def _doors() -> dict[str, Callable[..., Any]]:
    core: Any = torch._C
    places = (
        (_FUNCTIONS, torch),
        (_LAYERS, core._nn),
        (_ALGEBRA, core._linalg),
        (_TRANSFORMS, core._fft),
        (_METHODS, torch.Tensor),
    )
    named = {name: getattr(place, name.partition(".")[0], None) for names, place in places for name in names.split()}
    doors = {f"aten.{name}" if "." in name else f"aten.{name}.default": door for name, door in named.items()}
    doors |= {"sym.size": torch.Tensor.size, "aten.view.default": torch.reshape}
    return {name: door for name, door in doors.items() if callable(door)}


def _grid_sampler(input: Any, grid: Any, interpolation: int, padding: int, align: bool) -> None:
    """Volumes are read at the nearest place or between neighbours; for another way the kernel writes nothing."""
    if not isinstance(input, Tensor) or (input.dim() == 5 and interpolation == 2):
        raise _refused("bicubic sampling of images (B, C, H, W) only", getattr(input, "shape", input))


def _upsample(input: Any, output_size: Any, *rest: Any, **named: Any) -> None:
    """Sizes or factors for each axis behind the channels: the kernels read as many as there are axes."""
    factors = named.get("scale_factors", rest[-1] if rest else None)
    given = [sizes for sizes in (output_size, factors) if sizes is not None]
    if not isinstance(input, Tensor) or not 3 <= input.dim() <= 5:
        raise _refused("images, signals or volumes to resize", getattr(input, "shape", input))
    if len(given) != 1 or not isinstance(given[0], (list, tuple)) or len(given[0]) != input.dim() - 2:
        raise _refused(f"one size or factor for each of {input.dim() - 2} axes", given)
    if any(not 0 < size < 2**31 for size in given[0]):
        raise _refused("sizes or factors above 0", given)


def _divided(input: Any, count: int, *rest: Any, **named: Any) -> None:
    """Channels are divided by a number above 0; the kernels divide by what they get, which traps for 0."""
    if not 0 < count < 2**31:
        raise _refused("a number of parts above 0", count)


def _few(tensors: Any, *rest: Any, **named: Any) -> None:
    """The result has an axis for each."""
    if len(tensors) > MAX_AXES:
        raise _refused(f"a grid of at most {MAX_AXES} axes", len(tensors))


def _pieces(input: Any, sections: Any, *rest: Any, **named: Any) -> None:
    """As many views as they say are made, whatever the axis holds."""
    if not isinstance(sections, (list, tuple, Tensor)) and not 0 < sections <= MAX_PIECES:
        raise _refused(f"at most {MAX_PIECES} pieces of a tensor", sections)


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
        raise _refused("integers that are divided by a positive number", getattr(other, "shape", other))


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
    **{op: partial(_recurrent, gates) for op, gates in RECURRENT.items()},
    **{f"aten.{name}": _whole_division for name in _INTEGER_DIVISIONS.split()},
    "aten._weight_norm.default": _weight_norm,
    "aten.grid_sampler.default": _grid_sampler,
    **{op: _upsample for op in ALLOWED if "upsample" in op},
    **{
        f"aten.{name}.default": _divided
        for name in ("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "group_norm")
    },
    **dict.fromkeys(("aten.meshgrid.default", "aten.meshgrid.indexing"), _few),
    **dict.fromkeys(("aten.tensor_split.sections", "aten.chunk.default"), _pieces),
}
