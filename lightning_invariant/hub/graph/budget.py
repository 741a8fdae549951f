"""What a graph needs: bytes, those that kernels take and free again included, and multiply-adds; and how much it may.

At the sizes that a graph names itself the bounds are absolute. At other sizes it may need as much as honest networks
do, whose memory grows with the batch, and with the square of other axes: a graph that is small when it is loaded and
huge at a batch of 64 is refused at the call.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from lightning_invariant.hub.graph.values import CheckedGraph


class Need(NamedTuple):
    """What one call needs, or may need.

    Attributes:
        value: Bytes of the largest single result.
        live: Bytes of results that exist at one time, workspaces included, weights and inputs apart.
        products: Multiply-adds of float32, and whatever takes as long.
    """

    value: int
    live: int
    products: int


LIMIT = Need(value=2**29, live=3 * 2**28, products=3 * 10**11)
"""At the sizes that the graph names; some ten seconds of one core."""
PER_WEIGHT = 4000
"""Multiply-adds that each number among the weights allows beside those: large networks have many weights."""
SLACK = 4
"""How much more than in proportion a call may need."""
_ENTRY = 70
"""An operation on one entry, in multiply-adds of a matrix product."""
_STEP = 20
"""A step of a loop over the window of a pool or the coordinates of a distance."""
_CALL = 200
"""An entry of a product of many small matrices."""
_CONVOLVED = 3
_SLOWER = {torch.float16: 12, torch.complex64: 3, torch.complex128: 6}
"""How much longer a multiply-add of these types takes."""
_SLOW = (
    *("sort", "argsort", "mode", "median", "nanmedian", "kthvalue", "bucketize", "searchsorted", "logcumsumexp"),
    *("digamma", "i0", "special_", "erfinv", "lgamma", "pow", "_fft_", "grid_sampler", "upsample_bicubic"),
)
"""Beginnings of names of operators that take some thirty times as long for an entry as others."""


def allowed(checked: CheckedGraph, known: Need, lengths: Mapping[str, int]) -> Need:
    """What a call at these lengths of the dynamic axes may need, where one at the graph's own lengths needs `known`."""
    first = {spec.shape[0] for spec in (*checked.inputs, checked.output_spec) if spec.shape}
    growth = SLACK
    for name, length in lengths.items():
        ratio = max(1, -(-length // checked.dims[name]))
        growth *= ratio if name in first else ratio**2
    return Need(*(max(limit, growth * need) for limit, need in zip(LIMIT, known, strict=True)))


def relaxed(limit: Need) -> Need:
    """What the same sizes may need in another floating type, in which kernels may be others."""
    return Need(*(16 * bound for bound in limit))


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


def products(op: str, args: Sequence[Any], result: Any) -> int:
    """Multiply-adds of float32 that take as long as an operator, to the order of magnitude; measured on one core."""
    name = op.split(".")[1]
    out = result[0] if isinstance(result, (list, tuple)) and result else result
    if not isinstance(out, Tensor):
        return 0
    if name in ("mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm"):
        x = args[1 if name.startswith(("add", "baddbmm")) else 0]
        each = x.shape[-1] * (x.shape[0] if name == "addbmm" else 1)
        return out.numel() * (each * _SLOWER.get(out.dtype, 1) + _CALL * (name == "bmm"))
    if name == "convolution":
        x, weight = args[0], args[1]
        each = weight[0].numel() * max(_CONVOLVED, _SLOWER.get(out.dtype, 1))
        return (x if args[6] else out).numel() * (each + _ENTRY)
    if name == "_trilinear":
        return _ENTRY * math.prod(_trilinear_sizes(args))
    if name == "_cdist_forward":
        return out.numel() * args[0].shape[-1] * (_STEP if args[2] in (0.0, 1.0, 2.0) else 6 * _STEP)
    if name.startswith(("linalg_", "_linalg_")) and args[0].dim() > 1:
        return args[0].numel() * 8 * max(args[0].shape[-2:])
    entries = max(t.numel() for t in (out, *(a for a in args if isinstance(a, Tensor))))
    if name.startswith(("avg_pool", "max_pool")):
        return entries + out.numel() * math.prod(args[1]) ** (1 if len(args[1]) > 1 else out.dim() - 2) * _STEP
    slow = out.is_complex() or name.startswith(_SLOW)
    return entries * (30 * _ENTRY if slow else _ENTRY)


def _convolution(args: Sequence[Any], result: Any) -> int:
    """Columns of patches, which are made in types that oneDNN does not know."""
    x, weight, stride, dilation, transposed = args[0], args[1], args[3], args[5], args[6]
    if x.dtype == torch.float32:
        return 0
    samples = 1 if transposed or set(dilation) != {1} else x.shape[0]
    patch = math.prod(weight.shape[2:]) * (result.shape[1] if transposed else x.shape[1])
    places = math.prod((x if transposed else result).shape[2:])
    return samples * patch * places * x.element_size() if stride else 0


def _trilinear_sizes(args: Sequence[Any]) -> list[int]:
    shapes = []
    for tensor, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for axis in sorted(expanded):
            shape.insert(axis, 1)
        shapes.append(shape)
    return [max(sizes) for sizes in zip(*shapes, strict=True)]


def _trilinear(args: Sequence[Any], result: Any) -> int:
    """All products at one place of the axis that the kernel goes along; that of `bilinear`."""
    along = args[7] if len(args) > 7 else 1
    sizes = _trilinear_sizes(args)
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
