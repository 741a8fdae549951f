"""What the Jacobian of a map says: which latents it tells apart nearby, and how unevenly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Euclidean, Orthogonal, Unitary

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.projections.base.projection import Projection

RANK_TOLERANCE = 1e-9
"""Singular values below this share of the largest count as zero; float64 leaves about 1e-14."""
STEP = 1e-4
"""Length of the turns whose differences span the directions along an orbit."""
DIRECTIONS = 8
"""Random steps by which a distortion is measured where a Jacobian takes too long."""
LATENTS = 2
"""Random latents at which a distortion is measured."""


def jacobian(project: Callable[[Tensor], Tensor], point: Float[Tensor, " D"]) -> Float[Tensor, "K D"]:
    """Return the Jacobian of a map of single latents, by one backward pass over a batch of copies.

    Args:
        project: Map from (B, D) to (B, K) that treats rows apart.
        point: Where to differentiate.
    """
    with torch.enable_grad():
        width = project(point[None]).shape[1]
        copies = point.detach().expand(width, -1).clone().requires_grad_()
        (rows,) = torch.autograd.grad(project(copies).diagonal().sum(), copies)
    return rows.detach()


def jacobian_rank(project: Callable[[Tensor], Tensor], point: Float[Tensor, " D"]) -> int:
    """Return the rank of the Jacobian of a map of single latents.

    Where the rank at one latent is D minus the dimension of its orbit, it is so at almost all latents, for a map that
    is algebraic; then almost every latent shares its features with finitely many orbits at most.

    Args:
        project: Map from (B, D) to (B, K) that treats rows apart.
        point: Where to differentiate, float64.

    Returns:
        Between 0 and min(D, K).
    """
    values = torch.linalg.svdvals(jacobian(project, point))
    return int((values > RANK_TOLERANCE * values.max()).sum()) if values.numel() else 0


def orbit_directions(representation: Representation, point: Float[Tensor, " D"]) -> Float[Tensor, "D T"]:
    """Return an orthonormal basis of the directions in which a continuous group moves a latent.

    Args:
        representation: What acts.
        point: The latent, float64.

    Returns:
        T is 0 for finite groups.
    """
    if representation.group.order is not None:
        return point.new_zeros(len(point), 0)
    # exp(t A) moves by t A z + t^2 / 2 A^2 z, so the difference of both signs has the direction up to t^2.
    directions = []
    for g in _small_turns(representation):
        there, back = (representation.transform(point[None], h)[0] for h in (g, representation.group.inverse(g)))
        directions.append((there - back) / (2 * STEP))
    u, s, _ = torch.linalg.svd(torch.stack(directions, dim=1), full_matrices=False)
    return u[:, s > 1e3 * STEP**2 * max(1.0, float(s.max()))]


def measured_distortion(projection: Projection) -> float:
    """Return a lower bound on the distortion: the most uneven stretching found at random latents.

    At a latent that no element fixes, orbit distances to near latents are lengths across the orbit, so the extreme
    singular values of the Jacobian there are ratios of feature to orbit distance in the limit.

    Args:
        projection: Any; directions along the orbit are left out.

    Returns:
        Largest over smallest ratio over two random latents; infinite where nearby orbits are merged.
    """
    representation = projection.representation
    latents = representation.random(LATENTS, torch.Generator().manual_seed(0)).double()
    low, high = float("inf"), 0.0
    for z in latents:
        along = orbit_directions(representation, z)
        values = torch.linalg.svdvals(jacobian(projection.project, z))[: len(z) - along.shape[1]]
        short = projection.out_features < len(z) - along.shape[1]
        low, high = min(low, 0.0 if short else float(values.min())), max(high, float(values.max()))
    return high / low if low > 0 else float("inf")


def uneven_directions(projection: Projection) -> float:
    """Return a lower bound on the distortion under a finite group, without the Jacobian, for large latents.

    Args:
        projection: Any of a finite group.

    Returns:
        Largest over smallest stretching of small steps in random directions from one random latent.
    """
    generator = torch.Generator().manual_seed(0)
    z = projection.representation.random(1, generator).double()
    steps = STEP * torch.nn.functional.normalize(projection.representation.random(DIRECTIONS, generator).double())
    with torch.no_grad():
        ratios = (projection.project(z + steps) - projection.project(z)).norm(dim=1) / STEP
    return float(ratios.max() / ratios.min())


def _small_turns(representation: Representation) -> list[Tensor]:
    """One element near the identity for each one-parameter turn, or translation, of the factors of a group."""
    group = representation.group
    factors = getattr(group, "factors", (group,))
    turns = []
    for place, factor in enumerate(factors):
        if not isinstance(factor, (Orthogonal, Euclidean, Unitary)):
            continue
        steps = []
        for i in range(factor.d):
            for j in range(i):
                generator = torch.zeros(factor.d, factor.d, dtype=torch.float64)
                generator[i, j], generator[j, i] = STEP, -STEP
                skew = factor.skew(generator) if isinstance(factor, Unitary) else generator
                steps.append(torch.linalg.matrix_exp(skew))
        if isinstance(factor, Euclidean):
            still = torch.zeros(factor.d, dtype=torch.float64)
            steps = [factor.element(turn, still) for turn in steps]
            one = factor.linear.identity()
            steps += [factor.element(one, shift) for shift in STEP * torch.eye(factor.d, dtype=torch.float64)]
        for turn in steps:
            whole = [turn if k == place else f.identity() for k, f in enumerate(factors)]
            turns.append(group.join(whole) if len(factors) > 1 else turn)  # type: ignore[attr-defined]
    return turns
