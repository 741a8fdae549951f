"""Rules of operators that go along axes: sums, orders, running sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.hub.graph.shapes.pointwise import same
from lightning_invariant.hub.graph.shapes.results import are_axes, keyed, like, new

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_ALONG = "_softmax _log_softmax _safe_softmax cumsum flip"
_OVER_DIMS = "mean.dim sum.dim_IntList amax amin logsumexp"


def _same_along(x: Tensor, dims: Any, *args: Any, **kwargs: Any) -> Tensor | None:
    return same(x, *args, **kwargs) if are_axes(x, dims) else None


def _roll(x: Tensor, shifts: list[int], dims: Sequence[int] = ()) -> Tensor | None:
    return same(x) if are_axes(x, dims) and len(shifts) == (len(dims) or 1) else None


def _over_dims(first: int) -> Callable[..., Tensor | None]:
    """A reduction whose axes are the argument at that place."""

    def rule(x: Tensor, *args: Any, **kwargs: Any) -> Tensor | None:
        rest = args[first:]
        dims, keep = (rest[0] if rest else None), (rest[1] if len(rest) > 1 else False)
        if not x.is_floating_point() or kwargs or len(rest) > 2 or not dims:
            return None
        if any(not -x.dim() <= d < x.dim() for d in dims):
            return None
        gone = {d % x.dim() for d in dims}
        return new(x, [1 if i in gone else s for i, s in enumerate(x.shape) if keep or i not in gone])

    return rule


def _ordered(x: Tensor, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor] | None:
    return (like(x), like(x, torch.int64)) if are_axes(x, dim) else None


RULES: dict[str, Callable[..., Any]] = {
    **keyed(_ALONG, _same_along),
    **keyed(_OVER_DIMS, _over_dims(0)),
    "aten.linalg_vector_norm.default": _over_dims(1),
    "aten.roll.default": _roll,
    "aten.sort.default": _ordered,
}
