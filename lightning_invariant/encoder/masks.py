"""Padded sets: one input of the network says which points exist, and goes to the projection too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError, GraphError
from lightning_invariant.projections import Centred, Composition, Joined, Projection, Reduced, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def most_points(projection: Projection) -> int | None:
    """Most points of a set, if the projection takes masks; None if it takes none."""
    if isinstance(projection, (Composition, Centred, Reduced, Spread)):
        return most_points(projection.projection)
    if isinstance(projection, Joined):
        sizes = {most_points(beside) for beside in projection.projections if isinstance(beside, Projection)}
        return sizes.pop() if len(sizes) == 1 else None
    return getattr(projection, "n", None) if getattr(projection, "ragged", False) else None


def require_masked(inputs: Sequence[Mapping[str, Any]], index: int | None, projection: Projection) -> None:
    """Refuse a mask (an index of the inputs) that the projection does not take, or that is no mask of its points."""
    if index is None:
        return
    if (n := most_points(projection)) is None:
        raise ArtifactError(
            f"Expected a projection of padded sets with a mask but got {type(projection).__name__}; build "
            "PointSort, FSW, PairSort, GramRows or PointFrames with ragged=True."
        )
    spec = inputs[index] if 0 <= index < len(inputs) and len(inputs) > 1 else {}
    shape = spec.get("shape", [])
    if spec.get("dtype") != "bool" or len(shape) != 2 or shape[1] != n:
        raise ArtifactError(f"Expected booleans (B, {n}) as input {index}, the mask, but got {str(spec)[:100]}.")


def with_mask(
    inputs: tuple[Tensor, ...], mask: Tensor | None, index: int | None, *, count: int, n: int
) -> tuple[Tensor, ...]:
    """All `count` inputs of the network, with a mask of `n` points at `index`, unless that is None.

    The caller gave it in its place or by name; where it is given in neither way, all points exist.
    """
    if index is None:
        if mask is not None:
            raise GraphError("Expected no mask since this encoder takes none; leave it out.")
        return inputs
    if len(inputs) != count - 1:
        if mask is not None:
            raise GraphError(f"Expected {count - 1} input(s) beside mask= but got {len(inputs)}.")
        return inputs
    if mask is None:
        mask = torch.ones(inputs[0].shape[0], n, dtype=torch.bool, device=inputs[0].device)
    return (*inputs[:index], mask, *inputs[index:])
