"""What a graph needs: bytes, those that kernels take and free again included, and time; and how much it may.

At the sizes that a graph names itself the bounds are absolute. At other sizes it may need as much as honest networks
do, whose memory grows with the batch, and with the square of other axes: a graph that is small when it is loaded and
huge at a batch of 64 is refused at the call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_invariant.hub.graph.costs import trilinear_sizes
from lightning_invariant.hub.graph.operators import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lightning_invariant.hub.graph.values import CheckedGraph


class Need(NamedTuple):
    """What one call needs, or may need.

    Attributes:
        value: Bytes of the largest single result.
        live: Bytes of results that exist at one time, workspaces included, weights and inputs apart.
        time: Nanoseconds of one core, to the order of magnitude; see `costs`.
    """

    value: int
    live: int
    time: float


LIMIT = Need(value=2**29, live=3 * 2**28, time=6e9)
"""At the sizes that the graph names."""
PER_WEIGHT = 4.0
"""Nanoseconds more for each byte of weights: who has large ones may compute more."""
SLACK = 4
"""How much more than in proportion a call may need."""


def allowed(checked: CheckedGraph, known: Need, lengths: Mapping[str, int]) -> Need:
    """What a call at these lengths of the dynamic axes may need, where one at the graph's own lengths needs `known`."""
    first = {spec.shape[0] for spec in (*checked.inputs, checked.output_spec) if spec.shape}
    growth = SLACK
    for name, length in lengths.items():
        ratio = max(1, -(-length // checked.dims[name]))
        growth *= ratio if name in first else ratio**2
    limit = limit_of(checked)
    return Need(
        max(limit.value, growth * known.value),
        max(limit.live, growth * known.live),
        max(limit.time, growth * known.time),
    )


def limit_of(checked: CheckedGraph) -> Need:
    """What a graph may need at the sizes that it names."""
    weights = sum(math.prod(spec.shape) * DTYPES[spec.dtype].itemsize for spec in checked.tensors.values())
    return LIMIT._replace(time=LIMIT.time + PER_WEIGHT * weights)


def relaxed(limit: Need) -> Need:
    """What the same sizes may need in another floating type, in which kernels may be others."""
    return Need(16 * limit.value, 16 * limit.live, 4 * limit.time)


def workspace(op: str, args: Sequence[Any], result: Any) -> int:
    """Bytes that the kernel of an operator takes beside its arguments and results; 0 where it is no more than those.

    Args:
        op: Such as "aten.convolution.default".
        args: Positional arguments, tensors on the meta device.
        result: As on the meta device.
    """
    name = op.split(".")[1]
    if name in _WORKSPACES:
        return _WORKSPACES[name](args, result)
    if name.startswith(("linalg_", "_linalg_", "_fft_")) and isinstance(args[0], Tensor):
        return 2 * max(_bytes(args[0]), _bytes(result))
    return 0


def _convolution(args: Sequence[Any], result: Any) -> int:
    """Columns of patches, which are made in types that oneDNN does not know."""
    x, weight, stride, dilation, transposed = args[0], args[1], args[3], args[5], args[6]
    if x.dtype == torch.float32:
        return 0
    samples = 1 if transposed or set(dilation) != {1} else x.shape[0]
    patch = math.prod(weight.shape[2:]) * (result.shape[1] if transposed else x.shape[1])
    places = math.prod((x if transposed else result).shape[2:])
    return samples * patch * places * x.element_size() if stride else 0


def _trilinear(args: Sequence[Any], result: Any) -> int:
    """All products at one place of the axis that the kernel goes along; that of `bilinear`."""
    along = args[7] if len(args) > 7 else 1
    sizes = trilinear_sizes(args)
    return math.prod(size for axis, size in enumerate(sizes) if axis != along) * result.element_size()


def _antialiased(args: Sequence[Any], result: Any) -> int:
    """The image after the first of two passes, as wide as the result and as high as the argument."""
    return args[0].shape[0] * args[0].shape[1] * args[0].shape[2] * result.shape[3] * result.element_size()


def _ordered(args: Sequence[Any], result: Any) -> int:
    return 2 * args[0].numel() * (args[0].element_size() + 8)


def _copies(count: int) -> Callable[[Sequence[Any], Any], int]:
    return lambda args, result: count * _bytes(args[0])


def _bytes(value: Any) -> int:
    tensors = value if isinstance(value, (list, tuple)) else [value]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, Tensor))


_WORKSPACES: dict[str, Callable[[Sequence[Any], Any], int]] = {
    "convolution": _convolution,
    "_trilinear": _trilinear,
    "_upsample_bilinear2d_aa": _antialiased,
    "_upsample_bicubic2d_aa": _antialiased,
    "linalg_matrix_exp": _copies(16),
    **dict.fromkeys(("sort", "argsort", "topk", "kthvalue", "mode", "median", "nanmedian"), _ordered),
    **dict.fromkeys(("logcumsumexp", "_cdist_forward", "masked_scatter", "index_put"), _copies(2)),
}
