"""The names of all numbers of an evaluation: what each means, and which direction is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lightning_invariant.probes import DEFAULT_PROBES, parse_probes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lightning_invariant.probes import Probe


@dataclass(frozen=True)
class Name:
    """One number.

    Args:
        text: What it is.
        better: Which direction is better; empty where neither is.
    """

    text: str
    better: Literal["higher", "lower", ""] = ""


SCORES = {
    "": Name("score of the projected latents of transformed inputs", "higher"),
    "_raw": Name("score of the raw latents of transformed inputs: what you would get today", "higher"),
    "_gap": Name("the first minus the second: what the projection gains", "higher"),
}
SCORE_DETAILS = {
    "_gap_lower": Name("lower end of the gap's 95% interval, on the same queries", "higher"),
    "_gap_upper": Name("upper end of the gap's 95% interval", "higher"),
    "_upright": Name("score of the projected latents of at most 256 of these inputs as they come", "higher"),
    "_upright_raw": Name("score of the raw latents of these inputs as they come: how much there is to win", "higher"),
}
MAE_DETAILS = {
    "_mae": Name("mean absolute error of the projected latents of transformed inputs", "lower"),
    "_mae_raw": Name("mean absolute error of the raw latents of transformed inputs", "lower"),
    "_upright_mae": Name("mean absolute error of the projected latents of inputs as they come", "lower"),
    "_upright_mae_raw": Name("mean absolute error of the raw latents of inputs as they come", "lower"),
}
"""Only where labels are values.

Each name stands behind that of a probe, such as "knn_raw". Scores are accuracy for classes, R² for values, and mean
average precision for several labels a sample. Every sample is predicted from all others, without its own group.
"""
HEADLINES = {
    "error": Name("invariance error of the features: 0 is invariant, about 1 is like another sample", "lower"),
    "error_raw": Name("invariance error of the raw latents", "lower"),
    "equivariance_error": Name("error of the layer against the declared representation: 0 is equivariant", "lower"),
    "findings": Name("findings so far that a user should act on", "lower"),
    "overhead": Name("time of monitoring over the time of the training itself", "lower"),
    "queries": Name("samples that were transformed"),
}
RESIDUALS = (1, 2, 4, 8, 16, 32, 64)
"""Numbers of sampled transforms whose features are compared."""
DETAILS = {
    "equivariance_worst": Name("error of the element, or class of elements, where it is largest", "lower"),
    "equivariance_held": Name(
        "share of elements, or classes of elements, for which the layer is equivariant", "higher"
    ),
    "action_error": Name("what transforming an input there and back changes; 0 for exact actions", "lower"),
    "retrieval": Name(
        "share of transformed samples whose features find their own sample before all others and all hard negatives",
        "higher",
    ),
    "retrieval_raw": Name("the same of raw latents", "higher"),
    "hard_negatives": Name("distance to latents whose channels were transformed apart; 0 is not told apart", "higher"),
    "spearman": Name("rank correlation of distances between features with distances between orbits", "higher"),
    "spearman_raw": Name("the same of distances between raw latents", "higher"),
    "distortion": Name("99th over 1st percentile of feature distance over orbit distance; 1 is isometric", "lower"),
    "rank": Name("effective rank of the features: how many dimensions they use", "higher"),
    "rank_raw": Name("effective rank of the raw latents", "higher"),
    "collapse": Name("share of the features' variance along one direction, after centring; 1 is collapsed", "lower"),
    "collapse_raw": Name("the same of raw latents", "lower"),
    "pose": Name("how well features tell by which element the input was transformed; 0 is chance", "lower"),
    "pose_raw": Name("the same of raw latents"),
    **{
        f"residual_{count}": Name(
            f"where transforms are sampled: distance of features of two draws of {count} of one input, over that of "
            "different inputs",
            "lower",
        )
        for count in RESIDUALS
    },
    "bank": Name("samples that the probes know"),
    "seconds": Name("wall time of this report, in seconds", "lower"),
}
MEASURED = ("findings", "overhead", "seconds")
"""Names that the callback measures, not `evaluate`."""


def names(probes: Iterable[Probe | str] = DEFAULT_PROBES) -> dict[str, Name]:
    """Return every name that can be logged, headlines first.

    Args:
        probes: The probes that are fitted.

    Example:
        >>> names(["knn"])["knn_gap"].better
        'higher'
    """
    keys = [probe.key for probe in parse_probes(probes)]
    first = headlines(probes)
    scores = {f"{key}{end}": name for key in keys for end, name in (SCORES | SCORE_DETAILS | MAE_DETAILS).items()}
    table = scores | HEADLINES | DETAILS
    return {name: table[name] for name in (*first, *(name for name in table if name not in first))}


def headlines(probes: Iterable[Probe | str] = DEFAULT_PROBES) -> tuple[str, ...]:
    """At most 12 names that stand first: the scores and gaps of the first two probes, errors and costs.

    Example:
        >>> headlines()[:3]
        ('knn', 'knn_raw', 'knn_gap')
    """
    keys = [probe.key for probe in parse_probes(probes)][:2]
    return (*(f"{key}{end}" for key in keys for end in SCORES), *HEADLINES)
