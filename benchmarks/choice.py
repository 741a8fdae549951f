"""What `choose` takes for forty representations, how uneven it is found to be, and what is known of each."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.metrics.pairs import hard_pairs
from lightning_invariant.projections import Mixed, Reduced, choose
from lightning_invariant.projections.base.completeness import jacobian, measured_distortion, orbit_directions
from lightning_invariant.quotient import distance, is_exact

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lightning_invariant.projections import Projection

PAIRS, STEPS, QUICK_STEPS = 64, 60, 2
NEAREST = 1e-3
"""Orbit distances below this share of the latents are left out: rounding would decide."""
JACOBIAN, LATENTS = 2**15, 16
"""Most entries of a Jacobian that is searched, and latents that the search starts from."""
MOST = 300
"""Most numbers in a latent whose distortion is searched for."""
COLUMNS = ("latents", "map", "size", "guarantee", "distortion found", "best known, with source")
NOTES = (
    "Distortion found: the largest over the smallest ratio of feature to orbit distance that a search over pairs "
    "found, from random, near, symmetric and scrambled ones on, and that a search over Jacobians found. It is a "
    "lower bound on the distortion.",
    "The search needs exact orbit distances and latents of at most 300 numbers; a value marked J is from the Jacobian "
    "alone. A dash stands where no distance is bounded from below, or nothing was searched.",
)
ISOMETRIC = "isometric"
ROOT2 = "sqrt 2, optimal (2506.04425, Blum-Smith et al. 2025)"
BEST: dict[str, str] = {
    "SO3: 16x0": ISOMETRIC,
    "S9: 9 points": f"{ISOMETRIC} (rearrangement inequality)",
    "Z2^5: signs": f"{ISOMETRIC} (reflection group)",
    "O3: 1 vectors": f"{ISOMETRIC} (polar)",
    "SO2: 1x3": f"{ISOMETRIC} (polar)",
    "D6: 1x1": f"{ISOMETRIC} (reflection group)",
    "C2: 1 regular": f"{ISOMETRIC} (reflection group)",
    "SO3: 1x2": f"{ISOMETRIC} (Hoffman and Wielandt 1953)",
    "O3: 1x2o": f"{ISOMETRIC} (polar)",
    "O3 x O5: 1 vectors*vectors": f"{ISOMETRIC} (von Neumann 1937)",
    "Z2: 16 signs": ROOT2,
    "C2: 4 regular": ROOT2,
    "O3: 4x0o": ROOT2,
    "D4: 3 det": ROOT2,
    "C4: 1x1": "4 sin(pi / 8) = 1.531, optimal (2506.04425)",
    "C3: 1 regular": "3 sin(pi / 6) = 1.5, optimal (2506.04425)",
    "SO2: 8x1": "sqrt 2 (2409.06829, Derksen 2024)",
    "SO2: 8x3": "sqrt 2 (2409.06829)",
    "O2: 8x2": "sqrt 2 (2409.06829)",
    "O3: 12 vectors": "sqrt 2 (2409.06829)",
    "O3: 8x1e": "injective; bi-Lipschitz near orbits of full dimension (2403.14042, Qaddura 2024)",
    "SO3: 6 vectors": "injective; bi-Lipschitz near orbits of full dimension (2403.14042)",
    "C4: 2x1": "bi-Lipschitz from 2 D templates (2212.11156, Mixon and Qaddura 2022)",
    "C8: 4 regular": "bi-Lipschitz from 2 D templates (2212.11156)",
    "C8: 16 regular": "bi-Lipschitz from 2 D templates (2212.11156)",
    "D4: 4 regular": "bi-Lipschitz from 2 D templates (2212.11156)",
    "C2 x C2: 2 regular*regular": "bi-Lipschitz from 2 D templates (2212.11156)",
    "S4: 4 points x 2": "bi-Lipschitz; distortion from order sqrt n to n^2 (2510.22186)",
    "S4: 4 points x 3 + 2 trivial": "bi-Lipschitz (2510.22186; 2405.16519, Amir and Dym 2024)",
    "S9: 9 points x 16": "bi-Lipschitz (2510.22186; 2405.16519)",
    "SO2: 4x0 + 8x1 + 4x2": "bi-Lipschitz from 2 D templates (2403.14042)",
    "O2: 4x1 + 4x2": "injective from 2 D templates (2212.11156); generic from degree 3 (2408.09599, Edidin and Katz)",
    "SO3: 8x0 + 4x1 + 2x2": "generic from degree 3 (2306.00155, Edidin and Satriano 2023; 2508.02674)",
    "O3: 8x0e + 4x1o + 2x2e": "generic from degree 3 (2306.00155)",
    "S4 x O3: 1 points*vectors": "injective (2301.13821, Hordan et al. 2023)",
    "S9 x SO3: 5 points*0 + 1 points*vectors": "injective (2301.13821; 2303.15385, Widdowson and Kurlin 2023)",
    "S9 x SO3: 8 points*0 + 4 points*1 + 2 points*2": "none known to us",
    "C8: 512 regular": "pairwise at this size (2205.14039, Cahill et al. 2022)",
    "O3: 1365 vectors": "pairwise at this size; sqrt 2 at 931,000 features (2409.06829)",
    "SO3: 128x0 + 64x1 + 32x2": "pairwise at this size (random mixing: 2210.01705, Darby et al. 2022)",
}


def choices(*, quick: bool) -> list[list[Any]]:
    """One row a representation."""
    texts = list(BEST)[:: 9 if quick else 1]
    return [_row(text, QUICK_STEPS if quick else STEPS) for text in texts]


def _row(text: str, steps: int) -> list[Any]:
    projection = choose(text)
    held = projection.guarantee
    words = held.separation.words + (f", at most {held.distortion:.3g}" if held.distortion not in (None, 1.0) else "")
    return [text, _name(projection), projection.out_features, words, found(projection.double(), steps), BEST[text]]


def _name(projection: Projection) -> str:
    name = type(projection).__name__
    if isinstance(projection, (Reduced, Mixed)):
        return (
            f"{_name(projection.projection)} on {'the image' if isinstance(projection, Reduced) else 'mixed channels'}"
        )
    parts = getattr(projection, "projections", ())
    return " and ".join(map(_name, parts)) if name == "Joined" else name


def found(projection: Projection, steps: int) -> str:
    """Distortion found, as the table shows it."""
    representation = projection.representation
    if representation.size > MOST:
        return "-"
    local = max(measured_distortion(projection), steepest(projection, steps))
    if not is_exact(representation):
        return f"{local:.3g} J" if local < 1e4 else "-"
    low, high = searched(projection, steps)
    total = max(high / low if low > 0 else math.inf, local)
    return f"{total:.3g}" if total < 1e6 else "-"


def steepest(projection: Projection, steps: int) -> float:
    """Most uneven stretching that small changes of latents lead to, by the singular values of the Jacobian."""
    representation, generator = projection.representation, torch.Generator().manual_seed(1)
    if representation.size * projection.out_features > JACOBIAN:
        return 1.0
    z = representation.random(LATENTS, generator).double()
    across = representation.size - orbit_directions(representation, z[0]).shape[1]

    def extremes(z: Tensor) -> tuple[Tensor, Tensor]:
        values = torch.stack([torch.linalg.svdvals(jacobian(projection.project, row)) for row in z])
        return values[:, min(across, values.shape[1]) - 1], values[:, 0]

    best, largest = extremes(z)
    for step in range(steps):
        noise = torch.randn(z.shape, dtype=z.dtype, generator=generator)
        # Some coordinates at a time, so that latents near the walls between regions are met.
        noise *= torch.rand(z.shape, generator=generator) < 0.5
        moved = z + 0.93**step * noise
        value, large = extremes(moved)
        won = value < best
        z, best = torch.where(won[:, None], moved, z), torch.where(won, value, best)
        largest = torch.maximum(largest, large)
    low, high = float(best.min()), float(largest.max())
    return high / low if low > 0 else math.inf


@torch.no_grad()
def searched(projection: Projection, steps: int) -> tuple[float, float]:
    """Smallest and largest ratio of feature to orbit distance that is found by small changes of pairs."""
    representation, generator = projection.representation, torch.Generator().manual_seed(0)
    kinds = hard_pairs(representation, 24, generator)
    kept = [pairs for pairs in kinds if pairs.name not in ("tiny", "huge", "near stabilisers")]
    z, w = (torch.cat([getattr(pairs, side) for pairs in kept]) for side in ("left", "right"))

    def ratios(z: Tensor, w: Tensor) -> Tensor:
        far = distance(z, w, representation)
        near = (projection(z) - projection(w)).norm(dim=1)
        size = torch.maximum(z.norm(dim=1), w.norm(dim=1))
        return torch.where(far > NEAREST * size, near / far, torch.nan)

    return (
        _climbed(z, w, ratios, torch.lt, steps, generator),
        _climbed(z, w, ratios, torch.gt, steps, generator),
    )


def _climbed(
    z: Tensor,
    w: Tensor,
    ratios: Callable[[Tensor, Tensor], Tensor],
    better: Callable[[Tensor, Tensor], Tensor],
    steps: int,
    generator: torch.Generator,
) -> float:
    best = ratios(z, w)
    start = best.nan_to_num(nan=math.inf if better is torch.lt else -math.inf)
    order = start.argsort(descending=better is torch.gt)[:PAIRS]
    z, w, best = z[order], w[order], start[order]
    for step in range(steps):
        size = 0.5 * 0.92**step * z.norm(dim=1, keepdim=True) / z.shape[1] ** 0.5
        noise, other = (torch.randn(z.shape, dtype=z.dtype, generator=generator) * size for _ in range(2))
        closer = torch.rand(len(z), 1, dtype=z.dtype, generator=generator).clamp(min=0.3)
        closer = torch.where(torch.rand(len(z), 1, generator=generator) < 0.5, closer, 1.0)
        a, b = z + noise, z + noise + closer * (w - z + other - noise)
        value = ratios(a, b).nan_to_num(nan=math.inf if better is torch.lt else -math.inf)
        won = better(value, best)
        best = torch.where(won, value, best)
        z, w = torch.where(won[:, None], a, z), torch.where(won[:, None], b, w)
    return float(best.min() if better is torch.lt else best.max())
