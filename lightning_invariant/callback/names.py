"""The names of everything that is logged, in one table.

Probes are fitted on latents of training inputs as they come (the bank) and asked about validation inputs moved by
random group elements, unless the name says upright. `<probe>` is one of the probes that the callback was given, "knn"
and "linear" by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.probes import DEFAULT_PROBES

if TYPE_CHECKING:
    from collections.abc import Iterable

SCORE_TABLE = {
    "raw/<probe>": "raw latents on moved inputs: what you would get today",
    "invariant/<probe>": "projected latents on moved inputs",
    "upright/<probe>": "raw latents on inputs as they come: how much there is to win",
    "upright/invariant/<probe>": "projected latents on inputs as they come",
    "gap/<probe>": "invariant/<probe> minus raw/<probe>",
    "gap/<probe>_lower": "lower end of the gap's 95% interval, on the same queries",
    "gap/<probe>_upper": "its upper end",
}
"""Accuracy from 0 to 1 for integer labels, R² for floating ones, mean average precision for several labels a sample."""

MAE = "_mae"
"""Behind raw/<probe>, invariant/<probe> and the two upright names: mean absolute error of floating labels."""


def score_names(probes: Iterable[str]) -> dict[str, str]:
    """The table of scores for some probes: name to meaning."""
    return {name.replace("<probe>", probe): text for probe in probes for name, text in SCORE_TABLE.items()}


SCORES = score_names(DEFAULT_PROBES)
"""The scores of the default probes; logged where labels are found."""

ERRORS = {
    "raw/error": "invariance error of raw latents, 0 is invariant, about 1 is like another sample",
    "invariant/error": "invariance error of projected latents",
    "equivariance/error": "error of the layer against the declared representation, 0 is equivariant",
    "equivariance/worst": "the same for the group element, or class of elements, where it is largest",
}
"""Relative to the mean distance between different samples."""

HEALTH = {
    "equivariance/held": "share of group elements for which the layer is equivariant, 1 is all",
    "action/error": "what moving an input there and back by interpolation changes, 0 for exact actions",
    "raw/retrieval": "share of moved samples whose raw latent finds its own before all others and all hard negatives",
    "invariant/retrieval": "the same of projected latents",
    "invariant/hard_negatives": "distance to latents whose channels were moved apart, 0 is not told apart",
    "raw/spearman": "rank correlation of distances between raw latents with distances between orbits",
    "invariant/spearman": "the same of projected latents",
    "invariant/distortion": "99th over 1st percentile of feature distance over orbit distance, 1 is isometric",
    "raw/rank": "effective rank of raw latents: how many dimensions they use",
    "invariant/rank": "the same of projected latents",
    "raw/collapse": "share of raw latents that is one common point, 1 if all are equal",
    "invariant/collapse": "the same of projected latents",
    "raw/pose": "how well raw latents tell by which element the input was moved, 0 is chance, 1 is always right",
    "invariant/pose": "the same of projected latents: at 0 when they are invariant",
}
"""Measured on at most a few hundred validation samples; a name is left out where nothing can be measured."""

COSTS = {
    "invariant/problems": "findings so far that a user should act on",
    "invariant/seconds": "wall time of this report, in seconds",
    "invariant/overhead": "wall time of monitoring over that of the training itself so far; 0 outside of a training",
}

METRICS = SCORES | ERRORS | HEALTH | COSTS

CEILING = 1e3
"""Logged in place of an infinite error or distortion, since a logged infinity stops EarlyStopping."""

WORST = (
    dict.fromkeys(HEALTH, 0.0)
    | dict.fromkeys((*ERRORS, "raw/collapse", "invariant/collapse", "raw/pose", "invariant/pose", "action/error"), 1.0)
    | {"invariant/distortion": CEILING}
)
"""Logged in place of a number that could not be had, if it was never had before."""


def stand_in(name: str, probes: Iterable[str]) -> float | None:
    """What is logged for a number of ours that somebody monitors and that could not be had: the worst value.

    Args:
        name: Without the callback's prefix; a loader's suffix does not matter.
        probes: Those that the callback was given.

    Returns:
        A finite value, or None for a name that is not ours.
    """
    plain = name.split("_dataloader_")[0]
    if plain.removesuffix(MAE) in score_names(probes):
        return CEILING if plain.endswith(MAE) else 0.0
    return WORST.get(plain)
