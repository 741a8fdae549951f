"""How long an operator takes one core of a processor, to the order of magnitude, from shapes alone.

The rates are those of kernels of PyTorch 2.13 on one core of a server, rounded up: what reads and writes memory, what
multiplies, and what is far slower than either.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

PER_NUMBER = 2.0
"""Nanoseconds for each number that is read or written."""
_SLOW = {
    100.0: "sort argsort",
    30.0: "digamma polygamma i0 logcumsumexp",
    15.0: """
    cummax cummin median nanmedian kthvalue mode topk scatter scatter_add scatter_reduce index_put index_add index_copy
    gather index take_along_dim masked_scatter _index_put_impl lgamma mvlgamma erfinv
    pow atan2 igamma igammac grid_sampler_2d grid_sampler_3d _upsample_bicubic2d_aa _upsample_bilinear2d_aa
    upsample_bicubic2d bucketize searchsorted _fft_c2c _fft_r2c _fft_c2r floor_divide remainder fmod
    """,
}
SLOW = {name: rate for rate, names in _SLOW.items() for name in names.split()}
"""Nanoseconds for each number, by the name of an operator without its overload."""
SPECIAL, COMPLEX = 30.0, 4
"""Nanoseconds for each number of special functions, and how much longer complex numbers take."""
PER_PRODUCT = {torch.float32: 0.02, torch.float64: 0.04, torch.complex64: 0.1, torch.complex128: 0.2}
"""Nanoseconds for a multiply-add of matrices; other types have no fast kernels on every processor."""
SLOW_PRODUCT = 0.7
PER_ENTRY = 3.0
"""Nanoseconds for each entry of products of many matrices, which may be small."""
_MATRICES = frozenset(["mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "addbmm", "addmm_", "baddbmm_"])
PER_CONVOLVED = {torch.float32: 0.01, torch.float64: 0.1}
"""Nanoseconds for a multiply-add of a convolution."""
GROUPED = 8
"""By how much convolutions of groups are slower."""
PER_WINDOW, PER_DIFFERENCE = 1.0, 4.0
"""Nanoseconds for each number in a window of a pool, and for each difference of coordinates."""
PER_DECOMPOSED, PER_MATRIX_ENTRY = 0.4, 150.0
"""Nanoseconds for each n^3 of a decomposed n x n matrix, and for each of its entries."""


def nanoseconds(op: str, args: Sequence[Any], result: Any) -> float:
    """Time of a call.

    Args:
        op: Such as "aten.convolution.default".
        args: Positional arguments, tensors on the meta device.
        result: As on the meta device.
    """
    name = op.split(".")[1]
    seen = [result] if name in _MATRICES else [*args, result]  # factors may be expanded, and are read in blocks
    numbers = max((t.numel() for t in _tensors(seen)), default=0)
    each = SLOW.get(name.rstrip("_"), SPECIAL if name.startswith("special_") else PER_NUMBER)
    return numbers * each * (COMPLEX if any(t.is_complex() for t in _tensors(seen)) else 1) + _more(name, args, result)


def _more(name: str, args: Sequence[Any], result: Any) -> float:
    """Beside reading and writing."""
    out = next(_tensors([result]), None)
    if out is None:
        return 0.0
    if name in _MATRICES:
        x = args[1 if name.startswith(("add", "baddbmm")) else 0]
        count = out.numel() * x.shape[-1] * (x.shape[0] if name == "addbmm" else 1)
        calls = out.numel() * PER_ENTRY * ("b" in name)
        return count * PER_PRODUCT.get(out.dtype, SLOW_PRODUCT) + calls
    if name == "convolution":
        x, weight, groups = args[0], args[1], args[8] if len(args) > 8 else 1
        count = (x if args[6] else out).numel() * weight[0].numel()
        return count * PER_CONVOLVED.get(out.dtype, SLOW_PRODUCT) * (GROUPED if groups > 1 else 1)
    if name == "_trilinear":
        return math.prod(trilinear_sizes(args)) * PER_NUMBER
    if name == "_cdist_forward":
        return out.numel() * args[0].shape[-1] * PER_DIFFERENCE
    if "_pool" in name and not name.startswith(("adaptive", "_adaptive")):
        return out.numel() * math.prod(_sizes(args[1], out.dim() - 2)) * PER_WINDOW
    if name.startswith(("linalg_", "_linalg_")) and isinstance(args[0], Tensor) and args[0].dim() > 1:
        entries = args[0].numel()
        return entries * (max(args[0].shape[-2:]) * PER_DECOMPOSED + PER_MATRIX_ENTRY)
    return 0.0


def trilinear_sizes(args: Sequence[Any]) -> list[int]:
    """The axes that `_trilinear` goes along, all operands expanded."""
    shapes = []
    for tensor, expanded in zip(args[:3], args[3:6], strict=True):
        shape = list(tensor.shape)
        for axis in sorted(expanded):
            shape.insert(axis, 1)
        shapes.append(shape)
    return [max(sizes) for sizes in zip(*shapes, strict=True)]


def _sizes(window: Any, axes: int) -> list[int]:
    """A window of a pool, which may be one number for all axes."""
    sizes = list(window) if isinstance(window, (list, tuple)) else [window]
    return [int(size) for size in (sizes * axes if len(sizes) == 1 else sizes)]


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)
