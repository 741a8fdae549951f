"""Nearest neighbours, exactly and in bounded memory: what a latent's neighbours say about it.

A block of distances is one matrix product. Ranked at first are the smallest distances of groups of groups of adjacent
bank rows: the k nearest rows lie in the k groups with the smallest minima, so that two steps from large groups to small
ones and to rows leave a few hundred numbers of 10,000 to rank.

Features of an isometric or bi-Lipschitz invariant map carry the orbit distance as their Euclidean distance, which is
therefore the default; cosine similarity is the custom for contrastive encoders, whose training ignores length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_invariant.probes.products import RowProducts
from lightning_invariant.probes.samples import checked_features, checked_targets, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

Metric = Literal["euclidean", "cosine"]
Weights = Literal["uniform", "distance"]

TEMPERATURE = 0.07
"""Softmax temperature of weighted cosine votes. Source: Wu et al. 2018, Unsupervised Feature Learning, section 3.4."""
BLOCK = 2**22
"""Largest number of distances that exist at one time (16 MiB)."""
ROWS = 256
"""Rows of the bank that are prepared at one time."""
GATHERED = 64
"""Queries whose neighbours are copied out of the bank at one time."""
LOW_BITS = 2**32 - 1
LEVELS = 2
"""How many times rows are grouped."""
LARGE_BANK, LARGE_BANK_ROWS = 2**21, 128
"""Numbers of a bank from which on fewer queries are compared at one time, to bound the memory of both together."""
FAR = 1e30
"""Squared distance, at unit scale, of the rows that fill up the last group."""


@full_precision
def knn_predict(
    bank: Float[Tensor, "N K"],
    bank_targets: Shaped[Tensor, "N *T"],
    queries: Float[Tensor, "M K"],
    *,
    k: int = 20,
    metric: Metric = "euclidean",
    weights: Weights = "uniform",
    num_classes: int | None = None,
    chunk: int = 208,
) -> Shaped[Tensor, "M *T"]:
    """Predict the targets of ``queries`` from their k nearest rows of ``bank``.

    Copies of a row are taken by their place in the bank, votes that tie go to the smallest class.

    Args:
        bank: Features with known targets, shape (N, K).
        bank_targets: int classes (N,), or float values (N,) or (N, T); labels 0 and 1 a column for multi-label.
        queries: Features to predict for, shape (M, K).
        k: Number of neighbours; more than N means all of the bank.
        metric: "euclidean", or "cosine" for the angle alone.
        weights: "uniform", or "distance": inverse distance (Euclidean) or a softmax over similarities (cosine).
        num_classes: Number of classes where it exceeds the largest class of the bank plus one.
        chunk: Most queries compared at one time; memory grows with it, results do not change beyond rounding.

    Returns:
        int64 classes (M,), or float means of the neighbours' values, (M,) or (M, T).

    Raises:
        ValueError: For empty, mismatched, not finite or negative input.

    Example:
        >>> bank = torch.tensor([[0.0], [1.0], [9.0]])
        >>> knn_predict(bank, torch.tensor([0, 0, 1]), torch.tensor([[0.4], [8.0]]), k=1)
        tensor([0, 1])
    """
    index = _Index(bank, metric, k, chunk)
    targets = checked_targets(bank_targets, len(bank), "bank_targets")
    if not targets.is_floating_point():
        num_classes = _class_count(targets, num_classes)
    votes = []
    for block in index.blocks(queries):
        nearest = index.nearest(block)
        distances = index.distances(block, nearest) if weights == "distance" else nearest
        votes.append(knn_vote(distances, targets[nearest], metric=metric, weights=weights, num_classes=num_classes))
    return torch.cat(votes)


@full_precision
def knn_neighbours(
    bank: Float[Tensor, "N K"],
    queries: Float[Tensor, "M K"],
    *,
    k: int = 20,
    metric: Metric = "euclidean",
    chunk: int = 208,
) -> tuple[Float[Tensor, "M k"], Int[Tensor, "M k"]]:
    """The k nearest rows of ``bank`` for each query, nearest first.

    Rows are ranked in float32 after centring; the distances returned are computed again from their differences, so
    that a copy has distance zero. Shards of a bank may be searched apart, merged by distance and given to `knn_vote`.

    Args:
        bank: Shape (N, K).
        queries: Shape (M, K).
        k: Number of neighbours; more than N means N.
        metric: "euclidean", or "cosine".
        chunk: Most queries compared at one time.

    Returns:
        Distances (Euclidean, or one minus cosine similarity) and int64 rows of the bank, both (M, min(k, N)).

    Raises:
        ValueError: For empty, mismatched or not finite input.
    """
    index = _Index(bank, metric, k, chunk)
    found = []
    for block in index.blocks(queries):
        nearest = index.nearest(block)
        found.append((index.distances(block, nearest), nearest))
    return torch.cat([distances for distances, _ in found]), torch.cat([rows for _, rows in found])


@full_precision
def knn_vote(
    distances: Float[Tensor, "M k"],
    neighbour_targets: Shaped[Tensor, "M k *T"],
    *,
    metric: Metric = "euclidean",
    weights: Weights = "uniform",
    num_classes: int | None = None,
) -> Shaped[Tensor, "M *T"]:
    """Combine the targets of k neighbours into one prediction a query.

    Args:
        distances: Distances as `knn_neighbours` gives them, shape (M, k); not read for uniform weights.
        neighbour_targets: int classes (M, k), or float values (M, k) or (M, k, T).
        metric: What the distances are.
        weights: "uniform" or "distance".
        num_classes: Number of classes; by default the largest class present plus one.

    Returns:
        int64 classes (M,), or float values (M,) or (M, T).

    Raises:
        ValueError: For an unknown metric or weighting.
    """
    _one_of(weights, ("uniform", "distance"), "weights")
    share = _shares(distances, metric) if weights == "distance" else None
    if neighbour_targets.is_floating_point():
        if share is None:
            return neighbour_targets.mean(1)
        share = share.to(neighbour_targets.dtype)
        return torch.einsum("mk,mk...->m...", share, neighbour_targets)
    votes = distances.new_zeros(
        (len(distances), _class_count(neighbour_targets, num_classes)),
        dtype=torch.float32 if share is None else share.dtype,
    )
    votes.scatter_add_(
        1, neighbour_targets, votes.new_ones(()).expand(neighbour_targets.shape) if share is None else share
    )
    return votes.argmax(1)


class _Index:
    """A bank prepared for search: centred and at unit scale (Euclidean) or normalised (cosine), in float32.

    Rows get one more number and queries a one beside it, so that products rank the rows: -2 b.q + |b|^2 or -2 b.q.
    """

    def __init__(self, bank: Tensor, metric: Metric, k: int, chunk: int) -> None:
        _one_of(metric, ("euclidean", "cosine"), "metric")
        if k < 1 or chunk < 1:
            raise ValueError(
                f"Expected k >= 1 and chunk >= 1 but got k={k} and chunk={chunk}; one neighbour is the least."
            )
        self.bank, self.cosine = checked_features(bank, "bank"), metric == "cosine"
        count = len(self.bank)
        self.k = min(k, count)
        most = LARGE_BANK_ROWS if self.bank.numel() > LARGE_BANK else chunk
        self.rows = max(1, min(chunk, BLOCK // count, most))
        # Ranking costs count / group^LEVELS minima and LEVELS * k * group candidates.
        group = round((count / self.k) ** (1 / (LEVELS + 1)))
        self.groups = [group] * LEVELS if group > 2 else []
        # Centring and scaling keep |b|^2 - 2 b.q from cancelling or overflowing; both leave the order unchanged.
        self.centre, self.scale = None if self.cosine else self.bank.mean(0), 1.0
        self.products = RowProducts(self._ranked_rows())

    def blocks(self, queries: Tensor) -> tuple[Tensor, ...]:
        if queries.device != self.bank.device:
            raise ValueError(
                f"Expected queries on {self.bank.device}, where the bank is, but got {queries.device}; move one."
            )
        return checked_features(queries, "queries", self.bank.shape[1]).split(self.rows)

    def nearest(self, block: Tensor) -> Tensor:
        levels = [self.products(torch.nn.functional.pad(self._prepared(block), (0, 1), value=1.0))]
        for group in self.groups:
            levels.append(levels[-1].view(-1, group, len(block)).amin(1))
        rows = torch.arange(len(levels[-1]), device=block.device)[None]
        best = _smallest(levels.pop().t(), rows, min(self.k, rows.shape[1]))
        for group, level in zip(reversed(self.groups), reversed(levels), strict=True):
            rows = (best[:, :, None] * group + torch.arange(group, device=block.device)).flatten(1)
            best = _smallest(level.t().gather(1, rows), rows, min(self.k, rows.shape[1]))
        return best

    def distances(self, block: Tensor, nearest: Tensor) -> Tensor:
        parts = zip(block[:, None].split(GATHERED), nearest.split(GATHERED), strict=True)
        distance = _cosine_distance if self.cosine else _euclidean_distance
        return torch.cat([distance(self.bank[rows], part) for part, rows in parts])

    def _ranked_rows(self) -> Float[Tensor, "P K1"]:
        """What queries are multiplied with, filled up to whole groups by rows that no query is near to."""
        (count, size), whole = self.bank.shape, math.prod(self.groups)
        ranked = self.bank.new_zeros(-(-count // whole) * whole, size + 1, dtype=torch.float32)
        points = ranked[:count, :size]
        largest = []
        for part, rows in zip(points.split(ROWS), self.bank.split(ROWS), strict=True):
            prepared = self._prepared(rows)
            largest.append(prepared.abs().amax())
            part.copy_(prepared)
        if not self.cosine:
            self.scale = float(torch.stack(largest).amax()) or 1.0
            points /= self.scale
            for part in ranked[:count].split(ROWS):
                part[:, size] = torch.linalg.vector_norm(part[:, :size], dim=1).square_()
        points *= -2
        ranked[count:, size] = FAR
        return ranked

    def _prepared(self, features: Tensor) -> Tensor:
        if self.centre is None:
            return (features / _lengths(features)).float()
        return (features - self.centre).div_(self.scale).float()


def _lengths(features: Float[Tensor, "*N K"]) -> Float[Tensor, "*N 1"]:
    """What rows are divided by to have length 1; rows of zeros stay."""
    norms = torch.linalg.vector_norm(features, dim=-1, keepdim=True)
    return torch.where(norms > 0, norms, 1)


def _euclidean_distance(rows: Tensor, query: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows.sub_(query), dim=-1)


def _cosine_distance(rows: Tensor, query: Tensor) -> Tensor:
    """1 - cos as |u - v|^2 / 2 of unit vectors, which does not cancel for copies; 1 where a vector is zero."""
    defined = rows.any(dim=-1) & query.any(dim=-1)
    chord = rows.div_(_lengths(rows)).sub_(query / _lengths(query))
    return torch.linalg.vector_norm(chord, dim=-1).square_().div_(2).where(defined, 1.0)


def _smallest(values: Float[Tensor, "M C"], rows: Int[Tensor, "M C"], k: int) -> Int[Tensor, "M k"]:
    """Rows of the k smallest values, ties by row: one int64 key holds the ordered bits of the value, then the row."""
    bits = (values + 0.0).view(torch.int32)  # + 0.0 turns -0.0 into 0.0
    bits ^= (bits >> 31).bitwise_and_(0x7FFFFFFF)
    keys = bits.long().bitwise_left_shift_(32).bitwise_or_(rows)
    return keys.topk(k, dim=1, largest=False).values & LOW_BITS


def _shares(distances: Float[Tensor, "M k"], metric: Metric) -> Float[Tensor, "M k"]:
    if metric == "cosine":
        return torch.softmax(-distances / TEMPERATURE, dim=1)
    # Relative to the nearest neighbour, so that tiny distances don't overflow; copies of the query outvote all others.
    nearest = distances.amin(1, keepdim=True)
    share = torch.where(nearest > 0, nearest / distances, (distances == 0).to(distances.dtype))
    return share / share.sum(1, keepdim=True)


def _class_count(classes: Int[Tensor, "..."], given: int | None) -> int:
    largest = int(classes.max())
    if given is not None and largest >= given:
        raise ValueError(f"Expected classes below num_classes={given} but got {largest}; raise num_classes.")
    return largest + 1 if given is None else given


def _one_of(value: str, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise ValueError(f"Expected {name} to be one of {choices} but got {value!r}; choose one of these.")
