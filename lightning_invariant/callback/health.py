"""Health of a layer and of its features on a few hundred samples: equivariance, invariance, separation, rank, pose."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Representation
from lightning_invariant.metrics import (
    collapse,
    distance_spearman,
    distortion,
    effective_rank,
    equivariance_error,
    equivariance_errors,
    hard_negatives,
    has_hard_negatives,
    invariance_error,
    orbit_distance,
    orbit_retrieval,
    relative_distance,
)
from lightning_invariant.metrics.orbit_rules import LISTED, largest_product_rule
from lightning_invariant.probes.pose import LEAST, pose_skill

if TYPE_CHECKING:
    from lightning_invariant.callback.evidence import Evidence
    from lightning_invariant.projections.projection import Projection

HELD = 0.05
"""Equivariance error up to which an element counts as held, where the action moves inputs exactly."""
EXCUSED = 0.3
"""Most that interpolation of the inputs can excuse."""
LISTED_ROWS, PAIRED_ROWS, SEARCHED_ROWS = 128, 48, 8
"""Latents between which orbit distances are taken: where elements are listed, solved pair by pair, searched."""


def equivariance_health(
    few: Evidence, representation: Representation
) -> tuple[dict[str, float], dict[str, float], float]:
    """The layer against what was declared.

    Returns:
        Numbers; the error of each element or class of elements; the error up to which one counts as held.
    """
    elements = equivariance_errors(few.moved, few.queries, representation, few.elements)
    tolerance = max(HELD, min(few.action_error, EXCUSED))
    numbers = {
        "equivariance/error": equivariance_error(few.moved, few.queries, representation, few.elements),
        "equivariance/worst": max(elements.values()),
        "equivariance/held": sum(error <= tolerance for error in elements.values()) / len(elements),
        "action/error": few.action_error,
    }
    return numbers, elements, tolerance


def feature_health(few: Evidence, projection: Projection) -> dict[str, float]:
    """Invariance error, rank, collapse and pose of latents or features."""
    numbers = {
        "error": invariance_error(few.moved, few.queries),
        "rank": effective_rank(few.queries),
        "collapse": collapse(few.queries),
    }
    if len(few.moved) >= LEAST:
        numbers["pose"] = pose_skill(few.moved, projection.representation.group, few.elements).skill
    return numbers


def orbit_health(few: Evidence, features: Evidence, projection: Projection, seed: int) -> dict[str, float]:
    """How well distances between features agree with distances between orbits, hard negatives included."""
    representation, generator = projection.representation, torch.Generator().manual_seed(seed)
    numbers: dict[str, float] = {}
    apart = hard_negatives(few.queries, representation, generator) if has_hard_negatives(representation) else None
    with torch.no_grad():
        negatives = None if apart is None else projection(apart)
    numbers["raw/retrieval"] = orbit_retrieval(few.moved, few.queries, apart)
    numbers["invariant/retrieval"] = orbit_retrieval(features.moved, features.queries, negatives)
    if negatives is not None:
        numbers["invariant/hard_negatives"] = relative_distance(negatives, features.queries)
    rows = _affordable(representation)
    z, f = few.queries[:rows], features.queries[:rows]
    far = orbit_distance(z, z, representation, pairwise=True, generator=generator)
    numbers["raw/spearman"] = distance_spearman(z, far)
    numbers["invariant/spearman"] = distance_spearman(f, far)
    if bool((far > 0).any()):
        numbers["invariant/distortion"] = distortion(f, far).percentiles
    return numbers


def _affordable(representation: Representation) -> int:
    rule = largest_product_rule(representation, None)
    return LISTED_ROWS if rule.name == LISTED else PAIRED_ROWS if rule.exact else SEARCHED_ROWS
