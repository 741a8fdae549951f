"""How good: errors, distances between orbits, separation and rank, as pure functions."""

from lightning_invariant.metrics.agreement import (
    Distortion,
    distance_spearman,
    distortion,
    spearman,
)
from lightning_invariant.metrics.certificate import Certificate
from lightning_invariant.metrics.elements import element_classes
from lightning_invariant.metrics.invariance import (
    equivariance_error,
    equivariance_errors,
    invariance_error,
    mean_distance,
)
from lightning_invariant.metrics.misfit import Fit, better_fits, fits_tried, subgroup_fits
from lightning_invariant.metrics.rank import Spectrum, collapse, effective_rank, spectrum
from lightning_invariant.metrics.separation import (
    hard_negative_ratio,
    hard_negatives,
    has_hard_negatives,
    orbit_retrieval,
    relative_distance,
)
from lightning_invariant.metrics.subgroup import holding_subgroup

__all__ = [
    "Certificate",
    "Distortion",
    "Fit",
    "Spectrum",
    "better_fits",
    "collapse",
    "distance_spearman",
    "distortion",
    "effective_rank",
    "element_classes",
    "equivariance_error",
    "equivariance_errors",
    "fits_tried",
    "hard_negative_ratio",
    "hard_negatives",
    "has_hard_negatives",
    "holding_subgroup",
    "invariance_error",
    "mean_distance",
    "orbit_retrieval",
    "relative_distance",
    "spearman",
    "spectrum",
    "subgroup_fits",
]
