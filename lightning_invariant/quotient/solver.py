"""Which solver finds the element of a group that brings one latent nearest to another."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Orthogonal, Product, Representation, Sampled, Signs, Symmetric, Unitary
from lightning_invariant.groups.centring import linear_part
from lightning_invariant.groups.fields import Fields
from lightning_invariant.groups.finite_blocks import Pairs, Points, SignPattern
from lightning_invariant.groups.group import LISTING_LIMIT
from lightning_invariant.groups.standard_form import standard_form
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.quotient.factors import factor_alone, large_factor, try_small_factors
from lightning_invariant.quotient.finite import choose_signs, try_all
from lightning_invariant.quotient.found import Found, Masks, exactly
from lightning_invariant.quotient.pairs import EXACT, match_graphs
from lightning_invariant.quotient.points import assign_points
from lightning_invariant.quotient.rotations import best_unitary, is_exactly_rotated, rotate
from lightning_invariant.quotient.search import search_factors, try_samples

if TYPE_CHECKING:
    from torch import Tensor

LISTED, SAMPLED = "all elements", "samples"
QUICKLY_LISTED = 4096
"""Largest group that is listed without looking for a faster way."""


class Solver(NamedTuple):
    """How the nearest points of two orbits are found.

    Args:
        name: The method, for reports.
        exact: Whether the nearest points are always found, up to rounding.
        quick: Whether distances between all pairs of some hundred latents take seconds at most.
        solve: From paired rows (P, D) in float64 of norm 1 at most, masks of points or None, and whether the gap shall
            be closed.
    """

    name: str
    exact: bool
    quick: bool
    solve: Callable[[Tensor, Tensor, Masks | None, bool], Found]


def solver_for(representation: Representation) -> Solver:
    """Return the solver that fits a representation, of centred latents where the group has translations.

    Raises:
        GroupError: The group is known by samples only.
    """
    r, group = representation, representation.group
    moving = [block for block in representation if not is_trivial(block)]
    if isinstance(group, Sampled):
        raise GroupError(
            f"Expected a group with orbits but {group} is known by samples only; use quotient.sampled_distance with "
            "the latents of sampled transforms."
        )
    if (linear := linear_part(r)) != r:
        return solver_for(linear)
    if not moving:
        still = group.identity()
        return Solver("identity", True, True, lambda z, *_: exactly(still.to(z.device).expand(len(z), *still.shape)))
    if any(isinstance(block, Fields) for block in moving):
        standard = standard_form(r)
        inner, change = solver_for(standard.representation), standard.change
        return inner._replace(solve=lambda z, w, *rest: inner.solve(change(r, z), change(r, w), *rest))
    if isinstance(group, Symmetric) and all(isinstance(block, Points) for block in moving):
        return Solver("assignment", True, True, lambda z, w, masks, _: assign_points(r, z, w, masks))
    if isinstance(group, Symmetric) and all(isinstance(block, (Points, Pairs)) for block in moving):
        exact = group.n <= EXACT
        name = "quadratic assignment"
        return Solver(name, exact, False, lambda z, w, m, certify: match_graphs(r, z, w, m, certify=certify))
    if isinstance(group, Signs) and all(isinstance(block, SignPattern) for block in moving):
        return Solver("signs", True, True, lambda z, w, *_: choose_signs(r, z, w))
    if isinstance(group, Orthogonal):
        exact = is_exactly_rotated(r)
        name = "rotations" if exact else "rotations by branch and bound"
        return Solver(name, exact, exact, lambda z, w, _, certify: rotate(r, z, w, certify=certify))
    if isinstance(group, Unitary):
        return Solver("unitary matrices", True, True, lambda z, w, *_: exactly(best_unitary(r, z, w)))
    return _of_other_group(representation)


def masked_points(representation: Representation) -> int:
    """Return how many points a mask has an entry for.

    Raises:
        GroupError: The representation has no S_n, or several.
    """
    group = representation.group
    counts = [f.n for f in (group.factors if isinstance(group, Product) else (group,)) if isinstance(f, Symmetric)]
    if len(counts) != 1 or solver_for(representation).name == SAMPLED:
        raise GroupError(
            f"Expected S_n on points or pairs, such as 'S9: 9 points x 4', to go with a mask but got "
            f"'{representation}'; leave the mask out."
        )
    return counts[0]


def _of_other_group(representation: Representation) -> Solver:
    r, order = representation, representation.group.order
    listed = Solver(LISTED, True, True, lambda z, w, masks, _: try_all(r, z, w, masks))
    if order is not None and order <= QUICKLY_LISTED:
        return listed
    if isinstance(representation.group, Product):
        return _of_product(representation, representation.group)
    if order is not None and order <= LISTING_LIMIT:
        return listed
    return Solver(SAMPLED, False, False, lambda z, w, *_: try_samples(r, z, w))


def _of_product(representation: Representation, group: Product) -> Solver:
    r = representation
    if (factor := large_factor(r)) is not None and (inner := solver_for(factor.alone)).name != SAMPLED:
        name = f"{inner.name} for each element of the other factors"
        return Solver(name, inner.exact, False, lambda *args: try_small_factors(factor, inner.solve, *args))
    if group.order is not None and group.order <= LISTING_LIMIT:
        return Solver(LISTED, True, True, lambda z, w, masks, _: try_all(r, z, w, masks))
    alone = [factor_alone(r, number) for number in range(len(group.factors))]
    solvers = [solver_for(factor.alone) for factor in alone]
    if any(solver.name == SAMPLED for solver in solvers):
        return Solver(SAMPLED, False, False, lambda z, w, *_: try_samples(r, z, w))
    pairs = [(factor, solver.solve) for factor, solver in zip(alone, solvers, strict=True)]
    name = " and ".join(dict.fromkeys(solver.name for solver in solvers)) + " by turns"
    return Solver(name, False, False, lambda z, w, masks, _: search_factors(pairs, r, z, w, masks))
