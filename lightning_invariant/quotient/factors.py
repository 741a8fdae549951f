"""Products of groups: one factor alone, for each element of the others where they are small, or all by turns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Product, Representation, Symmetric
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.quotient.found import BONUS, Found, order_of

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Group
    from lightning_invariant.quotient.found import Masks

Solve = Callable[["Tensor", "Tensor", "Masks | None", bool], Found]
"""From paired rows, masks and whether a certificate is wanted to the best elements."""
ORDER_LIMIT = 1024
"""Most elements of the small factors together; S_6 is within it."""
NUMBERS = 2**18
"""Numbers of latents that are treated at one time."""
RANDOM, ROUNDS = 16, 12
"""Starts from random elements, and turns from each, unless nothing changes before."""


@dataclass(frozen=True)
class Factor:
    """The one factor of a product that is not small, and how it acts alone.

    Args:
        whole: Representation of the product.
        number: Which factor.
        alone: Representation of that factor on the same latents, their axes reordered by `seen`.
    """

    whole: Representation
    number: int
    alone: Representation

    def seen(self, z: Tensor) -> Tensor:
        """Flat latents in the layout of `alone`."""
        return torch.cat([self._axis_last(*pair) for pair in zip(self.whole, self.whole.split(z), strict=True)], dim=1)

    def small_elements(self) -> Tensor:
        """All elements whose part in the factor is the identity."""
        group = self.whole.group
        assert isinstance(group, Product)
        listed = [f.identity()[None] if i == self.number else f.elements() for i, f in enumerate(group.factors)]
        index = torch.cartesian_prod(*(torch.arange(len(part)) for part in listed)).unbind(dim=1)
        return group.join([part[i] for part, i in zip(listed, index, strict=True)])

    def with_part(self, g: Tensor, part: Tensor) -> Tensor:
        """Return elements g (P, *element_shape) with other parts in the factor."""
        group = self.whole.group
        assert isinstance(group, Product)
        parts = group.split(g)
        return group.join([part if i == self.number else p for i, p in enumerate(parts)])

    def _axis_last(self, block: object, part: Tensor) -> Tensor:
        if not isinstance(block, Outer):
            return part.flatten(1)
        axes = part.reshape(len(part), part.shape[1], *(p.dim for p in block.parts)).movedim(2 + self.number, -1)
        rows = axes.reshape(len(part), -1, axes.shape[-1])
        return (rows.mT if block.parts[self.number].copies_last else rows).flatten(1)


def factor_alone(representation: Representation, number: int) -> Factor:
    """One factor of a product group, for latents on which the others do not act."""
    group = representation.group
    assert isinstance(group, Product)
    factor, blocks = group.factors[number], []
    for block in representation:
        part = block.parts[number] if isinstance(block, Outer) else Trivial(factor, 1)
        blocks.append(replace(part, copies=block.size // part.dim))
    return Factor(representation, number, Representation(factor, tuple(blocks)))


def large_factor(representation: Representation) -> Factor | None:
    """Return the factor of a product group that is left when the small ones are listed; None if there is none."""
    group = representation.group
    assert isinstance(group, Product)
    orders = [math.inf if factor.order is None else factor.order for factor in group.factors]
    number = max(range(len(orders)), key=orders.__getitem__)
    small = math.prod(orders[:number] + orders[number + 1 :]) <= ORDER_LIMIT
    return factor_alone(representation, number) if small else None


def try_small_factors(factor: Factor, solve: Solve, z: Tensor, w: Tensor, masks: Masks | None, certify: bool) -> Found:
    """Return the best element for paired rows (P, D), from the best in the large factor for each small element."""
    representation, count = factor.whole, len(z)
    group = representation.group
    ordered = isinstance(factor.alone.group, Symmetric)
    best = group.identity().to(z.device).repeat(count, 1)
    value, bound = (z.new_full((count,), -torch.inf) for _ in range(2))
    for some in factor.small_elements().to(z.device).split(max(1, NUMBERS // z.numel())):
        h, rows = some.repeat_interleave(count, dim=0), torch.arange(count, device=z.device).repeat(len(some))
        a, b = z[rows], w[rows]
        shown = None if masks is None else (masks[0][rows], masks[1][rows])
        found = solve(factor.seen(a), factor.seen(representation.transform(b, h)), shown if ordered else None, certify)
        elements = factor.with_part(h, found.element)
        products = _rewarded(representation, a, b, shown, elements).unflatten(0, (len(some), count))
        product, which = products.max(dim=0)
        better = product > value
        element = elements[which * count + rows[:count]]
        best, value = torch.where(better[:, None], element, best), torch.maximum(product, value)
        bound = torch.maximum(bound, (products + found.gap.unflatten(0, (len(some), count))).amax(dim=0))
    return Found(best, (bound - value).clamp(min=0))


def by_turns(
    solvers: list[tuple[Factor, Solve]], starts: list[Tensor], z: Tensor, w: Tensor, masks: Masks | None
) -> Tensor:
    """Find good elements for paired rows (P, D): the best in one factor, the others held, until nothing changes.

    Args:
        solvers: Each factor, and how its best element is found alone.
        starts: Elements to start from, (P, *element_shape) each.
        z: Latents.
        w: Latents.
        masks: Which points exist.
    """
    representation = solvers[0][0].whole
    group = representation.group
    best, top = starts[0], z.new_full((len(z),), -torch.inf)
    still = group.identity().to(z.device).repeat(len(z), 1)
    for g in starts:
        value = z.new_full((len(z),), -torch.inf)
        for _ in range(ROUNDS):
            for factor, solve in solvers:
                seen_masks = None
                if masks is not None and isinstance(factor.alone.group, Symmetric):
                    seen_masks = masks[0], _ordered(group, g, masks[1])
                found = solve(factor.seen(z), factor.seen(representation.transform(w, g)), seen_masks, False)
                g = group.compose(factor.with_part(still, found.element), g)
            reached = _rewarded(representation, z, w, masks, g)
            better = reached > top
            best, top = torch.where(better[:, None], g, best), torch.maximum(reached, top)
            if not (reached > value + 1e-12).any():
                break
            value = reached
    return best


def _rewarded(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None, g: Tensor) -> Tensor:
    """Products, with the reward of visible matches."""
    products = (z * representation.transform(w, g)).sum(dim=1)
    if masks is None:
        return products
    return products + BONUS * (masks[0] & _ordered(representation.group, g, masks[1])).sum(dim=1)


def _ordered(group: Group, g: Tensor, mask: Tensor) -> Tensor:
    order = order_of(group, g)
    assert order is not None
    return mask.gather(1, order.argsort(dim=1))
