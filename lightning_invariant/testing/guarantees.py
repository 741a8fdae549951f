"""Does a projection keep its promises? Tries to refute them in float64 on hard pairs of latents."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant import quotient
from lightning_invariant.errors import GuaranteeError
from lightning_invariant.groups import Sampled
from lightning_invariant.guarantee import Separation
from lightning_invariant.metrics.pairs import Pairs, hard_pairs, special_latents
from lightning_invariant.projections.base.completeness import jacobian, orbit_directions
from lightning_invariant.testing.invariance import assert_invariant
from lightning_invariant.testing.sampled import check_sampled
from lightning_invariant.testing.search import NEAREST, extreme_ratios, merged_pairs, surely_apart

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.projections import Projection

EXACT = 1e-9
"""Largest relative invariance error of an exactly invariant map in float64."""
SCALES = (1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e6)
"""Sizes of latents at which invariance is measured."""
SHIFTED = 1e-2
"""Smallest scale for groups with translations: beside shifts of size 1, smaller latents are lost in rounding."""
SLACK = 1e-6
"""Relative excess over a claimed bound that rounding may cause; orbit distances are exact to 1e-8 of the latents."""
SUSPECT = 0.02
"""Features this much nearer than an upper bound of the orbit distance make it worth another look."""
ROUNDING = 1e-14
WEAK = 5e-3
"""A kind of pairs whose ratio of distances is this much below that of independent pairs is not told apart in effect."""
RANK_TOLERANCE = 1e-7
"""Singular values of a Jacobian below this share of the largest count as zero."""
LATENTS, MEASURED = 3, 512
"""Latents at which a Jacobian is taken, and most numbers in them."""
MERGED = 1e-8
"""Features closer than this share of their usual distance are the same."""
DEGENERATE = 1e-4
"""A ratio of distances this much below or above the median refutes any bi-Lipschitz claim."""
SEGMENTS, HALVINGS = 65, 40
JUMP = 1e-3
"""Features that still change by this share of their usual distance after so many halvings jump; roots change less."""
SIZES = 256
"""Latents of sizes between the smallest and the largest scale, one element each."""


def assert_guarantee(projection: Projection, *, samples: int = 64, generator: torch.Generator | None = None) -> None:
    """Try to refute what a projection promises, in float64 on hard pairs of latents.

    Checked are invariance, at sizes from 1e-6 to 1e6; the shape; the rank of the Jacobian across orbits; how well
    inequivalent pairs are told apart: independent, opposite and mirrored ones, such with channels scrambled, published
    ones that simpler maps merge, and pairs whose features a search brought together; how much the weakest kind of pairs
    is told apart; Lipschitz and distortion bounds against `quotient.distance`, at these pairs and at those that a climb
    finds from them; continuity along segments, through ties and zero; and that gradients are finite at zero and at
    latents with stabilisers.

    Maps of sampled transforms (`Sampled`) have no orbits to compare with. The order of their transforms must not
    matter, two draws must agree within their `residual`, better with more transforms, and no exact invariance may be
    claimed.

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
        _check_invariance(projection, generator)
    _check_rank(projection, generator)
    pairs = hard_pairs(representation, samples, generator)
    with torch.no_grad():
        _check_distances(projection, pairs, generator)
        if claim.separation >= Separation.INJECTIVE:
            _check_merged(projection, generator)
        if claim.continuous:
            _check_continuity(projection, pairs)
    _check_gradients(projection, torch.cat([special_latents(representation, generator), pairs[0].left]))


def _check_shape(projection: Projection, generator: torch.Generator) -> None:
    with torch.no_grad():
        f = projection(projection.representation.random(3, generator).double())
    if f.shape != (3, projection.out_features) or not f.isfinite().all():
        raise GuaranteeError(f"Expected finite features (3, {projection.out_features}) but got {tuple(f.shape)}: {f}.")


def _check_invariance(projection: Projection, generator: torch.Generator) -> None:
    z = projection.representation.random(32, generator).double()
    translated = any(block.translated for block in projection.representation)
    for scale in SCALES:
        if translated and scale < SHIFTED:
            continue
        with torch.no_grad():
            f = projection(scale * z)
        # A map that flattens out has nothing to compare with far away.
        if scale == 1 or (f - f.roll(1, dims=0)).norm(dim=1).mean() > 1e-9 * f.norm(dim=1).mean():
            shaped = (scale * z).reshape(-1, *projection.representation.shape)
            assert_invariant(projection, projection.representation, tolerance=EXACT, z=shaped, generator=generator)
    _check_sizes(projection, generator)


@torch.no_grad()
def _check_sizes(projection: Projection, generator: torch.Generator) -> None:
    """No size of latents between the scales is an exception."""
    representation = projection.representation
    least = SHIFTED if any(block.translated for block in representation) else SCALES[0]
    first, last = (math.log10(scale) for scale in (least, SCALES[-1]))
    sizes = torch.logspace(first, last, SIZES, dtype=torch.float64)[:, None]
    z, g = sizes * representation.random(SIZES, generator).double(), representation.group.sample(SIZES, generator)
    f = projection(z)
    errors = (projection(representation.transform(z, g)) - f).norm(dim=1) / f.norm(dim=1).clamp(min=1e-300)
    worst = int(errors.argmax())
    if not errors[worst] <= EXACT:
        raise GuaranteeError(
            f"Expected features that {representation.group} leaves alone but at a latent of norm "
            f"{z[worst].norm():.3g} the element {representation.group.label(g[worst])} changes them by "
            f"{errors[worst]:.3g} of their norm."
        )


def _check_rank(projection: Projection, generator: torch.Generator) -> None:
    """Generic or stronger: no direction across a generic orbit leaves the features alone."""
    representation, claim = projection.representation, projection.guarantee
    if claim.separation < Separation.GENERIC or representation.size > MEASURED:
        return
    missing = []
    for z in representation.random(LATENTS, generator).double():
        values = torch.linalg.svdvals(jacobian(projection, z))
        rank = int((values > RANK_TOLERANCE * values.max()).sum())
        missing.append(len(z) - orbit_directions(representation, z).shape[1] - rank)
    if min(missing) > 0:
        raise GuaranteeError(
            f"Expected {claim.separation.words} features to change in every direction across generic orbits but "
            f"{min(missing)} directions leave them alone."
        )


def _check_merged(projection: Projection, generator: torch.Generator) -> None:
    """Search for different orbits with the same features."""
    z, w = merged_pairs(projection, generator)
    if not len(z):
        return
    near, size = (projection(z) - projection(w)).norm(dim=1), torch.maximum(z.norm(dim=1), w.norm(dim=1))
    same = near < MERGED * projection(z).norm(dim=1)
    suspects = (same & (size > 1e-3) & (quotient.distance(z, w, projection.representation) > 0.05 * size)).nonzero()[
        :8, 0
    ]
    far = surely_apart(z[suspects], w[suspects], projection.representation)
    for row, distance in zip(suspects.tolist(), far.tolist(), strict=True):
        if distance > 0.05 * size[row]:
            raise GuaranteeError(
                f"Expected the {projection.guarantee.separation.words} map to tell different orbits apart but a search "
                f"found latents at orbit distance {distance:.4g} whose features are {near[row]:.3g} apart: "
                f"{z[row].tolist()} and {w[row].tolist()}."
            )


def _check_distances(projection: Projection, kinds: list[Pairs], generator: torch.Generator) -> None:
    representation, claim = projection.representation, projection.guarantee
    exact = quotient.is_exact(representation)
    usual = (projection(kinds[0].left) - projection(kinds[0].right)).norm(dim=1).median().item()
    scale = kinds[0].left.norm(dim=1).median().item()
    ratios, errors = {}, {}
    for pairs in kinds:
        far = quotient.distance(pairs.left, pairs.right, projection.representation)
        near = (projection(pairs.left) - projection(pairs.right)).norm(dim=1)
        size = torch.maximum(pairs.left.norm(dim=1), pairs.right.norm(dim=1))
        apart = far > 0.1 * torch.finfo(torch.float64).eps ** 0.5 * size
        # Where the orbit distance is an upper bound, two latents of one orbit may seem apart.
        apart &= far > (0 if exact else 0.05) * size
        if not exact and claim.separation >= Separation.PAIRWISE:
            apart &= ~_in_one_orbit(pairs, far, near, apart, projection.representation)
        if not apart.any():
            continue
        far, near = far[apart], near[apart]
        ratios[pairs.name] = near / far
        # Squares of orbit distances are exact to rounding of the squares of the latents.
        errors[pairs.name] = ROUNDING * (size[apart] / far).square()
        small = pairs.name in ("tiny", "near stabilisers")
        asked = claim.separation >= (Separation.PAIRWISE if pairs.generic else Separation.INJECTIVE)
        # Latents that differ by rounding alone, such as two that should be zero, need not be told apart.
        merged = (near <= MERGED * usual) & (far > MERGED * scale)
        if asked and not small and merged.any():
            rows = merged.nonzero()[:4, 0]
            sure = surely_apart(pairs.left[apart][rows], pairs.right[apart][rows], projection.representation)
            if sure.max() > (0 if exact else 0.05) * scale:
                row = rows[sure.argmax()]
                raise GuaranteeError(
                    f"Expected the {claim.separation.words} map to tell different orbits apart but {pairs.name} "
                    f"latents at orbit distance {sure.max():.4g} have features at distance {near[row]:.3g} (usual is "
                    f"{usual:.3g})."
                )
    _check_weakest(projection, {p.name: ratios[p.name] for p in kinds if p.generic and p.name in ratios})
    if exact and (claim.lipschitz or claim.distortion) and representation.size <= MEASURED:
        z, w = (torch.cat([getattr(p, side) for p in kinds if p.name in ratios]) for side in ("left", "right"))
        found = [ratio for ratio in extreme_ratios(projection, z, w, generator) if not math.isnan(ratio)]
        ratios["searched"] = torch.tensor(found, dtype=torch.float64)
        errors["searched"] = torch.full_like(ratios["searched"], ROUNDING / NEAREST**2)
    _check_bounds(projection, ratios, errors, exact=exact)


def _in_one_orbit(pairs: Pairs, far: Tensor, near: Tensor, apart: Tensor, representation: Representation) -> Tensor:
    """Pairs of nearly equal features, if a longer search shows that a few of them are of one orbit after all."""
    suspects = apart & (near < SUSPECT * far)
    rows = suspects.nonzero()[:2, 0]
    found = surely_apart(pairs.left[rows], pairs.right[rows], representation)
    closer = found < 0.05 * pairs.left[rows].norm(dim=1)
    return suspects & bool(closer.any())


def _check_weakest(projection: Projection, ratios: dict[str, Tensor]) -> None:
    """No kind of generic pairs may be told apart so little that noise hides it."""
    if projection.guarantee.separation < Separation.PAIRWISE or "independent" not in ratios:
        return
    usual = ratios["independent"].median()
    name, weakest = min(ratios.items(), key=lambda kind: kind[1].median())
    if weakest.median() < WEAK * usual:
        raise GuaranteeError(
            f"Expected {projection.guarantee.separation.words} features that noise does not merge but {name} latents "
            f"have features at {weakest.median():.3g} times their orbit distance, others at {usual:.3g} times."
        )


def _check_bounds(projection: Projection, ratios: dict[str, Tensor], errors: dict[str, Tensor], *, exact: bool) -> None:
    claim = projection.guarantee
    if not ratios:
        return
    names = [name for name, values in ratios.items() for _ in values]
    every, error = torch.cat(list(ratios.values())), torch.cat(list(errors.values()))
    low, high = (every * (1 + error)).min().item(), (every * (1 - error)).max().item()
    median = ratios.get("independent", every).median().item()
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
    change = (f[1:] - f[:-1]).norm(dim=2)
    # Smooth changes are like those beside them, however large; jumps are not.
    beside = torch.nn.functional.pad(change.mT[:, None], (3, 3), mode="replicate")[:, 0].unfold(1, 7, 1)
    start = (change.mT - beside.median(dim=2).values).argmax(dim=1)
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
