"""All applicable projections of one set of latents, measured side by side."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError, InvariantError, LatentError
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.metrics import distance_spearman, distortion, hard_negative_ratio, is_exact, orbit_distance
from lightning_invariant.probes import accuracy, knn_predict, r2, ridge_fit
from lightning_invariant.projections import Composition, Joined, Projection, SampledMax, SampledMean, choose

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

RAW = "raw latents"
ROWS, CHUNK = 10_000, 512
"""Rows that are timed, and rows projected at one time."""
PATIENCE = 5.0
"""Seconds after which the time of all rows is extrapolated."""
WIDEST = 2**16
"""Projections with more features than this are left out of a comparison."""
OTHER_INPUTS = (Composition, Joined, SampledMean, SampledMax)
"""Not measured: they need parts of their own, or several transforms of each input."""
SAMPLES, SEARCHED = 300, 60
"""Latents that distances are measured on, where an orbit distance is a formula and where it takes a search."""
PROBED = 10_000
"""Most latents given to probes, half of them to fit."""


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
        knn: Accuracy (or R² of float labels) of 20 nearest neighbours on held-out latents.
        ridge: The same of ridge regression.
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
    ridge: float | None
    seconds: float | None
    chosen: bool


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

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self) | {"rows": [asdict(row) for row in self.rows]}


def compare(
    z: Tensor,
    representation: Representation | str,
    labels: Tensor | None = None,
    *,
    size: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    progress: Callable[[list[Projection]], Iterable[Projection]] = iter,
) -> Comparison:
    """Measure every projection that the representation admits.

    Args:
        z: Latents in any layout that fits the representation, at least 4.
        representation: What acts.
        labels: int classes or float targets, one a latent.
        size: Wished number of features for the chosen projection.
        samples: How many latents distances are measured on; 300 if None, 60 where each distance takes a search.
        seed: For the choice of samples and splits.
        progress: Wraps the list of projections while they are measured.

    Raises:
        LatentError: The latents do not fit the representation.
        GroupError: No projection is known, or the group is known by samples only.
    """
    representation = Representation.parse(representation)
    if isinstance(representation.group, Sampled):
        raise GroupError(f"Expected a group with orbits but {representation.group} is known by samples only.")
    flat = representation.flatten(z)
    if len(flat) < 4:
        raise LatentError(f"Expected at least 4 latents but got {len(flat)}.")
    if samples is None:
        samples = SAMPLES if is_exact(representation) else SEARCHED
    mixed = torch.randperm(len(flat), generator=torch.Generator().manual_seed(seed))
    bench = _Bench(representation, flat[mixed], None if labels is None else labels[mixed], samples, seed)
    chosen = choose(representation, size)
    rows = [bench.raw()]
    rows += [bench.row(projection, chosen=projection is chosen) for projection in progress(applicable(chosen))]
    return Comparison(
        str(representation),
        tuple(rows),
        chosen.reason,
        is_exact(representation),
        len(bench.few),
        seed,
    )


def applicable(chosen: Projection) -> list[Projection]:
    """One projection of every class that fits the representation, the chosen one among them, by name."""
    found = []
    for name, kind in sorted(Projection.registry.items()):
        if name == type(chosen).__name__:
            found.append(chosen)
        elif not issubclass(kind, OTHER_INPUTS):
            try:
                projection = kind(chosen.representation)
            except (InvariantError, ValueError):
                continue
            if projection.out_features <= WIDEST:
                found.append(projection)
    return found


class _Bench:
    """The samples that every projection is measured on."""

    def __init__(
        self, representation: Representation, z: Tensor, labels: Tensor | None, samples: int, seed: int
    ) -> None:
        self.representation, self.seed = representation, seed
        self.z, self.labels = z[:PROBED], None if labels is None else labels[:PROBED]
        self.few = z[: max(2, samples)]
        self.distances = orbit_distance(self.few, self.few, representation, pairwise=True, generator=self._generator())

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
        def chunked(z: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.cat([project(rows) for rows in z.split(CHUNK)])

        features = chunked(self.few)
        low, high, correlation = self._agreement(features)
        apart = hard_negative_ratio(chunked, self.few, self.representation, self._generator())
        knn, ridge = self._probes(chunked(self.z)) if self.labels is not None else (None, None)
        return Row(name, size, guarantee, low, high, correlation, apart, knn, ridge, seconds, chosen)

    def _agreement(self, features: Tensor) -> tuple[float | None, float | None, float | None]:
        if not features.isfinite().all() or not (self.distances > 0).any():
            return None, None, None
        found = distortion(features, self.distances)
        return found.low, found.high, distance_spearman(features, self.distances)

    def _probes(self, features: Tensor) -> tuple[float | None, float | None]:
        assert self.labels is not None
        half = len(features) // 2
        fit, test = features[:half], features[half:]
        if not features.isfinite().all():
            return None, None
        score = r2 if self.labels.is_floating_point() else accuracy
        known, asked = self.labels[:half], self.labels[half:]
        nearest = knn_predict(fit, known, test, k=min(20, half))
        return float(score(nearest, asked)), float(score(ridge_fit(fit, known).predict(test), asked))

    def _generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed)


def _seconds(projection: Projection, z: Tensor) -> float:
    rows = z.repeat(math.ceil(CHUNK / len(z)), 1)[:CHUNK]
    with torch.no_grad():
        projection(rows)
        start, done = time.perf_counter(), 0
        while done < ROWS and time.perf_counter() - start < PATIENCE:
            projection(rows)
            done += CHUNK
    return (time.perf_counter() - start) * ROWS / done
