"""The names of everything that is logged, in one table.

Probes are fitted on latents of training inputs as they come (the bank) and asked about validation inputs moved by
random group elements, unless the name says upright.
"""

from __future__ import annotations

SCORES = {
    "raw/knn": "kNN score of raw latents on moved inputs",
    "invariant/knn": "kNN score of projected latents on moved inputs",
    "upright/knn": "kNN score of raw latents on inputs as they come: what raw latents could give",
    "gap/knn": "invariant/knn minus raw/knn",
    "raw/linear": "ridge score of raw latents on moved inputs",
    "invariant/linear": "ridge score of projected latents on moved inputs",
    "upright/linear": "ridge score of raw latents on inputs as they come",
    "gap/linear": "invariant/linear minus raw/linear",
}
"""Accuracy from 0 to 1 for integer labels, R² for floating ones; logged where labels are found."""

ERRORS = {
    "raw/error": "invariance error of raw latents, 0 is invariant, about 1 is like another sample",
    "invariant/error": "invariance error of projected latents",
    "equivariance/error": "error of the layer against the declared representation, 0 is equivariant",
}
"""Relative to the mean distance between different samples."""

COSTS = {
    "invariant/problems": "findings so far that a user should act on",
    "invariant/seconds": "wall time of this report, in seconds",
    "invariant/overhead": "wall time of monitoring over that of the training itself so far; 0 outside of a training",
}

METRICS = SCORES | ERRORS | COSTS
