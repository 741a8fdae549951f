"""Assertions for your own tests: is a module invariant, and does a projection keep its promises?

    from lightning_invariant.testing import assert_guarantee, assert_invariant

    def test_my_head():
        assert_invariant(MyHead(), "C8: 16 regular")

Both measure on random latents; they refute false claims and prove nothing.
"""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.errors import GroupError, GuaranteeError
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.groups.actions import mean_distance
from lightning_invariant.guarantee import Separation
from lightning_invariant.metrics.orbits import is_exact, orbit_distance
from lightning_invariant.metrics.pairs import Pairs, hard_pairs, special_latents

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from lightning_invariant.projections import Projection

ELEMENTS = 32
"""Group elements tried; all of a smaller group."""
EXACT = 1e-6
"""Largest relative invariance error of an exactly invariant map in float64."""
SLACK = 1e-3
"""Relative excess over a claimed bound that rounding may cause."""
MERGED = 1e-8
"""Features closer than this share of their usual distance are the same."""
DEGENERATE = 1e-4
"""A ratio of distances this much below or above the median refutes any bi-Lipschitz claim."""
SEGMENTS, HALVINGS, JUMP = 17, 40, 1e-2


def assert_invariant(
    module: Callable[[Tensor], Tensor],
    representation: Representation | str,
    *,
    tolerance: float = 1e-4,
    z: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> None:
    """Check that features do not change when latents are moved.

    Args:
        module: Any nn.Module or function from latents to features (B, ...); modules are run in eval mode.
        representation: How the group acts on the latents.
        tolerance: Largest mean change of features over their mean distance between different samples.
        z: Latents to measure on; 32 Gaussian latents in the representation's layout if None.
        generator: Source of randomness; seeded with 0 if None.

    Raises:
        GuaranteeError: An element changes the features more, they are not finite, or they are the same for all latents.
        LatentError: The latents do not fit the representation.

    Example:
        >>> assert_invariant(lambda z: z.sort(dim=1).values, "S5: points")
        >>> assert_invariant(lambda z: z[:, :3], "S5: points")
        Traceback (most recent call last):
        ...
        lightning_invariant.errors.GuaranteeError: Expected features that S5 leaves alone...
    """
    representation, generator = Representation.parse(representation), generator or torch.Generator().manual_seed(0)
    _refuse_sampled(representation)
    if z is None:
        z = _like(module, representation.random(32, generator)).reshape(-1, *representation.shape)
    elements = representation.group.probe_elements(ELEMENTS, generator)
    with _evaluating(module):
        f = module(z).flatten(1).double()
        scale = mean_distance(f)
        if not 8 * torch.finfo(z.dtype).eps * f.norm(dim=1).mean() < scale < float("inf"):
            raise GuaranteeError(
                f"Expected finite features that differ between latents but their mean distance is {scale:.3g}; "
                "a constant says nothing about invariance."
            )
        gaps = [(module(representation.move(z, g)).flatten(1).double() - f).norm(dim=1).mean().item() for g in elements]
    errors = torch.tensor(gaps, dtype=torch.float64).nan_to_num(nan=float("inf")) / scale
    worst = int(errors.argmax())
    if errors[worst] > tolerance:
        raise GuaranteeError(
            f"Expected features that {representation.group} leaves alone, up to {tolerance:.3g} of the distance "
            f"between different samples but got {errors[worst]:.3g} for the element "
            f"{representation.group.label(elements[worst])} and {errors.median():.3g} for the median element "
            f"of {len(elements)}."
        )


def assert_guarantee(projection: Projection, *, samples: int = 64, generator: torch.Generator | None = None) -> None:
    """Try to refute what a projection promises, in float64 on hard pairs of latents.

    Invariance; shape; separation of inequivalent pairs, channel-scrambled hard negatives among them; Lipschitz and
    distortion bounds against `orbit_distance`; continuity along segments, through ties and zero; finite gradients at
    zero and at latents with stabilisers.

    Args:
        projection: With `guarantee`.
        samples: Pairs of each kind.
        generator: Source of randomness; seeded with 0 if None.

    Raises:
        GuaranteeError: A claim is false; the message holds the pair's numbers.
        GroupError: The group is known by samples only, so that there is nothing to compare with.
        ImportError: SciPy is missing where an assignment has to be solved.

    Example:
        >>> from lightning_invariant.projections import MaxFilter
        >>> assert_guarantee(MaxFilter("C4: 2 regular"))
    """
    _refuse_sampled(projection.representation)
    generator = generator or torch.Generator().manual_seed(0)
    projection = copy.deepcopy(projection).double().cpu().eval()
    representation, claim = projection.representation, projection.guarantee
    if claim.group != str(representation.group):
        raise GuaranteeError(f"Expected a guarantee under {representation.group} but it says {claim.group}.")
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
        if asked and not small and (near <= MERGED * usual).any():
            row = int(near.argmin())
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


def _refuse_sampled(representation: Representation) -> None:
    if isinstance(representation.group, Sampled):
        raise GroupError(f"Expected a group with orbits but {representation.group} is known by samples only.")


def _like(module: object, z: Tensor) -> Tensor:
    if isinstance(module, nn.Module):
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point():
                return z.to(tensor)
    return z


@contextmanager
def _evaluating(module: object) -> Iterator[None]:
    modes = {part: part.training for part in module.modules()} if isinstance(module, nn.Module) else {}
    for part in modes:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes.items():
            part.training = mode
