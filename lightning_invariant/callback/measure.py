"""From evidence to numbers: probes, errors and health of raw and projected latents side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.callback.health import equivariance_health, feature_health, orbit_health
from lightning_invariant.callback.names import CEILING, WORST
from lightning_invariant.callback.scores import probe_scores
from lightning_invariant.errors import LatentError
from lightning_invariant.probes import DEFAULT_PROBES, ProbeName

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_invariant.callback.evidence import Evidence
    from lightning_invariant.projections.projection import Projection


@dataclass(frozen=True)
class Measurement:
    """What a report says and shows.

    Args:
        numbers: Name of `names.METRICS` to a finite value, dimensionless.
        raw: The latents that were measured.
        invariant: The same, projected.
        elements: Equivariance error of each group element or class of elements.
        tolerance: Largest equivariance error that counts as holding.
    """

    numbers: Mapping[str, float]
    raw: Evidence
    invariant: Evidence
    elements: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.0


def measure(
    evidence: Evidence,
    projection: Projection,
    *,
    neighbours: int,
    probes: Sequence[ProbeName] = DEFAULT_PROBES,
    seed: int = 0,
) -> Measurement:
    """Every number of `names`: scores where there are labels, errors, and health.

    Args:
        evidence: Latents and labels; rows finite.
        projection: On the latents' device.
        neighbours: k of the nearest-neighbour probes; at most the bank is used.
        probes: Which probes are fitted.
        seed: Of hard negatives and intervals.

    Raises:
        LatentError: Fewer than two queries or an empty bank.
    """
    if len(evidence.queries) < 2 or len(evidence.bank) < 1:
        raise LatentError(
            f"Expected at least 2 queries and 1 bank row with finite latents but got {len(evidence.queries)} and "
            f"{len(evidence.bank)}; look for NaN in the layer, or validate on more samples."
        )
    features = projected(evidence, projection)
    numbers = probe_scores(evidence, features, probes, neighbours, seed)
    few, few_features = evidence.few(), features.few()
    layer, elements, tolerance = equivariance_health(few, projection.representation)
    numbers |= layer
    for name, part in (("raw", few), ("invariant", few_features)):
        numbers |= {f"{name}/{key}": value for key, value in feature_health(part, projection).items()}
    numbers |= orbit_health(few, few_features, projection, seed)
    bounded = {name: bounded_number(name, float(value)) for name, value in numbers.items()}
    return Measurement(bounded, evidence, features, elements, tolerance)


def projected(evidence: Evidence, projection: Projection) -> Evidence:
    """The evidence with features in place of latents."""
    names = ("bank", "queries", "moved")
    return replace(evidence, **{name: project(projection, getattr(evidence, name)) for name in names})


def project(projection: Projection, z: Tensor, chunk: int = 1024) -> Tensor:
    """Features in bounded memory."""
    with torch.no_grad():
        return torch.cat([projection(rows) for rows in z.split(chunk)]) if len(z) else projection(z)


def bounded_number(name: str, value: float) -> float:
    """A value that can be logged: infinities become 1000, and what is no number the worst value."""
    if math.isnan(value):
        return WORST.get(name, 0.0)
    return max(-CEILING, min(CEILING, value))
