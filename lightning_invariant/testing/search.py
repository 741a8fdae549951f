"""Searches for latents that refute a claim: pairs of different orbits with the same features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant import quotient
from lightning_invariant.groups import Orthogonal, Product

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.projections import Projection

STEPS, DAMPING = 25, 1e-3
"""Steps of the search for equal features, and the share of the largest curvature that damps them."""
SEARCHED = 4096
"""Most entries of a Jacobian for which equal features are searched."""
STARTS = 48
TURNS, KEPT, ROUNDS, TRIES = 2048, 32, 60, 12
"""Where no exact orbit distance is known: elements that are tried, those that are kept, how often they are turned a
little by an ever smaller angle, and tries of each angle."""
SHRINK = 0.8


def merged_pairs(
    projection: Projection, count: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
    """Return pairs whose features were brought together, by damped Gauss-Newton steps on both latents.

    Most end in one orbit; a map that merges orbits has others among them.

    Args:
        projection: In float64.
        count: Pairs to start from.
        generator: Source of randomness.
    """
    representation = projection.representation
    z, w = (representation.random(count, generator).double() for _ in range(2))
    if representation.size * projection.out_features > SEARCHED:
        return z[:0], w[:0]
    for _ in range(STEPS):
        (f, left), (h, right) = _linearised(projection, z), _linearised(projection, w)
        rows = torch.cat([left, -right], dim=2)
        gram = rows @ rows.mT
        damping = DAMPING * gram.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None]
        gap = (f - h).norm(dim=1)[:, None, None] / f.norm(dim=1)[:, None, None]
        eye = torch.eye(gram.shape[1], dtype=gram.dtype)
        step = rows.mT @ torch.linalg.solve(gram + (damping * gap.clamp(1e-9, 1)) * eye, (f - h)[..., None])
        z, w = z - step[:, : z.shape[1], 0], w - step[:, z.shape[1] :, 0]
    fine = z.isfinite().all(dim=1) & w.isfinite().all(dim=1)
    return z[fine], w[fine]


def surely_apart(
    z: Float[Tensor, "B D"], w: Float[Tensor, "B D"], representation: Representation
) -> Float[Tensor, "B"]:
    """Return orbit distances, certified ones where there are, else by a longer search.

    Args:
        z: A few latents.
        w: As many.
        representation: What acts.
    """
    lower, found = quotient.bounds(z, w, representation)
    if bool((lower == found).all()):
        return found
    generator = torch.Generator().manual_seed(7)
    elements = representation.group.probe_elements(TURNS, generator)
    for row in range(len(z)):
        moved = representation.transform(w[row].expand(len(elements), -1), elements)
        distances = (moved - z[row]).norm(dim=1)
        best = elements[distances.topk(min(KEPT, len(elements)), largest=False).indices]
        found[row] = torch.minimum(found[row], _descended(z[row], w[row], best, representation, generator))
    return found


def _linearised(projection: Projection, z: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, K) and Jacobians (B, K, D)."""
    with torch.enable_grad():
        f = projection(z)
        width = f.shape[1]
        copies = z.detach().repeat_interleave(width, dim=0).requires_grad_()
        picked = projection(copies).unflatten(0, (len(z), width)).diagonal(dim1=1, dim2=2)
        (rows,) = torch.autograd.grad(picked.sum(), copies)
    return f.detach(), rows.unflatten(0, (len(z), width))


def _descended(
    z: Tensor, w: Tensor, elements: Tensor, representation: Representation, generator: torch.Generator
) -> Tensor:
    """Smallest distance over elements that are turned a little again and again, by ever smaller angles."""
    best = (representation.transform(w.expand(len(elements), -1), elements) - z).norm(dim=1)
    for round_ in range(ROUNDS):
        for _ in range(TRIES):
            turned = representation.group.compose(
                _small(representation, len(elements), SHRINK**round_, generator), elements
            )
            distances = (representation.transform(w.expand(len(turned), -1), turned) - z).norm(dim=1)
            better = distances < best
            best = torch.where(better, distances, best)
            elements = torch.where(better.reshape(-1, *[1] * (elements.dim() - 1)), turned, elements)
    return best.min()


def _small(representation: Representation, count: int, angle: float, generator: torch.Generator) -> Tensor:
    """Elements near the identity: small turns of the continuous factors."""
    group = representation.group
    factors = group.factors if isinstance(group, Product) else (group,)
    parts = []
    for factor in factors:
        if isinstance(factor, Orthogonal):
            skew = angle * torch.randn(count, factor.d, factor.d, dtype=torch.float64, generator=generator)
            parts.append(torch.linalg.matrix_exp((skew - skew.mT) / 2))
        else:
            identity = factor.identity()
            parts.append(identity.expand(count, *identity.shape))
    return group.join(parts) if isinstance(group, Product) else parts[0]
