"""All applicable projections of one set of latents, measured side by side."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError, InvariantError, LatentError
from lightning_invariant.evaluation.latents import Latents
from lightning_invariant.evaluation.scores import ScoredLabels, scored_labels
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.metrics import distance_spearman, distortion, hard_negative_ratio
from lightning_invariant.probes import DEFAULT_PROBES, probe_score
from lightning_invariant.projections import Projection, SampledMax, SampledMean, choose
from lightning_invariant.quotient import distance, is_exact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

RAW = "raw latents"
HEADINGS = {
    "name": "projection",
    "features": "size",
    "guarantee": "guarantee",
    "distortion": "distortion 1-99%",
    "spearman": "Spearman",
    "hard_negative": "hard neg.",
    "knn": "kNN",
    "linear": "linear",
    "seconds": "s / 10,000",
}
ROWS, BLOCK = 10_000, 512
"""Rows that are timed, and rows of one call."""
PATIENCE = 5.0
"""Seconds after which the time of all rows is extrapolated."""
WIDEST = 2**16
"""Projections with more features than this are left out of a comparison."""
SEVERAL = (SampledMean, SampledMax)
"""Not measured: they take several transforms of each input."""
SAMPLES, SEARCHED = 300, 60
"""Latents that distances are measured on, where an orbit distance is a formula and where it takes a search."""
PROBED = 4_000
"""Most latents given to probes."""


@dataclass(frozen=True)
class Row:
    """One projection's line; None where a number does not apply.

    Args:
        name: Class of the projection, or "raw latents".
        features: Output size.
        guarantee: What it promises, in words.
        distortion_low: 1st percentile of feature distance over orbit distance.
        distortion_high: 99th percentile of the same.
        spearman: Rank correlation of feature distance and orbit distance.
        hard_negative: Mean distance to the channel-scrambled latent over that between different samples.
        knn: Score of 20 nearest neighbours, each latent predicted from all others: accuracy of classes, R² of values.
        linear: The same of ridge regression.
        seconds: For 10,000 rows.
        chosen: Whether `choose` takes it.
    """

    name: str
    features: int
    guarantee: str
    distortion_low: float | None
    distortion_high: float | None
    spearman: float | None
    hard_negative: float | None
    knn: float | None
    linear: float | None
    seconds: float | None
    chosen: bool

    def cells(self) -> list[str]:
        """Return the row as text, in the order of `HEADINGS`."""
        low, high = self.distortion_low, self.distortion_high
        spread = "-" if low is None or high is None else f"{high / low:.3g}" if low > 0 else "inf"
        numbers = [_number(value) for value in (self.spearman, self.hard_negative, self.knn, self.linear)]
        seconds = "-" if self.seconds is None else f"{self.seconds:.2g}"
        name = f"* {self.name}" if self.chosen else f"  {self.name}"
        return [name, str(self.features), self.guarantee, spread, *numbers, seconds]


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        representation: What acts.
        rows: Raw latents first, then the projections by name.
        reason: Why the chosen projection is chosen.
        exact: Whether the orbit distances are exact, not upper bounds.
        samples: How many latents the distances were measured on.
        seed: Of every random choice.
    """

    representation: str
    rows: tuple[Row, ...]
    reason: str
    exact: bool
    samples: int
    seed: int

    def __str__(self) -> str:
        """The table as plain text, the chosen projection marked by an asterisk."""
        lines = [list(HEADINGS.values()), *(row.cells() for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
        body = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join([body[0], "-" * len(body[0]), *body[1:], "", self.footer()])

    def footer(self) -> str:
        """Return what the columns mean, and how they were measured."""
        kind = "exact" if self.exact else "upper bounds from samples"
        chosen = f"* chosen: {self.reason}\n" if self.reason else ""
        return (
            f"{chosen}Distances on {self.samples} latents, orbit distances {kind}, seed {self.seed}. Distortion: 99th "
            "over 1st percentile of feature distance over orbit distance (1 is isometric). Hard neg.: distance to the "
            "latent with its channels transformed apart over that between different latents (0 is not told apart). "
            "kNN and linear: each latent predicted from all others."
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


@torch.no_grad()
def compare(
    latents: Tensor,
    representation: Representation | str,
    labels: Tensor | None = None,
    groups: Tensor | None = None,
    projections: Sequence[Projection | str] | None = None,
    *,
    size: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    progress: Callable[[list[Projection]], Iterable[Projection]] = iter,
) -> Comparison:
    """Measure projections of latents that you have, side by side.

    Args:
        latents: Latents in any layout that fits the representation, at least 4.
        representation: How the group acts on them.
        labels: int classes (N,), or values (N,) or (N, T).
        groups: Group of each latent, int64 (N,): a latent is predicted without its own group.
        projections: Which are measured, as they are or by the name of their class; all that fit if None.
        size: Wished number of features for the chosen projection.
        samples: How many latents distances are measured on; 300 if None, 60 where each distance takes a search.
        seed: Seed of the choice of samples.
        progress: Wraps the list of projections while they are measured.

    Returns:
        A table: `rows`, `str()` and `to_dict()`.

    Raises:
        LatentError: The latents do not fit the representation, or are complex, not finite or too few.
        GroupError: No projection is known, or the group is known by samples only.
        ValueError: A name of a projection that is not known or does not fit.

    Example:
        >>> table = compare(torch.randn(20, 6), "S6: points", projections=["Sort"])
        >>> [row.name for row in table.rows]
        ['raw latents', 'Sort']
    """
    representation = Representation.parse(representation)
    if isinstance(representation.group, Sampled):
        raise GroupError(f"Expected a group with orbits but {representation.group} is known by samples only.")
    whole = Latents(representation.flatten(latents.detach()), labels, groups)
    if len(whole.bank) < 4:
        raise LatentError(f"Expected at least 4 latents but got {len(whole.bank)}; give more.")
    if not bool(whole.bank.isfinite().all()):
        raise LatentError("Expected finite latents but got NaN or infinity; leave these rows out.")
    if samples is None:
        samples = SAMPLES if is_exact(representation) else SEARCHED
    mixed = torch.randperm(len(whole.bank), generator=torch.Generator().manual_seed(seed)).to(whole.bank.device)
    bench = _Bench(representation, whole, mixed, samples, seed)
    chosen = choose(representation, size)
    asked = applicable(chosen) if projections is None else [_named(one, chosen) for one in projections]
    rows = [bench.raw()]
    rows += [bench.row(projection, chosen=projection is chosen) for projection in progress(asked)]
    reason = chosen.reason if any(row.chosen for row in rows) else ""
    return Comparison(str(representation), tuple(rows), reason, is_exact(representation), len(bench.few), seed)


def _named(projection: Projection | str, chosen: Projection) -> Projection:
    if not isinstance(projection, str):
        return projection
    if projection == type(chosen).__name__:
        return chosen
    if projection not in Projection.registry:
        raise ValueError(f"Expected projections among {sorted(Projection.registry)} but got {projection!r}.")
    return Projection.registry[projection](chosen.representation)


def applicable(chosen: Projection) -> list[Projection]:
    """One projection of every class that fits the representation, the chosen one among them, by name."""
    found = []
    for name, kind in sorted(Projection.registry.items()):
        if name == type(chosen).__name__:
            found.append(chosen)
        elif not issubclass(kind, SEVERAL) and not _needs_more(kind):
            try:
                projection = kind(chosen.representation)
            except (InvariantError, ValueError):
                continue
            if projection.out_features <= WIDEST:
                found.append(projection)
    return found


def _needs_more(kind: type[Projection]) -> bool:
    """Whether a projection is made of parts that have to be given, beside the representation."""
    parameters = list(signature(kind).parameters.values())[1:]
    return any(p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


class _Bench:
    """The samples that every projection is measured on."""

    def __init__(self, representation: Representation, whole: Latents, mixed: Tensor, samples: int, seed: int) -> None:
        self.representation, self.seed = representation, seed
        probed = mixed[:PROBED]
        labels, groups = (
            None if part is None else part.to(mixed.device)[probed] for part in (whole.labels, whole.groups)
        )
        self.z = whole.bank[probed]
        self.labels = scored_labels(Latents(self.z, labels, groups))
        self.few = whole.bank[mixed[: max(2, samples)]]
        self.distances = distance(self.few, self.few, representation, pairwise=True)

    def raw(self) -> Row:
        return self._measured(RAW, self.z.shape[1], "-", lambda z: z, None, chosen=False)

    def row(self, projection: Projection, *, chosen: bool) -> Row:
        projection = projection.to(self.z.dtype).eval()
        name, guarantee = type(projection).__name__, str(projection.guarantee)
        seconds = _seconds(projection, self.z)
        return self._measured(name, projection.out_features, guarantee, projection, seconds, chosen=chosen)

    def _measured(
        self,
        name: str,
        size: int,
        guarantee: str,
        project: Callable[[Tensor], Tensor],
        seconds: float | None,
        *,
        chosen: bool,
    ) -> Row:
        features = _chunked(project, self.few)
        low, high, correlation = self._agreement(features)
        apart = hard_negative_ratio(lambda z: _chunked(project, z), self.few, self.representation, self._generator())
        knn, linear = self._probes(_chunked(project, self.z))
        return Row(name, size, guarantee, low, high, correlation, apart, knn, linear, seconds, chosen)

    def _agreement(self, features: Tensor) -> tuple[float | None, float | None, float | None]:
        if not features.isfinite().all() or not (self.distances > 0).any():
            return None, None, None
        found = distortion(features, self.distances)
        return found.low, found.high, distance_spearman(features, self.distances)

    def _probes(self, features: Tensor) -> list[float | None]:
        if not isinstance(self.labels, ScoredLabels) or not features.isfinite().all():
            return [None] * len(DEFAULT_PROBES)
        known, labels, scores = features[self.labels.known], self.labels, []
        for probe in DEFAULT_PROBES:
            (found,) = probe.leave_out(known, labels.targets, [known[labels.own]], [labels.own], labels.groups)
            scores.append(probe_score(found, labels.truth))
        return scores

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _seconds(projection: Projection, z: Tensor) -> float:
    rows = z.repeat(math.ceil(BLOCK / len(z)), 1)[:BLOCK]
    projection(rows)
    start, done = time.perf_counter(), 0
    while done < ROWS and time.perf_counter() - start < PATIENCE:
        projection(rows)
        done += BLOCK
    return (time.perf_counter() - start) * ROWS / done


def _chunked(map_: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    return torch.cat([map_(rows) for rows in z.split(BLOCK)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
