"""What a measurement means for the user: findings in plain words, each with its likely remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.callback.strides import uneven_strides
from lightning_invariant.groups import FiniteGroup
from lightning_invariant.metrics import better_fits, hard_negative_ratio, holding_subgroup
from lightning_invariant.metrics.elements import LISTED
from lightning_invariant.probes import target_kind
from lightning_invariant.probes.pose import LEAST, pose_skill
from lightning_invariant.projections import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from lightning_invariant.callback.measure import Measurement
    from lightning_invariant.projections.projection import Projection

COLLAPSED = 0.99
"""Share of latents that is one common point from which on they count as collapsed: a spread of 1% of their length."""
ROUGHLY = 0.6
"""Equivariance error up to which a layer counts as meant to be equivariant, so that its strides are looked at."""
MERGED, APART = 0.01, 0.1
"""Features closer than this share of the distance between samples are merged, latents farther than that are not."""
LEAKS = 0.1
"""Skill of the pose probe from which on it is worth a word, if noise does not reach it."""


def diagnose(
    measured: Measurement, projection: Projection, network: nn.Module, layer: str
) -> Iterator[tuple[str, str]]:
    """Findings by key; nothing where all is well.

    Args:
        measured: What was measured.
        projection: The invariant map.
        network: Looked through for strides.
        layer: Name of the tapped layer.
    """
    labels = measured.raw.labels
    if "raw/logistic" in measured.numbers and labels is not None and target_kind(labels) == "values":
        yield "logistic", "labels are values, on which logistic regression has no score (0 is logged); use 'linear'."
    if measured.numbers["raw/collapse"] >= COLLAPSED or measured.numbers["raw/rank"] == 0:
        yield "collapse", _collapse(measured, layer)
        return  # nothing else can be told from one point
    if not measured.raw.simulated:
        held = measured.numbers["equivariance/error"] <= measured.tolerance
        if not (held and measured.numbers["equivariance/worst"] <= measured.tolerance):
            yield "equivariance", _misfit(measured, projection, network, layer)
        if _leaks(measured, projection):
            yield "pose", _pose(measured, held=held)
    if _merges(measured, projection):
        yield "separation", _separation(measured, projection)


def _collapse(measured: Measurement, layer: str) -> str:
    share = measured.numbers["raw/collapse"]
    return (
        f"latents of {layer!r} have collapsed: {share:.1%} of each is one common point, whatever the input. Look at "
        "the loss (self-supervised ones need negatives, a stop-gradient or a variance term), at the learning rate, and "
        "at dead activations before the layer."
    )


def _misfit(measured: Measurement, projection: Projection, network: nn.Module, layer: str) -> str:
    few, declared = measured.raw.few(), projection.representation
    error = measured.numbers["equivariance/error"]
    start = f"latents of {layer!r} do not move as '{declared}' says (equivariance error {error:.2g}, 0 is equivariant)"
    fits = better_fits(few.moved, few.queries, declared, few.elements)
    if fits and fits[0].error <= max(measured.tolerance, 0.2 * error):
        return f"{start}; {fits[0].words} fits better (error {fits[0].error:.2g}): declare it, or change the layer."
    part = _subgroup(measured, projection)
    if part is not None:
        return f"{start}: declared {declared.group}, holds for {part}. {_per_element(measured)}"
    strides = _strides(measured, network)
    if strides and error <= ROUGHLY:
        return (
            f"{start}, though roughly. Likely cause: {', '.join(strides[:3])} with a stride over an even number of "
            "pixels, so that other pixels of a turned picture are taken than of the picture (a blur before the stride "
            "only makes it smaller). Choose sizes with size + 2 padding - kernel divisible by the stride, such as odd "
            "ones, or pool whole blocks."
        )
    best = f"; best of what was tried: {fits[0].words} (error {fits[0].error:.2g})" if fits else ""
    return (
        f"{start}, and neither does any other representation of that size{best}. Something before the layer breaks the "
        "symmetry: plain convolutions or linear layers, position embeddings, padding or flattening. Until it moves as "
        f"declared, invariant features are not invariant. {_per_element(measured)}"
    )


def _subgroup(measured: Measurement, projection: Projection) -> str | None:
    """The part of the group that holds, if it is more than the identity."""
    group = projection.representation.group
    if not isinstance(group, FiniteGroup) or group.order > LISTED:
        return None
    name = holding_subgroup(measured.elements, group, measured.tolerance)
    return None if name in ("the identity only", str(group)) else name


def _per_element(measured: Measurement) -> str:
    worst = sorted(measured.elements.items(), key=lambda item: -item[1])[:4]
    listed = ", ".join(f"{name}: {error:.2g}" for name, error in worst)
    return f"Largest errors: {listed}; up to {measured.tolerance:.2g} counts as held."


def _strides(measured: Measurement, network: nn.Module) -> list[str]:
    pictures = measured.raw.thumbnails
    return [] if pictures is None else uneven_strides(network, pictures.shape[-2])


def _leaks(measured: Measurement, projection: Projection) -> bool:
    few = measured.invariant.few()
    if len(few.moved) < LEAST or measured.numbers.get("invariant/pose", 0.0) < LEAKS:
        return False
    found = pose_skill(few.moved, projection.representation.group, few.elements)
    return found.skill > max(LEAKS, found.noise)


def _pose(measured: Measurement, *, held: bool) -> str:
    skill = measured.numbers["invariant/pose"]
    start = f"projected features tell by which element an input was moved (skill {skill:.2g}, 0 is chance)"
    if held:
        return (
            f"{start}, though the layer moves as declared: interpolation or corners of moved inputs give it away. Mask "
            "pictures to a disc, or move training inputs too."
        )
    return f"{start}, since the layer does not move as declared."


def _merges(measured: Measurement, projection: Projection) -> bool:
    if measured.numbers.get("invariant/hard_negatives", 1.0) > MERGED:
        return False
    raw = hard_negative_ratio(lambda z: z, measured.raw.few().queries, projection.representation)
    return raw is not None and raw > APART


def _separation(measured: Measurement, projection: Projection) -> str:
    name, better = type(projection).__name__, type(choose(projection.representation)).__name__
    remedy = (
        f"{better}, which is taken if projection= is left out, keeps them apart"
        if better != name
        else "take more features"
    )
    return (
        f"{name} treats channels one by one and merges latents that no group element relates: with channels moved "
        f"apart, features differ by {measured.numbers['invariant/hard_negatives']:.2g} of the distance between "
        f"samples. {remedy}."
    )
