"""Latents without translations: the mean of all positions is taken off, and O(d) or SO(d) acts on what is left.

Distances between orbits stay the same, so projections and `quotient` treat E(d) and SE(d) like this.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.euclidean import Euclidean, Positions, Turned
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import Outer, Vectors
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.representation import Representation

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block
    from lightning_invariant.groups.group import Group


def linear_part(representation: Representation) -> Representation:
    """Return the representation without translations, in the same layout; itself if the group has none.

    Example:
        >>> str(linear_part(Representation.parse("S9 x E3: 1 points*positions + 8 points*0e")))
        'S9 x O3: 1 points*vectors + 8 points*0e'
    """
    group = _linear_group(representation.group)
    if group == representation.group:
        return representation
    return Representation(group, tuple(_linear_block(block, group) for block in representation))


def centre(
    representation: Representation, z: Float[Tensor, "B D"], mask: Bool[Tensor, "B n"] | None = None
) -> tuple[Float[Tensor, "B D"], list[Float[Tensor, "B d"]]]:
    """Take the mean of all positions off them.

    Args:
        representation: What acts.
        z: Flat latents.
        mask: Which points exist; the others do not count.

    Returns:
        Latents on which `linear_part` acts, and the mean for each factor of the group that has translations. Where
        there are no positions the mean is zero. Points that do not exist are moved like the others.
    """
    factors = getattr(representation.group, "factors", (representation.group,))
    parts, means = representation.split(z), []
    for number, factor in enumerate(factors):
        if not isinstance(factor, Euclidean):
            continue
        found = [(i, *_positions(block, number)) for i, block in enumerate(representation) if block.translated]
        found = [(i, shape, axis) for i, shape, axis in found if axis is not None]
        total, count = z.new_zeros(z.shape[0], factor.d), z.new_zeros(z.shape[0], 1)
        for i, shape, axis in found:
            rows = parts[i].reshape(z.shape[0], *shape).movedim(axis, -1)
            seen = torch.ones_like(rows[..., 0])
            if mask is not None:
                where = _points_axis(representation.blocks[i], axis)
                if where is not None:
                    shown = [1] * seen.dim()
                    shown[0], shown[where] = mask.shape
                    seen = seen * mask.reshape(shown).to(seen)
                    rows = torch.where(mask.reshape([*shown, 1]), rows, 0.0)
            total = total + (rows * seen[..., None]).flatten(1, -2).sum(dim=1)
            count = count + seen.flatten(1).sum(dim=1, keepdim=True)
        mean = total / count.clamp(min=1)
        for i, shape, axis in found:
            rows = parts[i].reshape(z.shape[0], *shape).movedim(axis, -1)
            moved = rows - mean.reshape(z.shape[0], *[1] * (rows.dim() - 2), factor.d)
            parts[i] = moved.movedim(-1, axis).reshape(parts[i].shape)
        means.append(mean)
    return torch.cat([part.flatten(1) for part in parts], dim=1), means


def with_shifts(group: Group, g: Tensor, to: list[Tensor], of: list[Tensor]) -> Tensor:
    """Elements whose rotations are g, of the group without translations, and that bring some means to others.

    Args:
        group: With translations.
        g: Elements (B, *element_shape) of the group without them.
        to: For each factor with translations, where the mean shall be, (B, d).
        of: Where it is.
    """
    pairs = iter(zip(to, of, strict=True))

    def lifted(factor: Group, part: Tensor) -> Tensor:
        if not isinstance(factor, Euclidean):
            return part
        target, mean = (side.to(part) for side in next(pairs))
        return factor.element(part, target - (part @ mean[..., None])[..., 0])

    if not isinstance(group, Product):
        return lifted(group, g)
    linear = _linear_group(group)
    assert isinstance(linear, Product)
    parts = linear.split(g)
    return group.join([lifted(factor, part) for factor, part in zip(group.factors, parts, strict=True)])


def _linear_group(group: Group) -> Group:
    if isinstance(group, Product):
        return Product(tuple(map(_linear_group, group.factors)))
    return group.linear if isinstance(group, Euclidean) else group


def _linear_block(block: Block, group: Group) -> Block:
    if isinstance(block, Positions):
        return Vectors(group, block.copies)  # type: ignore[arg-type]
    if isinstance(block, Turned):
        return replace(block.kind, copies=block.copies)
    if isinstance(block, Outer):
        assert isinstance(group, Product)
        parts = tuple(_linear_block(part, factor) for part, factor in zip(block.parts, group.factors, strict=True))
        return Outer(group, block.copies, parts)
    if hasattr(block, "parts"):
        parts = tuple(_linear_block(part, group) for part in block.parts)  # type: ignore[attr-defined]
        return replace(block, group=group, parts=parts)  # type: ignore[call-arg]
    return replace(block, group=group) if block.group != group else block


def _positions(block: Block, number: int) -> tuple[tuple[int, ...], int | None]:
    """Shape of a block of positions with an axis for each factor, and which axis, behind the batch, has coordinates."""
    if isinstance(block, Positions):
        return block.shape, 2
    assert isinstance(block, Outer)
    return block.axes, number + 2 if isinstance(block.parts[number], Positions) else None


def _points_axis(block: Block, coordinates: int) -> int | None:
    """Which axis counts points, where coordinates were moved from theirs to the last."""
    if not isinstance(block, Outer):
        return None
    axes = [i + 2 for i, part in enumerate(block.parts) if isinstance(part, Points)]
    return None if not axes else axes[0] - (axes[0] > coordinates)
