"""Results without storage, and how the rules of operators are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def broadcast(*shapes: Sequence[int]) -> list[int] | None:
    """The common shape; None if there is none."""
    rank = max(map(len, shapes))
    out = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, rank - len(shape)):
            if size != 1 and out[i] not in (1, size):
                return None
            out[i] = size if out[i] == 1 else out[i]
    return out


def new(of: Tensor, shape: Sequence[int] | None, dtype: torch.dtype | None = None) -> Tensor | None:
    """A tensor of another shape, in the usual layout; None where the shape is none."""
    if shape is None or min(shape, default=0) < 0:
        return None
    return torch.empty(shape, dtype=dtype or of.dtype, device="meta")


def like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Strides as those of x, where it fills its memory, as pointwise operators keep them."""
    dense = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride(), strict=True)) + 1 == x.numel()
    if x.is_contiguous() or not dense:
        return torch.empty(x.shape, dtype=dtype or x.dtype, device="meta")
    return torch.empty_strided(x.shape, x.stride(), dtype=dtype or x.dtype, device="meta")


def are_axes(x: Tensor, dims: Any) -> bool:
    """Whether a tensor has an axis or all axes of that number."""
    return all(-x.dim() <= d < x.dim() for d in (dims if isinstance(dims, (list, tuple)) else [dims]))


def keyed(names: str, rule: Callable[..., Any]) -> dict[str, Callable[..., Any]]:
    """Full names of operators, ".default" where none is given, each with the rule."""
    return {f"aten.{name}" if "." in name else f"aten.{name}.default": rule for name in names.split()}
