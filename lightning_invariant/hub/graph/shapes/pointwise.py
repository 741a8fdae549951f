"""Rules of operators that look at one place of their arguments at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.hub.graph.shapes.results import broadcast, keyed, like, new

if TYPE_CHECKING:
    from collections.abc import Callable


_SAME = """
relu silu gelu elu celu selu leaky_relu hardtanh hardswish hardsigmoid mish softplus log_sigmoid sigmoid tanh exp expm1
log log1p log2 log10 sqrt rsqrt sin cos erf neg square reciprocal floor ceil round sign tril triu alias
pow.Tensor_Scalar clamp clamp_min clamp_max mul.Scalar add.Scalar sub.Scalar div.Scalar threshold fill.Scalar
"""
_BINARY = "add.Tensor sub.Tensor mul.Tensor div.Tensor maximum minimum pow.Tensor_Tensor atan2"
_COMPARISONS = """
eq.Tensor eq.Scalar ne.Tensor ne.Scalar lt.Tensor lt.Scalar le.Tensor le.Scalar gt.Tensor gt.Scalar ge.Tensor ge.Scalar
logical_and logical_or logical_xor
"""
_BITS = """
bitwise_and.Tensor bitwise_and.Scalar bitwise_or.Tensor bitwise_or.Scalar bitwise_xor.Tensor bitwise_xor.Scalar
"""


def same(x: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
    """Shape, type and strides of the argument, where that is a floating tensor beside numbers."""
    plain = not any(isinstance(arg, Tensor) for arg in args) and all(value is None for value in kwargs.values())
    return like(x) if x.is_floating_point() and plain else None


def _binary(x: Any, y: Any, **kwargs: Any) -> Tensor | None:
    if kwargs or not isinstance(x, Tensor):
        return None
    dtype = torch.result_type(x, y)
    if not dtype.is_floating_point:
        return None
    shape = broadcast(x.shape, y.shape) if isinstance(y, Tensor) else list(x.shape)
    return like(x, dtype) if shape == list(x.shape) else new(x, shape, dtype)


def _compare(x: Tensor, y: Any) -> Tensor | None:
    return new(x, broadcast(x.shape, y.shape) if isinstance(y, Tensor) else x.shape, torch.bool)


def _masked_fill(x: Tensor, mask: Tensor, value: Any) -> Tensor | None:
    return like(x) if broadcast(x.shape, mask.shape) == list(x.shape) else None


def _where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor | None:
    return new(x, broadcast(condition.shape, x.shape, y.shape)) if x.dtype == y.dtype else None


def _clone(x: Tensor, *, memory_format: torch.memory_format | None = None) -> Tensor | None:
    if memory_format == torch.contiguous_format:
        return new(x, x.shape)
    return like(x) if memory_format in (None, torch.preserve_format) else None


def _to_copy(x: Tensor, *, dtype: torch.dtype | None = None, **kwargs: Any) -> Tensor | None:
    return like(x, dtype) if kwargs.keys() <= {"device"} else None


def _bits(x: Any, y: Any) -> Tensor | None:
    """Of booleans or integers; what they become together is as PyTorch has it."""
    if not isinstance(x, Tensor) or (dtype := torch.result_type(x, y)).is_floating_point or dtype.is_complex:
        return None
    shape = broadcast(x.shape, y.shape) if isinstance(y, Tensor) else list(x.shape)
    return like(x, dtype) if shape == list(x.shape) else new(x, shape, dtype)


def _truth(x: Tensor) -> Tensor:
    return like(x, torch.bool)


def _flipped(x: Tensor) -> Tensor | None:
    return None if x.is_floating_point() or x.is_complex() else like(x)


RULES: dict[str, Callable[..., Any]] = {
    **keyed(_SAME, same),
    **keyed(_BINARY, _binary),
    **keyed(_COMPARISONS, _compare),
    **keyed(_BITS, _bits),
    "aten.logical_not.default": _truth,
    "aten.bitwise_not.default": _flipped,
    "aten.where.self": _where,
    "aten.clone.default": _clone,
    "aten._to_copy.default": _to_copy,
    "aten.masked_fill.Scalar": _masked_fill,
}
IN_PLACE = frozenset(
    keyed("relu_ sigmoid_ tanh_ silu_ add_.Tensor sub_.Tensor mul_.Tensor copy_ zero_ fill_.Tensor fill_.Scalar", same)
)
"""Operators that write a result into their first argument, whose shape and type stay."""
