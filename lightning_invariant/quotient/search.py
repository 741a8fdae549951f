"""Groups for which no exact method is known: factors by turns, or the best of samples, and bounds by relaxation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Orthogonal, Representation
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.quotient.clouds import bound_of_clouds, frame_starts, is_cloud
from lightning_invariant.quotient.factors import RANDOM, by_turns
from lightning_invariant.quotient.found import Found
from lightning_invariant.quotient.rotations import degree, rotate

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.quotient.factors import Factor, Solve
    from lightning_invariant.quotient.found import Masks

SAMPLES = 512
"""Elements that are tried."""


def search_factors(
    solvers: list[tuple[Factor, Solve]], representation: Representation, z: Tensor, w: Tensor, masks: Masks | None
) -> Found:
    """Find good elements of a product group by turns, from random elements and from frames of clouds.

    References:
        Besl and McKay 1992 for orders and rotations by turns, iterated closest points.
    """
    group, cloud = representation.group, is_cloud(representation)
    samples = group.sample(RANDOM, torch.Generator().manual_seed(0)).to(z.device)
    starts = [g.expand(len(z), *g.shape) for g in (group.identity().to(z.device), *samples)]
    starts += frame_starts(representation, z, w) if cloud else []
    if cloud:
        # Vectors alone give a rotation in closed form; irreps of higher degree join in the last turns.
        quick = [(factor, _by_vectors(factor.alone) or solve) for factor, solve in solvers]
        starts = [by_turns(quick, starts, z, w, masks)]
    best = by_turns(solvers, starts, z, w, masks)
    bound = bound_of_clouds(representation, z, w, masks) if cloud else bound_by_blocks(representation, z, w)
    return Found(best, (bound - (z * representation.transform(w, best)).sum(dim=1)).clamp(min=0))


def _by_vectors(representation: Representation) -> Solve | None:
    """How the best rotation of the vectors is found, irreps of higher degree left out; None for other groups."""
    kept = [i for i, block in enumerate(representation) if degree(block) <= 1]
    if not isinstance(representation.group, Orthogonal) or len(kept) == len(representation):
        return None
    vectors = Representation(representation.group, tuple(representation.blocks[i] for i in kept))

    def solve(z: Tensor, w: Tensor, _: Masks | None, certify: bool) -> Found:
        z, w = (torch.cat([side[:, representation.slices[i]] for i in kept], dim=1) for side in (z, w))
        return rotate(vectors, z, w, certify=certify)

    return solve


def try_samples(representation: Representation, z: Tensor, w: Tensor) -> Found:
    """Return the best of the identity and samples from a fixed seed, for paired rows (P, D)."""
    group = representation.group
    elements = torch.cat([group.identity()[None], group.sample(SAMPLES, torch.Generator().manual_seed(0))])
    best, chosen = z.new_full((len(z),), -torch.inf), torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for number, g in enumerate(elements):
        products = (z * representation.transform(w, g)).sum(dim=1)
        better = products > best
        best, chosen = torch.where(better, products, best), torch.where(better, number, chosen)
    return Found(elements.to(z.device)[chosen], (bound_by_blocks(representation, z, w) - best).clamp(min=0))


def bound_by_blocks(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """Return the largest product if any orthogonal matrix could act on each block: sums of singular values."""
    total = torch.zeros(len(z), dtype=z.dtype, device=z.device)
    for block, a, b in zip(representation, representation.split(z), representation.split(w), strict=True):
        if is_trivial(block):
            total = total + (a * b).flatten(1).sum(dim=1)
        else:
            # |A^T B|_* from triangular factors, which are as small as the smaller axis.
            a, b = (side if block.copies_last else side.mT for side in (a, b))
            if a.shape[1] > a.shape[2]:
                a, b = (torch.linalg.qr(side, mode="r").R for side in (a, b))
            total = total + torch.linalg.svdvals(a @ b.mT).sum(dim=1)
    return total
