"""The chamber map: the isometric cross section of every action that reflections generate, and how to find them.

V/G embeds isometrically in a Euclidean space exactly when reflections generate rho(G); the image is then a chamber.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Product, Signs, Symmetric
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.groups.group import LISTING_LIMIT
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.tables import ExactTables

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group, Representation
    from lightning_invariant.groups.block import Block


TOLERANCE = 1e-6
ENTRIES = 2**24
"""Most matrix entries looked at together."""
SWAP_LIMIT = 32
"""Most places whose swaps are tried; folding by swaps is quadratic, `Sort` is not."""


def simple_roots(representation: Representation) -> Tensor | None:
    """Unit normals of the walls of one chamber, (R, D) in float64; None if reflections do not generate rho(G).

    A random vector v lies inside a chamber. The roots are turned towards v; a root is simple if its reflection turns
    no other root away from v (Humphreys 1990, Reflection Groups and Coxeter Groups, 1.4). Reflections generate rho(G)
    when folding brings every rho(g) v back to v.
    """
    group = representation.group
    if group.order is None or any(map(_is_free, representation)):
        return None
    roots = _roots(representation)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(representation.size, dtype=torch.float64, generator=generator)
    roots = roots * torch.where(roots @ v < 0, -1.0, 1.0)[:, None]
    simple = _simple(roots, v)
    elements = group.probe_elements(LISTING_LIMIT if group.order <= LISTING_LIMIT else 256, generator)
    for part in elements.split(max(1, ENTRIES // representation.size**2)):
        moved = representation.transform(v.expand(len(part), -1), part)
        if not torch.allclose(fold(moved, simple, len(roots)), v.expand_as(moved), atol=TOLERANCE):
            return None
    return simple


def _is_free(block: Block) -> bool:
    """Whether some elements leave none of more than two numbers in their place, and so are no reflections."""
    parts = block.parts if isinstance(block, Outer) else (block,)
    return block.size > 2 and any(isinstance(part, Regular) and part.dim > 1 for part in parts)


def fold(z: Tensor, roots: Tensor, passes: int) -> Tensor:
    """Reflect at each wall in turn that z stands behind, a number of passes through all walls.

    Args:
        z: Rows of shape (B, D).
        roots: Unit normals (R, D).
        passes: How often to go through the walls.
    """
    for _ in range(passes):
        for root in roots:
            z = z - 2 * (z @ root).clamp(max=0)[:, None] * root
    return z


def passes_needed(roots: Tensor) -> int:
    """The smallest number of passes of `fold` that brings every vector into the chamber.

    The vector furthest away decides: minus a vector inside needs the longest element of the group, and a word of
    reflections that folds it folds every vector (the longest element absorbs all others in the 0-Hecke monoid).
    """
    inside = torch.linalg.pinv(roots) @ torch.ones(len(roots), dtype=roots.dtype)
    z, passes = -inside[None], 0
    while len(roots) and (z @ roots.mT).min() < -TOLERANCE:
        z, passes = fold(z, roots, 1), passes + 1
    return passes


def _candidates(group: Group) -> Tensor:
    """Elements among which all reflections are, of a large group those that generate it."""
    if group.order is not None and group.order <= LISTING_LIMIT:
        return group.elements()
    if isinstance(group, Symmetric) and group.n <= SWAP_LIMIT:
        i, j = torch.triu_indices(group.n, group.n, offset=1)
        swaps = torch.arange(group.n).repeat(len(i), 1)
        swaps[torch.arange(len(i)), i], swaps[torch.arange(len(i)), j] = j, i
        return swaps
    if isinstance(group, Signs):
        return 1 - 2 * torch.eye(group.n, dtype=torch.int64)
    if isinstance(group, Product):
        rows = []
        for which, factor in enumerate(group.factors):
            found = _candidates(factor)
            parts = [f.identity().expand(len(found), *f.element_shape) for f in group.factors]
            rows.append(group.join([found if i == which else part for i, part in enumerate(parts)]))
        return torch.cat(rows)
    return group.identity()[None]


def _roots(representation: Representation) -> Tensor:
    roots = torch.zeros(0, representation.size, dtype=torch.float64)
    for part in _candidates(representation.group).split(max(1, ENTRIES // representation.size**2)):
        trace = torch.zeros(len(part), dtype=torch.float64)
        for block in representation:
            trace += block.copies * block.characters(part)
        near = part[(trace - (representation.size - 2)).abs() < TOLERANCE]
        if len(near):
            rho = representation.matrices(near)
            moves = torch.eye(representation.size, dtype=torch.float64) - rho
            # A reflection is 1 - 2 r r^T: its difference from 1 has the square 2 (1 - rho), other traces D - 2 do not.
            pure = (moves @ moves - 2 * moves).abs().amax(dim=(1, 2)) < TOLERANCE
            moves = moves[pure]
            columns = moves.gather(2, moves.norm(dim=1).argmax(dim=1)[:, None, None].expand(-1, moves.shape[1], 1))
            roots = torch.cat([roots, torch.nn.functional.normalize(columns[..., 0], dim=1)])
    return _distinct(roots)


def _distinct(roots: Tensor) -> Tensor:
    kept = torch.zeros_like(roots[:0])
    for root in roots:
        if not len(kept) or (kept @ root).abs().max() < 1 - TOLERANCE:
            kept = torch.cat([kept, root[None]])
    return kept


def _simple(roots: Tensor, v: Tensor) -> Tensor:
    gram = roots @ roots.mT
    heights = roots @ v
    reflected = heights[None, :] - 2 * gram * heights[:, None]
    return roots[(reflected < 0).sum(dim=1) == 1]


class Chamber(ExactTables, Projection):
    """The one point of each orbit that lies in a fixed chamber, found by folding at the chamber's walls.

    Covers D_n on the plane, signs, S_n, signed permutations, products of these, and any other finite action that
    reflections generate; whether they do is found from the matrices. A fixed number of passes always suffices.

    Args:
        representation: Of a finite group whose image reflections generate.

    Raises:
        GroupError: They do not.

    Note:
        Isometric: for z and w in one closed chamber |z - w| = min_g |z - rho(g) w|, since folding w at a wall that
        separates it from z brings it nearer.

    References:
        Humphreys 1990, Reflection Groups and Coxeter Groups, 1.12.

    Example:
        >>> import torch
        >>> P, z = Chamber("D3: 1x1"), torch.tensor([[1.0, 0.2]])
        >>> P(z).shape, torch.allclose(P(z), P(z * torch.tensor([1.0, -1.0])))
        (torch.Size([1, 2]), True)
    """

    table: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        roots = simple_roots(self.representation)
        if roots is None:
            raise GroupError(
                f"Expected a finite action that reflections generate but '{self.representation}' is none; "
                "use MaxFilter or SortedCoorbits for other finite groups."
            )
        self.passes = passes_needed(roots)
        self.register_buffer("table", roots)
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable="inside the chambers",
            source="Humphreys 1990, Reflection Groups and Coxeter Groups, 1.12",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The point in the chamber."""
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        return fold(work, self.table.to(work.dtype), self.passes).to(z.dtype)
