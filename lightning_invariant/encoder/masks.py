"""Padded sets: one input of the network says which points exist, and goes to the projection too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.artifact.config import MASK
from lightning_invariant.errors import ArtifactError, GraphError
from lightning_invariant.projections import Composition, Joined, Projection, Reduced, Spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def mask_of(config: Mapping[str, Any]) -> int | None:
    """Which input is the mask; None if none is."""
    return config.get(MASK)


def most_points(projection: Projection) -> int | None:
    """Most points of a set, if the projection takes masks; None if it takes none."""
    part = projection.projection if isinstance(projection, (Composition, Reduced, Spread)) else projection
    if isinstance(part, Joined):
        sizes = {most_points(beside) for beside in part.projections if isinstance(beside, Projection)}
        return sizes.pop() if len(sizes) == 1 else None
    return getattr(part, "n", None) if getattr(part, "ragged", False) else None


def require_masked(inputs: Sequence[Mapping[str, Any]], index: int | None, projection: Projection) -> None:
    """Refuse a mask that the projection does not take, or that is no mask of its points.

    Args:
        inputs: Shape and dtype of each input.
        index: Which of them is the mask; None if none is.
        projection: From latents to features.

    Raises:
        ArtifactError: With what it should be.
    """
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
    """All inputs of the network.

    Args:
        inputs: As the caller gave them, with the mask in its place or without it.
        mask: The mask by name; where it is given in neither way, all points exist.
        index: Its place; None if the network takes none.
        count: How many inputs the network takes.
        n: Most points of a set.

    Raises:
        GraphError: A mask for a network that takes none, or a mask twice.
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
