"""What `choose` takes for many representations, how uneven it is found to be, and what is known of each."""

from __future__ import annotations

import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.metrics.pairs import hard_pairs, special_latents
from lightning_invariant.projections import Centred, Mixed, Reduced, choose
from lightning_invariant.projections.base.completeness import jacobian, measured_distortion, orbit_directions
from lightning_invariant.quotient import align, is_exact

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.projections import Projection

STEPS, QUICK_STEPS, STARTS, RATE = 100, 2, 16, 0.1
NEAREST = 1e-5
"""Orbit distances below this share of the latents are left out: rounding would decide."""
JACOBIAN, LATENTS = 2**14, 16
"""Most entries of a Jacobian that is searched, and latents that the search starts from."""
MOST = 300
"""Most numbers in a latent whose distortion is searched for."""
COLUMNS = ("latents", "map", "size", "guarantee", "distortion found", "best known, with source")
NOTES = (
    f"Distortion found: the largest over the smallest ratio of feature to orbit distance that {STEPS} steps along "
    "gradients of its logarithm found, both ways, from some hundred pairs: random, near, scrambled, and beside latents "
    "with stabilisers; and that a search over Jacobians found. It is a lower bound on the distortion.",
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
    "D4: 3 det": ROOT2,
    "C4: 1x1": "4 sin(pi / 8) = 1.531, optimal (2506.04425)",
    "C3: 1 regular": "3 sin(pi / 6) = 1.5, optimal (2506.04425)",
    "SO2: 8x1": "sqrt 2 (2409.06829, Derksen 2024)",
    "O2: 8x2": "sqrt 2 (2409.06829)",
    "O3: 12 vectors": "sqrt 2 (2409.06829)",
    "E3: 8 positions": "sqrt 2 (2409.06829)",
    "U2: 4 vectors": "sqrt 2 (2409.06829)",
    "SU2: 4 vectors": "sqrt 2 (2409.06829)",
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
    "S4 x E3: 1 points*positions": "injective (2301.13821)",
    "S9 x SO3: 5 points*0 + 1 points*vectors": "injective (2301.13821; 2303.15385, Widdowson and Kurlin 2023)",
    "S9 x SO3: 8 points*0 + 4 points*1 + 2 points*2": "none known to us",
    "C8: 512 regular": "pairwise at this size (2205.14039, Cahill et al. 2022)",
    "O3: 1365 vectors": "pairwise at this size; sqrt 2 at 931,000 features (2409.06829)",
    "SO3: 128x0 + 64x1 + 32x2": "pairwise at this size (random mixing: 2210.01705, Darby et al. 2022)",
}


def choices(*, quick: bool) -> list[list[Any]]:
    """One row a representation."""
    if quick:
        return [_row(text, QUICK_STEPS) for text in list(BEST)[::13]]
    # The rows have nothing to do with each other, and each uses one core.
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(_row, BEST, [STEPS] * len(BEST)))


def _row(text: str, steps: int) -> list[Any]:
    projection = choose(text)
    held = projection.guarantee
    words = held.separation.words + (f", at most {held.distortion:.3g}" if held.distortion not in (None, 1.0) else "")
    return [text, _name(projection), projection.out_features, words, found(projection.double(), steps), BEST[text]]


def _name(projection: Projection) -> str:
    name = type(projection).__name__
    for kind, words in ((Reduced, "the image"), (Mixed, "mixed channels"), (Centred, "centred latents")):
        if isinstance(projection, kind):
            return f"{_name(projection.projection)} on {words}"
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


def searched(projection: Projection, steps: int) -> tuple[float, float]:
    """Smallest and largest ratio of feature to orbit distance that gradients of its logarithm lead to.

    Pairs are m + s v and m - s v. They start far and near, from random and hard pairs and beside latents with
    stabilisers; w is aligned to z in each step, so that the orbit distance is |z - w| and has its gradient.
    """
    representation, generator = projection.representation, torch.Generator().manual_seed(0)
    starts = _starts(representation, generator)
    lowest, highest = (_ascended(projection, *starts, steps, sign) for sign in (-1, 1))
    return float(lowest.min()), float(highest.max())


def _starts(representation: Representation, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Midpoints, directions and half distances of pairs."""
    kinds = hard_pairs(representation, STARTS, generator)
    kept = [pairs for pairs in kinds if pairs.name not in ("tiny", "huge", "near stabilisers")]
    z, w = (torch.cat([getattr(pairs, side) for pairs in kept]) for side in ("left", "right"))
    special = special_latents(representation, generator).repeat(STARTS // 4, 1)
    noise, other = (torch.randn(special.shape, dtype=z.dtype, generator=generator) for _ in range(2))
    beside = special + noise * torch.rand(len(special), 1, dtype=z.dtype, generator=generator).square()
    random = representation.random(2 * STARTS, generator).double()
    direction = torch.randn(random.shape, dtype=z.dtype, generator=generator)
    m = torch.cat([(z + w) / 2, beside, random])
    v = torch.cat([(z - w) / 2, other, direction])
    s = torch.ones(len(m), 1, dtype=z.dtype)
    s[len(z) :] = 10 ** (-4 * torch.rand(len(m) - len(z), 1, dtype=z.dtype, generator=generator))
    return m, v, s


def _ascended(projection: Projection, m: Tensor, v: Tensor, s: Tensor, steps: int, sign: int) -> Tensor:
    representation = projection.representation
    m, v = m.clone().requires_grad_(), v.clone().requires_grad_()
    optimiser = torch.optim.Adam([m, v], lr=RATE)
    best = m.new_full((len(m),), sign * -math.inf)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / steps)
        z, w = m + s * v, m - s * v
        with torch.no_grad():
            g = align(w, z, representation).element
        far = (z - representation.transform(w, g)).norm(dim=1)
        near = (projection(z) - projection(w)).norm(dim=1)
        sound = (far > NEAREST * torch.maximum(z.norm(dim=1), w.norm(dim=1))).detach()
        ratio = torch.where(sound, near / far.clamp(min=1e-300), math.nan)
        optimiser.zero_grad()
        (-sign * torch.where(sound & (near > 0), (near.clamp(min=1e-300) / far).log(), 0.0).sum()).backward()
        for part in (m, v):
            part.grad = part.grad.nan_to_num(0.0, 0.0, 0.0)  # type: ignore[union-attr]
        value = ratio.detach().nan_to_num(nan=sign * -math.inf)
        best = torch.maximum(best, value) if sign > 0 else torch.minimum(best, value)
        optimiser.step()
        with torch.no_grad():
            m /= (m.square().mean(dim=1, keepdim=True) + (s * v).square().mean(dim=1, keepdim=True)).sqrt()
            v /= v.square().mean(dim=1, keepdim=True).sqrt()
    return best
