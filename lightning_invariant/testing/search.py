"""Searches for latents that refute a claim: pairs of orbits with the same features, or with extreme ratios."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant import quotient
from lightning_invariant.groups import Orthogonal, Product, Unitary
from lightning_invariant.groups.centring import linear_part
from lightning_invariant.groups.orthogonal import MatrixGroup
from lightning_invariant.groups.unitary import real_matrices

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group, Representation
    from lightning_invariant.projections import Projection

STEPS, DAMPING = 25, 1e-3
"""Steps of the search for equal features, and the share of the largest curvature that damps them."""
SEARCHED = 4096
"""Most entries of a Jacobian for which equal features are searched."""
STEP = 1e-7
"""Length of the steps for differences, as a share of the latent's norm."""
STARTS, SYMMETRIC = 48, 144
"""Pairs that the search for equal features starts from: random ones, and such that one element leaves alone."""
ORDERS = 2, 2, 2, 3, 4, 6
"""Orders of the elements that leave symmetric latents alone."""
MOST_POWERS = 10_000
"""Powers of an element after which it counts as one of infinite order."""
CLIMBED, CLIMBS = 24, 40
"""Pairs from which extreme ratios are searched, and steps of the search."""
NEAREST = 1e-3
"""Pairs nearer than this share of their norms are left out of that search: rounding would decide."""
TURNS, KEPT, ROUNDS, TRIES = 2048, 32, 60, 12
"""Where no exact orbit distance is known: elements that are tried, those that are kept, how often they are turned a
little by an ever smaller angle, and tries of each angle."""
SHRINK = 0.8


@torch.no_grad()
def merged_pairs(
    projection: Projection, generator: torch.Generator
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]]:
    """Return pairs whose features were brought together, by damped Gauss-Newton steps on both latents.

    Most end in one orbit; a map that merges orbits has others among them. Most of the pairs are of latents that an
    element leaves alone, and stay so: there are maps that fail nowhere else.

    Args:
        projection: In float64.
        generator: Source of randomness.
    """
    representation, count = projection.representation, STARTS + SYMMETRIC
    pair = [representation.random(count, generator).double() for _ in range(2)]
    if representation.size * projection.out_features > SEARCHED:
        return pair[0][:0], pair[1][:0]
    fixed = [_fixed_directions(representation, generator) for _ in range(SYMMETRIC)]
    every = torch.eye(representation.size, dtype=torch.float64).expand(STARTS, -1, -1)
    padded = [
        torch.nn.utils.rnn.pad_sequence([b.mT for b in side], batch_first=True).mT for side in zip(*fixed, strict=True)
    ]
    parts = [
        _brought_together(projection, [side[:STARTS] for side in pair], [every, every]),
        _brought_together(projection, [side[STARTS:] for side in pair], padded),
    ]
    z, w = (torch.cat(side) for side in zip(*parts, strict=True))
    fine = z.isfinite().all(dim=1) & w.isfinite().all(dim=1)
    return z[fine], w[fine]


@torch.no_grad()
def extreme_ratios(
    projection: Projection, z: Float[Tensor, "B D"], w: Float[Tensor, "B D"], generator: torch.Generator
) -> tuple[float, float]:
    """Return the smallest and the largest ratio of feature to orbit distance that small changes of pairs lead to.

    Args:
        projection: In float64, of a representation whose orbit distances are exact.
        z: Latents to start from; those with the most extreme ratios are taken.
        w: As many.
        generator: Source of randomness.

    Returns:
        NaN twice where all pairs are nearer than rounding allows.
    """
    representation = projection.representation

    def ratios(z: Tensor, w: Tensor) -> Tensor:
        far, near = quotient.distance(z, w, representation), (projection(z) - projection(w)).norm(dim=1)
        return torch.where(far > NEAREST * torch.maximum(z.norm(dim=1), w.norm(dim=1)), near / far, torch.nan)

    found, first = [], ratios(z, w)
    for sign in (-1, 1):
        value = (sign * first).nan_to_num(nan=-torch.inf)
        order = value.argsort(descending=True)[:CLIMBED]
        a, b, best = z[order], w[order], value[order]
        for step in range(CLIMBS):
            size = 0.5 * 0.86**step * a.norm(dim=1, keepdim=True) / a.shape[1] ** 0.5
            noise = torch.randn(2, *a.shape, dtype=a.dtype, generator=generator) * size
            # Some of them come nearer to each other as well: many ratios are extreme in the limit.
            share = torch.rand(2, len(a), 1, dtype=a.dtype, generator=generator)
            share = torch.where(share[0] < 0.5, share[1].clamp(min=0.3), 1.0)
            c = a + noise[0]
            d = c + share * (b + noise[1] - c)
            tried = (sign * ratios(c, d)).nan_to_num(nan=-torch.inf)
            better = tried > best
            best = torch.where(better, tried, best)
            a, b = torch.where(better[:, None], c, a), torch.where(better[:, None], d, b)
        found.append(sign * float(best.max()) if best.max().isfinite() else float("nan"))
    return found[0], found[1]


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


def _fixed_directions(representation: Representation, generator: torch.Generator) -> list[Tensor]:
    """Orthonormal bases (D, r) of the latents that two elements of small order leave alone, one element each.

    The elements agree in all factors but rotations.
    """
    representation = linear_part(representation)
    group, order = representation.group, ORDERS[int(torch.randint(len(ORDERS), (), generator=generator))]
    factors = group.factors if isinstance(group, Product) else (group,)
    first = [_of_order(factor, order, generator) for factor in factors]
    second = [
        _of_order(f, order, generator) if isinstance(f, MatrixGroup) else g for f, g in zip(factors, first, strict=True)
    ]
    bases = []
    for parts in (first, second):
        g = group.join([part[None] for part in parts])[0] if isinstance(group, Product) else parts[0]
        powers = [torch.eye(representation.size, dtype=torch.float64)]
        for _ in range(order - 1):
            powers.append(representation.transform(powers[-1], g))
        share, directions = torch.linalg.eigh(torch.stack(powers).mean(dim=0))
        bases.append(directions[:, share > 0.5])
    return bases


def _of_order(group: Group, order: int, generator: torch.Generator) -> Tensor:
    """A random element whose power `order` is the identity: a power of a sample, or a rotation by part of a turn."""
    g, one = group.sample(1, generator)[0], group.identity()
    if isinstance(group, Orthogonal):
        angle = 2 * torch.pi / order * torch.randint(order, (), generator=generator).double()
        plane = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).reshape(2, 2)
        rest = 1 - 2 * torch.randint(2 if order % 2 == 0 else 1, (group.d - 2,), generator=generator).double()
        rest[:1] *= rest.prod() if group.special else 1.0
        return g @ torch.block_diag(plane, *rest) @ g.mT
    if isinstance(group, Unitary):
        turns = torch.randint(order, (group.n,), generator=generator).double()
        turns = torch.stack([turns[0], -turns[0]]) if group.special else turns
        phases = torch.polar(torch.ones_like(turns), 2 * torch.pi / order * turns)
        return g @ real_matrices(phases.diag()) @ g.mT
    powers = [g]
    while not torch.equal(powers[-1], one):
        if len(powers) == MOST_POWERS:
            return one
        powers.append(group.compose(g, powers[-1]))
    return powers[len(powers) // math.gcd(len(powers), order) - 1]


def _brought_together(projection: Projection, latents: list[Tensor], bases: list[Tensor]) -> list[Tensor]:
    """Two sets of latents (n, D) moved along directions (n, D, r) until their features agree, as far as they do."""
    z, w = (basis @ (basis.mT @ side[..., None]) for side, basis in zip(latents, bases, strict=True))
    for _ in range(STEPS):
        (f, left), (h, right) = (_linearised(projection, *side) for side in ((z, bases[0]), (w, bases[1])))
        rows = torch.cat([left, -right], dim=2)
        gram = rows.mT @ rows
        damping = DAMPING * gram.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None]
        gap = (f - h).norm(dim=1)[:, None, None] / f.norm(dim=1)[:, None, None].clamp(min=1e-300)
        eye = torch.eye(gram.shape[1], dtype=gram.dtype)
        rise = rows.mT @ (f - h)[..., None]
        step = torch.linalg.solve_ex(gram + (damping * gap.clamp(1e-9, 1)) * eye, rise).result
        z, w = z - bases[0] @ step[:, : left.shape[2]], w - bases[1] @ step[:, left.shape[2] :]
    return [z[..., 0], w[..., 0]]


def _linearised(projection: Projection, z: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Features (n, K) of latents (n, D, 1), and their derivatives (n, K, r) along directions, from differences."""
    step = STEP * z.norm(dim=1, keepdim=True).clamp(min=STEP)
    tried = torch.cat([z, z + step * basis], dim=2).mT
    values = projection(tried.flatten(0, 1)).unflatten(0, tried.shape[:2])
    return values[:, 0], (values[:, 1:] - values[:, :1]).mT / step


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
        if isinstance(factor, Orthogonal | Unitary):
            skew = angle * torch.randn(count, factor.d, factor.d, dtype=torch.float64, generator=generator)
            skew = factor.skew(skew) if isinstance(factor, Unitary) else (skew - skew.mT) / 2
            parts.append(torch.linalg.matrix_exp(skew))
        else:
            identity = factor.identity()
            parts.append(identity.expand(count, *identity.shape))
    return group.join(parts) if isinstance(group, Product) else parts[0]
