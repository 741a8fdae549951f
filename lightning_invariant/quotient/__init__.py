"""Geometry of latents modulo a group: distances, alignment, shortest paths, means, components, cross sections.

    from lightning_invariant import quotient
    quotient.distance(z, w, "C8: 64 regular")

Everything takes latents as a layer gives them and the representation that acts on them.
"""

from lightning_invariant.quotient.alignment import Alignment, Path, align, path
from lightning_invariant.quotient.distances import Bounds, bounds, distance, is_exact, sampled_distance
from lightning_invariant.quotient.frechet_mean import Mean, mean
from lightning_invariant.quotient.sections import section
from lightning_invariant.quotient.tangent_pca import QuotientPCA, pca

__all__ = [
    "Alignment",
    "Bounds",
    "Mean",
    "Path",
    "QuotientPCA",
    "align",
    "bounds",
    "distance",
    "is_exact",
    "mean",
    "path",
    "pca",
    "sampled_distance",
    "section",
]
