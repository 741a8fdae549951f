"""What an evaluation means for the user: findings in plain words, each with a remedy.

A finding claims only what was checked, and says what was tried.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from lightning_invariant.errors import InvariantError
from lightning_invariant.evaluation.evaluate import FEW, project
from lightning_invariant.evaluation.find import INTERPOLATED, find_representation
from lightning_invariant.groups import FiniteGroup
from lightning_invariant.groups.field_maps import FieldMap
from lightning_invariant.metrics import (
    better_fits,
    fits_tried,
    hard_negative_ratio,
    holding_subgroup,
    mean_distance,
    subgroup_fits,
)
from lightning_invariant.metrics.elements import LISTED
from lightning_invariant.probes import KNN, Logistic, pose_skill
from lightning_invariant.projections import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning_invariant.evaluation.evaluate import Evaluation
    from lightning_invariant.groups import Representation
    from lightning_invariant.projections import Projection

COLLAPSED = 0.99
"""Share of the variance along one direction from which on latents count as collapsed."""
ENOUGH = 128
"""Samples below which leave-one-out scores are wrong by more than their interval says."""
TWINS = 1e-5
"""Latents nearer than this share of the distance between samples are copies up to rounding."""
ROUGHLY = 0.6
"""Equivariance error up to which a layer counts as meant to be equivariant, so that its strides are looked at."""
MERGED, APART = 0.01, 0.1
"""Features closer than this share of the distance between samples are merged, latents farther than that are not."""
RESIDUAL = 0.1
"""Distance between features of two draws of transforms, over that between inputs, from which on it is worth a word."""
SOUGHT, CLEARLY = 256, 0.5
"""Largest latents in which a representation is looked for, and most of the declared one's error that it may have."""
LEAKS = 0.1
"""Skill of the pose probe from which on it is worth a word, if noise does not reach it."""


class Finding(NamedTuple):
    """One thing that a user should act on.

    Args:
        key: What it is about; the same at every evaluation.
        text: What was found and what to do.
    """

    key: str
    text: str


@torch.no_grad()
def findings(
    evaluation: Evaluation,
    projection: Projection,
    layer: str,
    network: nn.Module | None = None,
    *,
    pooled: bool = False,
) -> list[Finding]:
    """Everything that a user should act on; empty where all is well.

    Args:
        evaluation: What was measured with the projection.
        projection: The invariant map.
        layer: Name of the layer that gave the latents.
        network: Looked through for strides that break rotations of images; None to leave that out.
        pooled: Whether the layer gives positions that were pooled, so that remedies have to keep them.
    """
    sources = {
        "samples": lambda: _samples(evaluation, layer),
        "labels": lambda: _labels(evaluation),
        "collapse": lambda: _collapse(evaluation, layer),
        "equivariance": lambda: _layer(evaluation, projection, layer, network, pooled=pooled),
        "samples of transforms": lambda: _residual(evaluation, projection),
        "pose": lambda: _pose(evaluation, projection),
        "separation": lambda: _separation(evaluation, projection),
    }
    found: list[Finding] = []
    for key, source in sources.items():
        try:
            found += source()
        except Exception as error:  # what cannot be looked at must not hide what was found
            text = f"{key} could not be looked at: {type(error).__name__}: {error}. Please report this as a bug."
            found.append(Finding(f"{key} failed", text))
    return found


def repeats_training(share: float) -> Finding:
    """Return what to say when validation repeats inputs of the training set.

    Args:
        share: Share of the validation samples that are training samples too.
    """
    return Finding(
        "repeats training",
        f"{share:.0%} of the validation inputs are training inputs too. The network was fitted to their labels, so "
        "that scores say how well they were learned, not how new inputs would do; nearest neighbours suffer most. "
        "Validate on inputs that are not trained on.",
    )


def _samples(evaluation: Evaluation, layer: str) -> Iterator[Finding]:
    count = len(evaluation.latents.bank)
    if evaluation.dropped:
        yield Finding(
            "not finite",
            f"latents of {layer!r} hold NaN or infinity for {evaluation.dropped} of {count + evaluation.dropped} "
            "samples, which were left out. Look for divisions by zero, logarithms and overflow in the layers before "
            "it; torch.autograd.set_detect_anomaly(True) names the operation.",
        )
    if count < ENOUGH:
        yield Finding(
            "few samples",
            f"only {count} samples were measured. Below {ENOUGH}, leave-one-out scores and gaps can be wrong by more "
            f"than their interval says. Validate on at least {ENOUGH} samples.",
        )
    copies = _twins(evaluation)
    if copies:
        yield Finding(
            "twins",
            f"{copies} of {count} samples have a latent that another sample has too, up to rounding: most likely the "
            "same input is in the validation set more than once. A probe that knows the copy cannot fail, which hides "
            "most of a gap. Remove the copies, or give all copies of an input one group (groups=).",
        )


def _twins(evaluation: Evaluation) -> int:
    """Samples with a copy in another group, found side by side in the order of a random projection."""
    z = evaluation.latents.bank
    if evaluation.numbers.get("rank_raw", 1.0) == 0 or len(z) < 2:
        return 0
    groups = evaluation.latents.groups
    groups = torch.arange(len(z), device=z.device) if groups is None else groups.to(z.device)
    direction = torch.randn(z.shape[1], generator=torch.Generator().manual_seed(evaluation.seed)).to(z)
    order = ((z - z.mean(0)) @ direction).argsort(stable=True)
    limit, copied = TWINS * mean_distance(z), torch.zeros(len(z), dtype=torch.bool, device=z.device)
    for step in (1, 2):
        one, other = order[:-step], order[step:]
        near = ((z[one] - z[other]).norm(dim=1) <= limit) & (groups[one] != groups[other])
        copied[one[near]] = copied[other[near]] = True
    return int(copied.sum())


def _labels(evaluation: Evaluation) -> Iterator[Finding]:
    labels, latents = evaluation.labels, evaluation.latents
    if labels is None:
        if latents.labels is not None:
            key = evaluation.probes[0].key
            reason = evaluation.missing.get(f"{key}_upright", "")
            yield Finding("labels", f"no probe was scored: {reason}. Name the labels that should be predicted.")
        return
    if labels.kind == "values" and any(isinstance(probe, Logistic) for probe in evaluation.probes):
        yield Finding(
            "logistic", "labels are values, on which logistic regression has no score; use the probe 'linear' instead."
        )
    if labels.lonely:
        many = len(labels.lonely)
        listed = ", ".join(map(str, labels.lonely[:5])) + (", ..." if many > 5 else "")
        yield Finding(
            "lonely classes",
            f"{many} {'class has' if many == 1 else 'classes have'} samples of a single group only ({listed}) and "
            f"{'was' if many == 1 else 'were'} left out of the scores, since without that group nothing is known of "
            "it. Validate on more samples of it.",
        )
    ks = [probe.k for probe in evaluation.probes if isinstance(probe, KNN)]
    if labels.smallest is not None and ks and labels.smallest <= max(ks):
        yield Finding(
            "rare classes",
            f"the rarest class has {labels.smallest} samples, too few for {max(ks)} nearest neighbours: without "
            "the sample itself, other classes outvote it wherever they are near. Validate on at least "
            f"{max(ks) + 1} samples a class, or give probes=[KNN(k={max(1, labels.smallest - 1)}), ...].",
        )


def _collapse(evaluation: Evaluation, layer: str) -> Iterator[Finding]:
    size = evaluation.latents.bank.shape[1]
    share, rank = evaluation.numbers.get("collapse_raw"), evaluation.numbers.get("rank_raw")
    if share is None or rank is None or (size == 1 and rank > 0) or (share < COLLAPSED and rank > 0):
        return
    what = "all latents are equal up to rounding" if rank == 0 else f"{share:.1%} of their variance is along one line"
    yield Finding(
        "collapse",
        f"latents of {layer!r} have collapsed: {what}. The cause was not looked for; usual ones are a "
        "self-supervised loss without negatives, stop-gradient or variance term, a learning rate that is too high, and "
        "dead activations before the layer.",
    )


def _layer(
    evaluation: Evaluation, projection: Projection, layer: str, network: nn.Module | None, *, pooled: bool
) -> Iterator[Finding]:
    error, worst = (evaluation.numbers.get(f"equivariance_{name}") for name in ("error", "worst"))
    if error is None or worst is None or max(error, worst) <= evaluation.tolerance:
        return
    declared = projection.representation
    start = (
        f"latents of {layer!r} do not transform as '{declared}' says (equivariance error {error:.2g}, up to "
        f"{evaluation.tolerance:.2g} counts as equivariant)"
    )
    yield Finding("equivariance", start + _misfit(evaluation, projection, layer, network, pooled=pooled))


def _misfit(
    evaluation: Evaluation, projection: Projection, layer: str, network: nn.Module | None, *, pooled: bool
) -> str:
    declared = projection.representation
    few = evaluation.latents.asked(torch.arange(min(len(evaluation.latents.own), FEW)))
    assert few.transformed is not None
    assert few.elements is not None
    evidence = (few.transformed, few.still, declared, few.elements)
    fits = better_fits(*evidence, pooled=pooled)
    if fits and fits[0].error <= evaluation.tolerance:
        return f"; {fits[0].words} fits (error {fits[0].error:.2g}): declare it, or change the layer."
    part = _subgroup(evaluation, projection)
    if layer.startswith("OrbitLayer("):
        exact = f" It holds for {part}, so '{part}' in its place is exact." if part is not None else ""
        return (
            "; an orbit layer is equivariant by construction, so this is what interpolation of its inputs leaves "
            f"(there and back it changes them by {evaluation.latents.action_error or 0.0:.2g}).{exact} "
            f"{_per_element(evaluation)}"
        )
    inside = subgroup_fits(*evidence, evaluation.tolerance, part=part, pooled=pooled)
    smaller = "" if not inside else f"{inside[0].words} fits its elements (error {inside[0].error:.2g}): declare it"
    if part is not None:
        remedy = f"{smaller}," if smaller else f"Declare how {part} acts on the latents,"
        return (
            f": declared is {declared.group}, it holds for {part}. {_per_element(evaluation)} {remedy} or change the "
            f"layers that are equivariant under {part} only."
        )
    if smaller:
        part = inside[0].representation.split(":")[0]
        return f"; it holds for the part {part} of {declared.group} alone: {smaller}, or change the layer."
    kinds, changes = fits_tried(declared)
    tried = ", ".join(f"'{kind}'" for kind in kinds) + (f"; where it applies {', '.join(changes)}" if changes else "")
    nearest = f", the nearest {fits[0].words} with error {fits[0].error:.2g}" if fits else ""
    text = f"; none of those tried fits ({tried}){nearest}.{_found(evaluation, declared)}"
    strides = _strides(evaluation, network)
    if strides and evaluation.numbers["equivariance_error"] <= ROUGHLY:
        text += (
            f" Worth a look: {', '.join(strides[:3])} would sample other pixels of a rotated image if its input has "
            "the size of the network's input. Choose sizes with size + 2 padding - kernel divisible by the stride, or "
            "pool whole blocks."
        )
    return (
        f"{text} {_per_element(evaluation)} To find where the symmetry is lost, give an earlier layer as layer= with "
        f"its representation: the first with a large error loses it. {_orbit(declared, layer)}Until then invariant "
        "features are not invariant."
    )


def _orbit(declared: Representation, layer: str) -> str:
    """How an encoder that is not equivariant is made so."""
    group = declared.group
    if not isinstance(group, FiniteGroup) or group.order > LISTED:
        return ""
    if any(isinstance(block, FieldMap) for block in declared):
        return ""
    return (
        f"To make an equivariant latent of any encoder's, by encoding each input under all of {group}, give "
        f"layer=OrbitLayer({layer!r}, '{group}') with '{group}: {declared.size} regular'. "
    )


def _found(evaluation: Evaluation, declared: Representation) -> str:
    """What `find_representation` says of the same latents, if that is clearly better than what was declared."""
    latents = evaluation.latents
    if latents.bank.shape[1] > SOUGHT or latents.transformed is None or latents.elements is None:
        return ""
    tolerance = INTERPOLATED if (latents.action_error or 0.0) > 0 else None
    pairs = latents.still, latents.transformed
    try:
        found = find_representation(*pairs, declared.group, latents.elements, tolerance=tolerance, seed=evaluation.seed)
    except InvariantError:  # too few samples of one element, or a group that is not searched
        return ""
    if found.representation is None or found.errors.found > CLEARLY * evaluation.numbers["equivariance_error"]:
        return ""
    return (
        f" find_representation finds {found}: with '{declared.group}: find' as representation the projection acts "
        "on that."
    )


def _subgroup(evaluation: Evaluation, projection: Projection) -> str | None:
    """The part of the group that holds, if it is more than the identity."""
    group = projection.representation.group
    if not isinstance(group, FiniteGroup) or group.order > LISTED:
        return None
    name = holding_subgroup(evaluation.elements, group, evaluation.tolerance)
    return None if name in ("the identity only", str(group)) else name


def _per_element(evaluation: Evaluation) -> str:
    worst = sorted(evaluation.elements.items(), key=lambda item: -item[1])[:4]
    return f"Largest errors: {', '.join(f'{name}: {error:.2g}' for name, error in worst)}."


def _residual(evaluation: Evaluation, projection: Projection) -> Iterator[Finding]:
    """Features of sampled transforms that still depend much on which were drawn."""
    draws, error = evaluation.latents.draws, evaluation.numbers.get("error")
    if draws is None or error is None or error <= RESIDUAL:
        return
    count, declared = draws.shape[2], projection.representation
    needed = 2 ** math.ceil(math.log2(count * (error / RESIDUAL) ** 2))
    at_one = evaluation.numbers.get("residual_1", error)
    yield Finding(
        "residual",
        f"features of two draws of {count} transforms of one input lie {error:.2g} of the distance between inputs "
        f"apart ({at_one:.2g} for one transform). If that falls with the root of their number, {needed} bring it to "
        f"about {RESIDUAL:g}: projection={type(projection).__name__}('{declared}', samples={needed}). Training with "
        "the same transforms lowers it too.",
    )


def _pose(evaluation: Evaluation, projection: Projection) -> Iterator[Finding]:
    features, latents = evaluation.transformed_features, evaluation.latents
    skill = evaluation.numbers.get("pose", 0.0)
    if features is None or latents.elements is None or skill < LEAKS:
        return
    rows = torch.linspace(0, len(features) - 1, min(len(features), FEW)).round().long()
    found = pose_skill(features[rows.to(features.device)], projection.representation.group, latents.elements[rows])
    if found.skill <= max(LEAKS, found.noise):
        return
    start = f"projected features tell by which element an input was transformed (skill {skill:.2g}, 0 is chance)"
    error, action = evaluation.numbers.get("equivariance_error", 0.0), latents.action_error or 0.0
    if max(error, evaluation.numbers.get("equivariance_worst", 0.0)) > evaluation.tolerance:
        yield Finding("pose", f"{start}; the layer is not equivariant as declared, so its error can carry that.")
        return
    cause = (
        f"Transforming inputs there and back changes them by {action:.2g} of their length, so interpolation takes "
        "part: elements that act exactly, such as those of C4 on square images, show what is left without it."
        if action > 1e-3
        else "Inputs are transformed exactly, so it comes from the layers: lower their equivariance error."
    )
    yield Finding("pose", f"{start}, though the layer counts as equivariant (error {error:.2g}). {cause}")


def _separation(evaluation: Evaluation, projection: Projection) -> Iterator[Finding]:
    ratio = evaluation.numbers.get("hard_negatives")
    if ratio is None or ratio > MERGED:
        return
    z, representation = evaluation.latents.bank[:FEW], projection.representation
    raw = hard_negative_ratio(lambda rows: rows, z, representation, _generator(evaluation))
    if raw is None or raw <= APART:
        return
    name, remedy = type(projection).__name__, ""
    try:
        better = choose(representation).to(z)
        apart = hard_negative_ratio(lambda rows: project(better, rows), z, representation, _generator(evaluation))
        if apart is not None and apart > MERGED:
            remedy = (
                f" {type(better).__name__}, which is taken if projection= is left out, keeps them {apart:.2g} apart."
            )
    except InvariantError:
        remedy = ""
    yield Finding(
        "separation",
        f"{name} merges latents that no group element relates: with channels transformed apart, features differ by "
        f"{ratio:.2g} of the distance between samples, raw latents by {raw:.2g}.{remedy}",
    )


def _generator(evaluation: Evaluation) -> torch.Generator:
    return torch.Generator().manual_seed(evaluation.seed)


def _strides(evaluation: Evaluation, network: nn.Module | None) -> list[str]:
    images = evaluation.latents.thumbnails
    return [] if images is None or network is None else uneven_strides(network, images.shape[-2])


def uneven_strides(network: nn.Module, height: int) -> list[str]:
    """Return names of layers that step over an input of this many pixels without ending at its border.

    A layer of kernel k, stride s and padding p samples the same pixels of a rotated image only where s divides
    height + 2 p - k. Sizes inside the network are not known here: each layer is tried with the given height.

    Args:
        network: Whose modules have `stride`, `kernel_size` and `padding`, as those of torch and escnn do.
        height: Height of the input in pixels.

    Example:
        >>> uneven_strides(nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.MaxPool2d(2)), height=8)
        ['0']
    """
    found = []
    for name, module in network.named_modules():
        kernel, stride, padding = (_last(getattr(module, key, None)) for key in ("kernel_size", "stride", "padding"))
        if stride and stride > 1 and kernel and (height + 2 * (padding or 0) - kernel) % stride:
            found.append(name)
    return found


def _last(value: Any) -> int | None:
    """The size along the last axis of a setting that may be a number or one a axis."""
    if isinstance(value, (tuple, list)) and value:
        value = value[-1]
    return value if isinstance(value, int) else None
