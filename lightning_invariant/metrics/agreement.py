"""How well distances between features agree with distances between orbits."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Distortion(NamedTuple):
    """Ratios of feature distance over orbit distance.

    Args:
        low: Their 1st percentile.
        high: Their 99th percentile.
        smallest: Their minimum.
        largest: Their maximum.
    """

    low: float
    high: float
    smallest: float
    largest: float

    @property
    def percentiles(self) -> float:
        """High / low: distortion without the rarest pairs; infinite if low is 0."""
        return self.high / self.low if self.low > 0 else float("inf")

    @property
    def extremes(self) -> float:
        """Largest / smallest: the measured distortion, a lower bound on the true one; infinite if smallest is 0."""
        return self.largest / self.smallest if self.smallest > 0 else float("inf")


def distortion(features: Float[Tensor, "B K"], orbit_distances: Float[Tensor, "B B"]) -> Distortion:
    """Measure how unevenly a map stretches the distances between orbits.

    Args:
        features: Invariant features.
        orbit_distances: Of the same samples, all pairs.

    Returns:
        Statistics over the pairs i < j of different orbits.

    Raises:
        ValueError: Shapes that do not fit, or no pair of different orbits.

    Example:
        >>> z = torch.tensor([[0.0], [1.0], [3.0]])
        >>> distortion(2 * z, torch.cdist(z, z)).extremes
        1.0
    """
    near, far = _pairs(features, orbit_distances)
    apart = far > 1e-6 * far.mean()
    if not apart.any():
        raise ValueError("Expected samples of different orbits but all orbit distances are zero.")
    ratios = near[apart] / far[apart]
    low, high = torch.quantile(_at_most(ratios), torch.tensor([0.01, 0.99], dtype=ratios.dtype, device=ratios.device))
    return Distortion(low.item(), high.item(), ratios.min().item(), ratios.max().item())


def distance_spearman(features: Float[Tensor, "B K"], orbit_distances: Float[Tensor, "B B"]) -> float:
    """Return the rank correlation of feature distances with orbit distances over all pairs, in [-1, 1].

    Raises:
        ValueError: Shapes that do not fit.
    """
    return spearman(*_pairs(features, orbit_distances))


def spearman(a: Float[Tensor, "N"], b: Float[Tensor, "N"]) -> float:
    """Return the rank correlation, ties at their mean rank, in [-1, 1]; 0 if one side is constant.

    Raises:
        ValueError: Different or fewer than 2 numbers.

    Example:
        >>> round(spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 9.0])), 6)
        1.0
    """
    if a.shape != b.shape or a.dim() != 1 or len(a) < 2:
        raise ValueError(
            f"Expected two equally long rows of at least 2 values but got {tuple(a.shape)} and {tuple(b.shape)}; "
            "give 3 samples or more, whose pairs can be ranked."
        )
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    scale = (x.norm() * y.norm()).item()
    return (x @ y).item() / scale if scale > 0 else 0.0


def _ranks(a: Tensor) -> Tensor:
    _, inverse, counts = a.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[inverse]


def _pairs(features: Tensor, orbit_distances: Tensor) -> tuple[Tensor, Tensor]:
    count = len(features)
    if features.dim() != 2 or orbit_distances.shape != (count, count) or count < 2:
        raise ValueError(
            f"Expected features (B, K) and orbit distances (B, B) of at least 2 samples but got "
            f"{tuple(features.shape)} and {tuple(orbit_distances.shape)}."
        )
    rows, columns = torch.triu_indices(count, count, offset=1, device=features.device)
    near = torch.nn.functional.pdist(features.double())
    return near, orbit_distances.to(features.device).double()[rows, columns]


def _at_most(values: Tensor, limit: int = 2**23) -> Tensor:
    # torch.quantile refuses more than 2^24 numbers; equally spaced order statistics keep the percentiles.
    return values if len(values) <= limit else values.sort().values[:: len(values) // limit + 1]
