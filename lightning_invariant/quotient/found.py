"""What every solver gives and takes: the element it found, and latents split into unmoved and moved parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import Product, Symmetric
from lightning_invariant.groups.finite_blocks import Pairs, Points
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.projections.base.joint import is_trivial

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.groups import Group, Representation
    from lightning_invariant.groups.block import Block

Masks = tuple["Bool[Tensor, 'P n']", "Bool[Tensor, 'P n']"]
"""Which points exist, on both sides."""
BONUS = 4.0
"""Reward for each visible point matched to a visible one; latents have norm 1 at most, so nothing outweighs it."""


class Found(NamedTuple):
    """The best element found for each pair of latents.

    Args:
        element: g with the largest product <z, rho(g) w> that was found, (P, *element_shape).
        gap: How much larger the product of another element could be at most, (P,); 0 where none is, up to rounding.
    """

    element: Tensor
    gap: Float[Tensor, " P"]


def exactly(element: Tensor) -> Found:
    """Return elements that no other beats."""
    return Found(element, torch.zeros(len(element), dtype=torch.float64, device=element.device))


def moved_parts(representation: Representation, z: Tensor) -> list[Tensor]:
    """Return the blocks that move, each (P, *block.shape)."""
    blocks = zip(representation, representation.split(z), strict=True)
    return [part for block, part in blocks if not is_trivial(block)]


def hide(representation: Representation, z: Tensor, mask: Bool[Tensor, "P n"]) -> Tensor:
    """Flat latents with zeros in the place of hidden points and of pairs with a hidden point."""
    parts = []
    for block, part in zip(representation, representation.split(z), strict=True):
        seen = _visible(block, mask)
        parts.append(torch.where(seen[:, :, None] if block.copies_last else seen[:, None, :], part, 0.0).flatten(1))
    return torch.cat(parts, dim=1)


def visible_matches(masks: Masks | None) -> Tensor | float:
    """Return the reward of each match of points, (P, n, n), rows on the side of z."""
    if masks is None:
        return 0.0
    return BONUS * (masks[0][:, :, None] & masks[1][:, None, :]).double()


def order_of(group: Group, g: Tensor) -> Tensor | None:
    """Return the permutation in elements of S_n, or of a product with one S_n; None for other groups."""
    if isinstance(group, Symmetric):
        return g
    if isinstance(group, Product):
        found = [part for part, f in zip(group.split(g), group.factors, strict=True) if isinstance(f, Symmetric)]
        return found[0] if len(found) == 1 else None
    return None


def reward(group: Group, elements: Tensor, masks: Masks | None) -> Tensor | float:
    """Return the reward of visible matches for each of some elements, (P, G)."""
    if masks is None or (order := order_of(group, elements)) is None:
        return 0.0
    place = order.argsort(dim=-1).to(masks[0].device)
    return BONUS * (masks[0][:, None] & masks[1][:, place]).sum(dim=2).double()


def _visible(block: Block, mask: Tensor) -> Tensor:
    """Which numbers of one copy exist, (P, dim)."""
    if isinstance(block, Points):
        return mask
    if isinstance(block, Pairs):
        return (mask[:, :, None] & mask[:, None, :]).flatten(1)
    seen = torch.ones(len(mask), 1, dtype=torch.bool, device=mask.device)
    if not isinstance(block, Outer):
        return seen.expand(-1, block.dim)
    for part in block.parts:
        seen = (seen[:, :, None] & _visible(part, mask)[:, None, :]).flatten(1)
    return seen
