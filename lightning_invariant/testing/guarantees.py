"""Does a projection keep its promises? Tries to refute them in float64 on hard pairs of latents."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GuaranteeError
from lightning_invariant.groups import Sampled
from lightning_invariant.guarantee import Separation
from lightning_invariant.metrics.orbits import is_exact, orbit_distance
from lightning_invariant.metrics.pairs import Pairs, hard_pairs, special_latents
from lightning_invariant.testing.invariance import assert_invariant
from lightning_invariant.testing.sampled import check_sampled

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.projections import Projection

EXACT = 1e-6
"""Largest relative invariance error of an exactly invariant map in float64."""
SLACK = 1e-3
"""Relative excess over a claimed bound that rounding may cause."""
MERGED = 1e-8
"""Features closer than this share of their usual distance are the same."""
DEGENERATE = 1e-4
"""A ratio of distances this much below or above the median refutes any bi-Lipschitz claim."""
SEGMENTS, HALVINGS, JUMP = 17, 40, 1e-2


def assert_guarantee(projection: Projection, *, samples: int = 64, generator: torch.Generator | None = None) -> None:
    """Try to refute what a projection promises, in float64 on hard pairs of latents.

    Invariance; shape; separation of inequivalent pairs, channel-scrambled hard negatives among them; Lipschitz and
    distortion bounds against `orbit_distance`; continuity along segments, through ties and zero; finite gradients at
    zero and at latents with stabilisers. Maps of sampled transforms (`Sampled`) have no orbits to compare with: of them
    the order of the transforms must not matter, two draws must agree within their `residual`, better with more
    transforms, and no exact invariance may be claimed.

    Args:
        projection: With `guarantee`.
        samples: Pairs of each kind.
        generator: Source of randomness; seeded with 0 if None.

    Raises:
        GuaranteeError: A claim is false; the message holds the pair's numbers.
        ImportError: SciPy is missing where an assignment has to be solved.

    Example:
        >>> from lightning_invariant.projections import MaxFilter
        >>> assert_guarantee(MaxFilter("C4: 2 regular"))
    """
    generator = generator or torch.Generator().manual_seed(0)
    projection = copy.deepcopy(projection).double().cpu().eval()
    representation, claim = projection.representation, projection.guarantee
    if claim.group != str(representation.group):
        raise GuaranteeError(f"Expected a guarantee under {representation.group} but it says {claim.group}.")
    if isinstance(representation.group, Sampled):
        check_sampled(projection, generator)
    else:
        _check_orbits(projection, samples, generator)


def _check_orbits(projection: Projection, samples: int, generator: torch.Generator) -> None:
    representation, claim = projection.representation, projection.guarantee
    _check_shape(projection, generator)
    if claim.invariance == "exact":
        assert_invariant(projection, representation, tolerance=EXACT, generator=generator)
    pairs = hard_pairs(representation, samples, generator)
    with torch.no_grad():
        _check_distances(projection, pairs)
        if claim.continuous:
            _check_continuity(projection, pairs)
    _check_gradients(projection, torch.cat([special_latents(representation, generator), pairs[0].left]))


def _check_shape(projection: Projection, generator: torch.Generator) -> None:
    with torch.no_grad():
        f = projection(projection.representation.random(3, generator).double())
    if f.shape != (3, projection.out_features) or not f.isfinite().all():
        raise GuaranteeError(f"Expected finite features (3, {projection.out_features}) but got {tuple(f.shape)}: {f}.")


def _check_distances(projection: Projection, kinds: list[Pairs]) -> None:
    claim, exact = projection.guarantee, is_exact(projection.representation)
    usual = (projection(kinds[0].left) - projection(kinds[0].right)).norm(dim=1).median().item()
    scale = kinds[0].left.norm(dim=1).median().item()
    ratios = {}
    for pairs in kinds:
        far = orbit_distance(pairs.left, pairs.right, projection.representation)
        near = (projection(pairs.left) - projection(pairs.right)).norm(dim=1)
        size = torch.maximum(pairs.left.norm(dim=1), pairs.right.norm(dim=1))
        apart = far > 0.1 * torch.finfo(torch.float64).eps ** 0.5 * size
        # Where the orbit distance is an upper bound, two latents of one orbit may seem apart.
        apart &= far > (0 if exact else 0.05) * size
        if not apart.any():
            continue
        far, near = far[apart], near[apart]
        ratios[pairs.name] = near / far
        small = pairs.name in ("tiny", "near stabilisers")
        asked = claim.separation >= (Separation.GENERIC if pairs.generic else Separation.INJECTIVE)
        # Latents that differ by rounding alone, such as two that should be zero, need not be told apart.
        merged = (near <= MERGED * usual) & (far > MERGED * scale)
        if asked and not small and merged.any():
            row = int(torch.where(merged, near, torch.inf).argmin())
            raise GuaranteeError(
                f"Expected an {claim.separation.words} map to tell different orbits apart but {pairs.name} latents at "
                f"orbit distance {far[row]:.4g} have features at distance {near[row]:.3g} (usual is {usual:.3g})."
            )
    _check_bounds(projection, ratios, exact=exact)


def _check_bounds(projection: Projection, ratios: dict[str, Tensor], *, exact: bool) -> None:
    claim = projection.guarantee
    if not ratios:
        return
    names = [name for name, values in ratios.items() for _ in values]
    every = torch.cat(list(ratios.values()))
    low, high, median = every.min().item(), every.max().item(), ratios.get("independent", every).median().item()
    lowest, highest = names[int(every.argmin())], names[int(every.argmax())]
    if claim.lipschitz is not None and high > claim.lipschitz * (1 + SLACK):
        raise GuaranteeError(
            f"Expected at most {claim.lipschitz:.6g} times the orbit distance between features but {highest} latents "
            f"have {high:.6g} times."
        )
    bound = 1.0 if claim.separation is Separation.ISOMETRIC else claim.distortion
    if bound is not None and exact and high > bound * low * (1 + 2 * SLACK):
        raise GuaranteeError(
            f"Expected distortion at most {bound:.6g} but ratios of feature to orbit distance go from {low:.6g} "
            f"({lowest} latents) to {high:.6g} ({highest} latents)."
        )
    if claim.separation is Separation.BILIPSCHITZ and exact and not (DEGENERATE * median < low):
        raise GuaranteeError(
            f"Expected a bi-Lipschitz map but {lowest} latents have features at {low:.3g} times their orbit distance, "
            f"where the median is {median:.3g}."
        )
    if claim.separation >= Separation.BILIPSCHITZ and not (high < median / DEGENERATE):
        raise GuaranteeError(
            f"Expected a bi-Lipschitz map but {highest} latents have features at {high:.3g} times their orbit "
            f"distance, where the median is {median:.3g}."
        )


def _check_continuity(projection: Projection, kinds: list[Pairs]) -> None:
    """Follow the largest change along each segment into ever smaller pieces: a jump stays, anything else vanishes."""
    kept = [pairs for pairs in kinds if pairs.name in ("independent", "opposite", "with stabilisers")]
    left, right = torch.cat([p.left for p in kept]), torch.cat([p.right for p in kept])
    usual = (projection(kept[0].left) - projection(kept[0].right)).norm(dim=1).median().item()
    shares = torch.linspace(0, 1, SEGMENTS, dtype=left.dtype)
    f = torch.stack([projection(torch.lerp(left, right, share)) for share in shares])
    start = (f[1:] - f[:-1]).norm(dim=2).argmax(dim=0)
    low, high = shares[start][:, None], shares[start + 1][:, None]
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        a, m, b = (projection(left + share * (right - left)) for share in (low, middle, high))
        first = ((m - a).norm(dim=1) > (b - m).norm(dim=1))[:, None]
        low, high = torch.where(first, low, middle), torch.where(first, middle, high)
    jumps = (projection(left + high * (right - left)) - projection(left + low * (right - left))).norm(dim=1)
    worst = int(jumps.argmax())
    if not jumps[worst] <= JUMP * usual:
        step = ((high - low) * (right - left)).norm(dim=1)[worst]
        raise GuaranteeError(
            f"Expected a continuous map but features jump by {jumps[worst]:.3g} between latents {step:.3g} apart "
            f"(usual distance {usual:.3g})."
        )


def _check_gradients(projection: Projection, z: Tensor) -> None:
    z = z.clone().requires_grad_()
    f = projection(z)
    weights = torch.linspace(0.5, 1.5, f.shape[1], dtype=f.dtype)
    (gradient,) = torch.autograd.grad((f * weights).sum(), z)
    bad = (~gradient.isfinite().all(dim=1)).nonzero().flatten()
    if len(bad):
        raise GuaranteeError(
            f"Expected finite gradients but got {gradient[bad[0]].tolist()} at the latent {z[bad[0]].tolist()}."
        )
