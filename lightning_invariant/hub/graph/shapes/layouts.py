"""Rules of operators that move, pick, join and make entries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.hub.graph.shapes.results import are_axes, keyed, new

if TYPE_CHECKING:
    from collections.abc import Callable


def _gather(x: Tensor, dim: int, index: Tensor) -> Tensor | None:
    if x.dim() != index.dim() or not are_axes(x, dim) or index.dtype != torch.int64:
        return None
    inside = all(n <= size or i == dim % x.dim() for i, (n, size) in enumerate(zip(index.shape, x.shape, strict=True)))
    return new(x, index.shape) if inside else None


def _index_select(x: Tensor, dim: int, index: Tensor) -> Tensor | None:
    if index.dim() != 1 or not -x.dim() <= dim < x.dim():
        return None
    return new(x, [index.shape[0] if i == dim % x.dim() else size for i, size in enumerate(x.shape)])


def _repeat(x: Tensor, repeats: list[int]) -> Tensor | None:
    sizes = [1] * (len(repeats) - x.dim()) + list(x.shape)
    return new(x, [n * size for n, size in zip(repeats, sizes, strict=True)]) if len(repeats) >= x.dim() else None


def _pad(x: Tensor, pad: list[int], value: Any = 0) -> Tensor | None:
    if len(pad) % 2 or len(pad) > 2 * x.dim() or min(pad, default=0) < 0:
        return None
    sizes = list(x.shape)
    for i in range(len(pad) // 2):
        sizes[-1 - i] += pad[2 * i] + pad[2 * i + 1]
    return new(x, sizes)


def _cat(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if not first.dim() or not -first.dim() <= dim < first.dim():
        return None
    dim %= first.dim()
    for t in tensors:
        others = t.dim() == first.dim() and [*t.shape[:dim], *t.shape[dim + 1 :]]
        if t.dtype != first.dtype or others != [*first.shape[:dim], *first.shape[dim + 1 :]]:
            return None
    return new(first, [*first.shape[:dim], sum(t.shape[dim] for t in tensors), *first.shape[dim + 1 :]])


def _stack(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if any(t.shape != first.shape or t.dtype != first.dtype for t in tensors) or not 0 <= dim <= first.dim():
        return None
    return new(first, [*first.shape[:dim], len(tensors), *first.shape[dim:]])


def _reshaped(x: Tensor, shape: list[int]) -> Tensor | None:
    if shape.count(-1) == 1:
        known = math.prod(s for s in shape if s != -1)
        shape = [s if s != -1 else x.numel() // max(known, 1) for s in shape]
    return new(x, shape) if math.prod(shape) == x.numel() else None


def _scalar_tensor(value: Any, **kwargs: Any) -> Tensor | None:
    return _factory([], **kwargs)


def _arange(end: Any, **kwargs: Any) -> Tensor | None:
    return _factory([end], **({"dtype": torch.int64} | kwargs)) if type(end) is int else None


def _new_factory(x: Tensor, size: list[int], **kwargs: Any) -> Tensor | None:
    return new(x, size) if kwargs.keys() <= {"device", "pin_memory"} else None


def _factory(size: list[int], **kwargs: Any) -> Tensor | None:
    if set(kwargs) - {"dtype", "device", "pin_memory", "layout"} or kwargs.get("layout") not in (None, torch.strided):
        return None
    return torch.empty(size, dtype=kwargs.get("dtype"), device="meta") if min(size, default=0) >= 0 else None


RULES: dict[str, Callable[..., Any]] = {
    **keyed("zeros ones empty.memory_format", _factory),
    **keyed("new_empty new_zeros new_ones", _new_factory),
    "aten.scalar_tensor.default": _scalar_tensor,
    "aten.arange.default": _arange,
    "aten.gather.default": _gather,
    "aten.index_select.default": _index_select,
    "aten.repeat.default": _repeat,
    "aten.constant_pad_nd.default": _pad,
    "aten.cat.default": _cat,
    "aten.stack.default": _stack,
    "aten._unsafe_view.default": _reshaped,
}
