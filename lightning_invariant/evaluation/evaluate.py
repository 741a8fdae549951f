"""From latents to numbers: scores, errors and health of raw and projected latents side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.errors import LatentError
from lightning_invariant.evaluation.latents import Latents
from lightning_invariant.evaluation.names import RESIDUALS
from lightning_invariant.evaluation.scores import ScoredLabels, scored_labels
from lightning_invariant.groups import Product, Sampled
from lightning_invariant.groups.finite_blocks import Pairs
from lightning_invariant.metrics import (
    distance_spearman,
    distortion,
    hard_negatives,
    has_hard_negatives,
    orbit_retrieval,
    relative_distance,
    spectrum,
)
from lightning_invariant.metrics.invariance import element_errors, equivariance_gaps, invariance_error, relative_error
from lightning_invariant.probes import DEFAULT_PROBES, gap_interval, mae, parse_probes, pose_skill, probe_score
from lightning_invariant.quotient import distance, is_exact
from lightning_invariant.quotient.factors import large_factor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from lightning_invariant.groups import Representation
    from lightning_invariant.probes import Probe
    from lightning_invariant.projections import Projection

UNKNOWN = "transforms are known by samples only, so that nothing is said of how they act on latents"
HELD = 0.05
"""Equivariance error up to which an element counts as held, where the action transforms inputs exactly."""
EXCUSED = 0.3
"""Most that interpolation of the inputs can excuse."""
FEW = 256
"""Samples on which what costs more than the first power of their number is measured: rank, retrieval, pose."""
MOST_ROWS, PAIRED_ROWS, SEARCHED_ROWS = 128, 48, 8
"""Latents between which orbit distances are taken: where elements are listed, solved pair by pair, searched."""
LISTING_LIMIT, LISTED_COST = 4096, 2**28
"""Largest group whose elements are listed, and multiplications that listing may cost: fewer latents where it does."""
SOLVED = 30_000
"""Most pairs times elements of small factors, for each of which the large factor of a product is solved."""
CHUNK = 1024
"""Latents that are projected at one time."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Args:
        numbers: Name of `names.names` to a finite value; only what was measured.
        missing: Name to the reason why it could not be measured.
        elements: Equivariance error of each element, or class of elements; empty if not measured.
        tolerance: Largest equivariance error that counts as holding.
        latents: The finite rows that were measured.
        features: Projected latents of the bank, (N, K); None if the projection failed.
        transformed_features: Projected latents of the transformed inputs, (M, K); None if there are none.
        labels: Which samples are scored, and what was left out; None without labels.
        dropped: Samples left out because their latent holds NaN or infinity.
        probes: The probes that were fitted.
        seed: Seed of every random choice.
    """

    numbers: Mapping[str, float]
    missing: Mapping[str, str]
    elements: Mapping[str, float]
    tolerance: float
    latents: Latents
    features: Tensor | None
    transformed_features: Tensor | None
    labels: ScoredLabels | None = None
    dropped: int = 0
    probes: tuple[Probe, ...] = DEFAULT_PROBES
    seed: int = 0


@dataclass
class _Book:
    """Numbers as they are measured; what fails is noted and leaves out itself alone."""

    numbers: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def measure(self, names: str | tuple[str, ...], function: Callable[[], float | tuple[float, ...] | None]) -> None:
        """Write down what a function returns under one or several names; None is what does not apply."""
        names = (names,) if isinstance(names, str) else names
        try:
            found = function()
        except Exception as error:  # a number that fails must not take others with it
            self.miss(names, f"{type(error).__name__}: {error}")
            return
        if found is None:
            return
        for name, value in zip(names, found if isinstance(found, tuple) else (found,), strict=True):
            if math.isfinite(value):
                self.numbers[name] = float(value)
            else:
                self.missing[name] = f"it came out as {value}, which happens when latents have collapsed to one point"

    def miss(self, names: Iterable[str], reason: str) -> None:
        """Note why numbers are missing."""
        self.missing |= dict.fromkeys(names, reason)


@torch.no_grad()
def evaluate(
    latents: Latents, projection: Projection, *, probes: Iterable[Probe | str] = DEFAULT_PROBES, seed: int = 0
) -> Evaluation:
    """Measure every number of `names` that the latents allow.

    Every sample is predicted from all others: its own row of the bank, and those of its group, are left out. Nothing
    is drawn from global random state, and nothing is simulated: without latents of transformed inputs, numbers that
    need them are missing.

    Args:
        latents: What to measure, on one device.
        projection: The invariant map, on the same device.
        probes: Probes by name or as they are.
        seed: Seed of every random choice.

    Returns:
        The numbers, and the reason for each that is missing.

    Raises:
        LatentError: Fewer than two samples with finite latents, or latents that do not fit the representation.
        ValueError: An unknown probe.
    """
    probes = parse_probes(probes)
    latents, dropped = latents.finite()
    if len(latents.bank) < 2:
        raise LatentError(
            f"Expected at least 2 samples with finite latents but got {len(latents.bank)}, and {dropped} that hold NaN "
            "or infinity; look for NaN in the layer, or validate on more samples."
        )
    projection.representation.flatten(latents.bank)
    book, transformed, reason = _Book(), latents.transformed, latents.reason or "no inputs were transformed"
    if transformed is not None and len(transformed) < 2:
        reason = latents.reason or f"only {len(latents.own)} transformed samples have finite latents, and 2 are needed"
        transformed = None
    draws, sampled = latents.draws, isinstance(projection.representation.group, Sampled)
    features, failure = latents.features, ""
    if features is None:
        known = latents.bank if draws is None else draws[:, 0]
        features, failure = _projected(projection, known, single=draws is None)
    moved_features, reasons = None, {"_raw": reason, "": failure or reason}
    if transformed is not None and features is not None:
        moved_features = latents.transformed_features
        if moved_features is None:
            moved = transformed if draws is None else draws[:, 1]
            moved_features, reasons[""] = _projected(projection, moved, single=draws is None)
        else:
            reasons[""] = ""
    elements: dict[str, float] = {}
    tolerance = max(HELD, min(latents.action_error or 0.0, EXCUSED))
    sides = {"_raw": (latents.bank, transformed), "": (features, moved_features)}

    book.numbers |= {"bank": float(len(latents.bank))}
    if transformed is None:
        book.miss((f"equivariance_{name}" for name in ("error", "worst", "held")), reason)
    else:
        book.numbers["queries"] = float(len(transformed))
        if sampled:
            book.miss((f"equivariance_{name}" for name in ("error", "worst", "held")), UNKNOWN)
        else:
            book.measure("action_error", lambda: latents.action_error)
            at = latents if latents.nodes is None else latents.nodes.finite()[0]
            elements = _layer(book, at, projection.representation, tolerance)
    if draws is not None and not failure:
        _residuals(book, draws, projection)
    for side, (bank, moved) in sides.items():
        if bank is None:
            book.miss((f"rank{side}", f"collapse{side}"), failure)
        else:
            rows = _spread(len(bank), FEW, bank.device)
            book.measure((f"rank{side}", f"collapse{side}"), lambda bank=bank, rows=rows: tuple(spectrum(bank[rows])))
        if moved is None:
            book.miss((f"{name}{side}" for name in ("error", "retrieval", "pose")), reasons[side])
        else:
            _transformed(book, side, bank, moved, latents, projection, seed)
    if sampled:
        book.miss(("spearman_raw", "spearman", "distortion"), UNKNOWN)
    else:
        _orbits(book, latents, features, projection, seed, failure)
    labels = scored_labels(latents)
    for probe in probes:
        _scores(book, probe, sides, labels, reasons, failure, seed)
    return Evaluation(
        book.numbers,
        book.missing,
        elements,
        tolerance,
        latents,
        features,
        moved_features,
        labels if isinstance(labels, ScoredLabels) else None,
        dropped,
        probes,
        seed,
    )


def project(projection: Projection, z: Tensor, *, single: bool = True) -> Tensor:
    """Features in bounded memory.

    Args:
        projection: The map.
        z: Latents, one an input; or several of each, for a projection of sampled transforms.
        single: Which of both.
    """
    features = projection.single if single else projection
    return torch.cat([features(rows) for rows in z.split(CHUNK)])


def _residuals(book: _Book, draws: Tensor, projection: Projection) -> None:
    """How far features of two draws lie apart, by how many transforms each has."""
    for count in RESIDUALS:
        if count <= draws.shape[2]:
            one, other = (project(projection, draws[:, side, :count], single=False) for side in (0, 1))
            book.measure(f"residual_{count}", lambda one=one, other=other: invariance_error(other, one))


def _projected(projection: Projection, z: Tensor, *, single: bool = True) -> tuple[Tensor | None, str]:
    try:
        features = project(projection, z, single=single)
    except Exception as error:  # raw latents can be measured all the same
        return None, f"the projection failed: {type(error).__name__}: {error}"
    if not bool(features.isfinite().all()):
        return None, f"{type(projection).__name__} gave NaN or infinity for finite latents"
    return features, ""


def _layer(book: _Book, latents: Latents, representation: Representation, tolerance: float) -> dict[str, float]:
    """The layer against what was declared."""
    found: dict[str, float] = {}

    def measured() -> tuple[float, ...]:
        assert latents.elements is not None
        assert latents.transformed is not None
        gaps, scale = equivariance_gaps(latents.transformed, latents.still, representation, latents.elements)
        found.update(element_errors(gaps, scale, representation, latents.elements))
        held = sum(error <= tolerance for error in found.values()) / len(found)
        return (
            relative_error(gaps, scale),
            max(found.values()),
            held if math.isfinite(max(found.values())) else math.nan,
        )

    book.measure(("equivariance_error", "equivariance_worst", "equivariance_held"), measured)
    return {name: error for name, error in found.items() if math.isfinite(error)}


def _transformed(
    book: _Book,
    side: str,
    bank: Tensor | None,
    moved: Tensor,
    latents: Latents,
    projection: Projection,
    seed: int,
) -> None:
    """Error, retrieval and pose of latents, or of features, of transformed inputs."""
    raw, group = side == "_raw", projection.representation.group
    few = _spread(len(moved), FEW, moved.device)

    def still(rows: Tensor | slice) -> Tensor:
        if bank is not None and (latents.untransformed is None or (latents.draws is not None and not raw)):
            return bank[latents.own[rows]]
        if not raw and latents.untransformed_features is not None:
            return latents.untransformed_features[rows]
        return latents.still[rows] if raw else project(projection, latents.still[rows])

    def retrieval() -> float:
        negatives = None
        if latents.features is None and has_hard_negatives(projection.representation):
            apart = hard_negatives(latents.still[few], projection.representation, _generator(seed))
            negatives = apart if raw else project(projection, apart)
        return orbit_retrieval(moved[few], still(few), negatives)

    def pose() -> float:
        assert latents.elements is not None
        return pose_skill(moved[few], group, latents.elements[few.to(latents.elements.device)]).skill

    book.measure(f"error{side}", lambda: invariance_error(moved, still(slice(None))))
    book.measure(f"retrieval{side}", retrieval)
    if isinstance(group, Sampled):
        book.miss((f"pose{side}",), UNKNOWN)
    else:
        book.measure(f"pose{side}", pose)


def _orbits(
    book: _Book,
    latents: Latents,
    features: Tensor | None,
    projection: Projection,
    seed: int,
    failure: str,
) -> None:
    """How well distances between features agree with distances between orbits, hard negatives included."""
    representation = projection.representation
    rows = _spread(len(latents.bank), affordable_rows(representation), latents.bank.device)
    z, f = latents.bank[rows], None if features is None else features[rows]
    names = ("spearman_raw", "spearman", "distortion")
    if latents.features is not None:
        book.miss((*names, "hard_negatives"), "features of graphs are no function of their pooled latents")
        return
    try:
        far = distance(z, z, representation, pairwise=True)
    except Exception as error:
        far, reason = None, f"orbit distances failed: {type(error).__name__}: {error}"
    else:
        reason = "all latents that were compared are in one orbit"
    if far is None or not bool((far > 0).any()):
        book.miss(names, reason)
    else:
        book.measure("spearman_raw", lambda: distance_spearman(z, far))
        if f is not None:
            book.measure("spearman", lambda: distance_spearman(f, far))
            book.measure("distortion", lambda: distortion(f, far).percentiles)
    if features is None:
        book.miss(("spearman", "distortion", "hard_negatives"), failure)
    elif has_hard_negatives(representation):
        few = _spread(len(latents.bank), FEW, latents.bank.device)

        def negatives() -> float:
            apart = hard_negatives(latents.bank[few], representation, _generator(seed))
            return relative_distance(project(projection, apart), features[few])

        book.measure("hard_negatives", negatives)


def _scores(
    book: _Book,
    probe: Probe,
    sides: Mapping[str, tuple[Tensor | None, Tensor | None]],
    labels: ScoredLabels | str,
    reasons: Mapping[str, str],
    failure: str,
    seed: int,
) -> None:
    """Scores of one probe on both sides, and the gap between them with its interval."""
    key = probe.key
    gap = (f"{key}_gap", f"{key}_gap_lower", f"{key}_gap_upper")
    if isinstance(labels, str):
        book.miss((f"{key}{end}" for end in ("", "_raw", "_upright", "_upright_raw")), labels)
        book.miss(gap, labels)
        return
    predictions: dict[str, Tensor] = {}
    for side, (bank, moved) in sides.items():
        # A score of transformed inputs, then of inputs as they come.
        names = (f"{key}{side}", f"{key}_upright{side}") if moved is not None else (f"{key}_upright{side}",)
        if moved is None:
            book.miss((f"{key}{side}",), reasons[side])
        if bank is None:
            book.miss(names, failure)
            continue
        known = bank[labels.known]
        few = labels.own[_spread(len(labels.own), FEW, bank.device)]
        asked, own = [known[few]], [few]
        if moved is not None:
            asked, own = [moved[labels.asked], *asked], [labels.own, *own]
        try:
            found = probe.leave_out(known, labels.targets, asked, own, labels.groups)
        except Exception as error:
            book.miss(names, f"{type(error).__name__}: {error}")
            continue
        for name, predicted, rows in zip(names, found, own, strict=True):
            truth = labels.targets[rows]
            book.measure(name, lambda predicted=predicted, truth=truth: probe_score(predicted, truth))
            if labels.kind == "values":
                end = name.removeprefix(key).removesuffix(side)
                book.measure(f"{key}{end}_mae{side}", lambda predicted=predicted, truth=truth: mae(predicted, truth))
        if moved is not None:
            predictions[side] = found[0]
    if not (f"{key}" in book.numbers and f"{key}_raw" in book.numbers):
        book.miss(gap, book.missing.get(key) or book.missing.get(f"{key}_raw") or reasons["_raw"])
        return
    book.numbers[gap[0]] = book.numbers[key] - book.numbers[f"{key}_raw"]

    def interval() -> tuple[float, ...] | None:
        found = gap_interval(predictions[""], predictions["_raw"], labels.truth, labels.groups[labels.own], seed=seed)
        if found is None:
            raise ValueError("too few samples or groups for an interval")
        return tuple(found)

    book.measure(gap[1:], interval)


def affordable_rows(representation: Representation) -> int:
    """Return how many latents orbit distances are taken between."""
    group = representation.group
    if not is_exact(representation) or any(isinstance(block, Pairs) for block in representation):
        return SEARCHED_ROWS
    if group.order is None or group.order > LISTING_LIMIT:
        factor = large_factor(representation) if isinstance(group, Product) else None
        if factor is None:
            return PAIRED_ROWS
        return max(SEARCHED_ROWS, min(PAIRED_ROWS, int((2 * SOLVED / len(factor.small_elements())) ** 0.5)))
    return max(SEARCHED_ROWS, min(MOST_ROWS, int((LISTED_COST / (group.order * representation.size)) ** 0.5)))


def _generator(seed: int) -> torch.Generator:
    """A fresh one for each number, so that none depends on what was measured before."""
    return torch.Generator().manual_seed(seed)


def _spread(count: int, limit: int, device: torch.device) -> Tensor:
    """At most so many rows, evenly over all."""
    return torch.linspace(0, count - 1, min(count, limit), dtype=torch.float64).round().long().to(device)
