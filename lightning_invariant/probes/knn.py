"""Nearest neighbours, exactly and in bounded memory: what a latent's neighbours say about it.

A block of distances is one matrix product. Ranked at first are the smallest distances of groups of groups of adjacent
bank rows: the k nearest rows lie in the k groups with the smallest minima, so that two steps from large groups to small
ones and to rows leave a few hundred numbers of 10,000 to rank.

Features of an isometric or bi-Lipschitz invariant map carry the orbit distance as their Euclidean distance, which is
therefore the default; cosine similarity is the custom for contrastive encoders, whose training ignores length.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import Tensor

from lightning_invariant.probes.samples import (
    SAFE,
    checked_features,
    checked_groups,
    checked_targets,
    full_precision,
    row_norms,
)

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped

Metric = Literal["euclidean", "cosine"]
Weights = Literal["uniform", "distance"]

TEMPERATURE = 0.07
"""Softmax temperature of weighted cosine votes. Source: Wu et al. 2018, Unsupervised Feature Learning, section 3.4."""
BLOCK = 2**21
"""Largest number of distances that exist at one time (8 MiB)."""
PREPARED = 2**17
"""Numbers of the bank that are prepared at one time: they stay in the cache."""
GATHERED = 64
"""Queries whose neighbours are copied out of the bank at one time."""
LOW_BITS = 2**32 - 1
LEVELS = 2
"""How many times rows are grouped."""
LARGE_BANK, LARGE_BANK_ROWS = 2**22, 128
"""Numbers of a bank from which on fewer queries are compared at one time, to bound the memory of both together."""
FARTHEST = 1e12
"""Scaled coordinates are cut off here: such a row is nobody's neighbour, and its square still has a value."""
OUTLYING = 4.0
"""Rows farther from the centre than this many median distances don't move it."""
OUTLIER_ROUNDS = 4
NEAR = 1e-4
"""Squared distances below this share of the query's squared norm are mostly rounding, so exact differences decide."""


@full_precision
def knn_predict(
    bank: Float[Tensor, "N K"],
    bank_targets: Shaped[Tensor, "N *T"],
    queries: Float[Tensor, "M K"],
    *,
    k: int = 20,
    metric: Metric = "euclidean",
    weights: Weights = "uniform",
    groups: Int[Tensor, "N"] | None = None,
    query_groups: Int[Tensor, "M"] | None = None,
    chunk: int | None = None,
) -> Shaped[Tensor, "M *T"]:
    """Predict the targets of ``queries`` from their k nearest rows of ``bank``.

    Copies of a row are taken by their place in the bank, votes that tie go to the smallest class.

    Args:
        bank: Features with known targets, shape (N, K).
        bank_targets: int classes (N,) of any size, or float values (N,) or (N, T); labels 0 and 1 a column for
            multi-label.
        queries: Features to predict for, shape (M, K).
        k: Number of neighbours; at most what every query has left.
        metric: "euclidean", or "cosine" for the angle alone.
        weights: "uniform", or "distance": inverse distance (Euclidean) or a softmax over similarities (cosine).
        groups: Group of each bank row, int64 (N,). Leave-one-out: row numbers, if each sample is its own group.
        query_groups: Group of each query, int64 (M,); rows of the bank of the same group are not its neighbours.
        chunk: Most queries compared at one time; memory grows with it, results do not change beyond rounding. As many
            as 8 MiB of distances hold if None.

    Returns:
        int64 classes (M,), or float means of the neighbours' values, (M,) or (M, T).

    Raises:
        ValueError: For empty, mismatched, not finite or negative input, or a query without a row of another group.

    Example:
        >>> bank = torch.tensor([[0.0], [1.0], [9.0]])
        >>> knn_predict(bank, torch.tensor([0, 0, 1]), torch.tensor([[0.4], [8.0]]), k=1)
        tensor([0, 1])
    """
    _one_of(weights, get_args(Weights), "weights")
    index = _Index(bank, metric, k, chunk, groups)
    targets = checked_targets(bank_targets, len(bank), "bank_targets")
    classes = None
    if not targets.is_floating_point():
        classes, targets = targets.unique(return_inverse=True)
    votes = []
    for block, own in index.blocks(queries, query_groups):
        nearest = index.nearest(block, own)
        share = _shares(index.distances(block, nearest), metric) if weights == "distance" else None
        votes.append(_vote(targets[nearest], share, None if classes is None else len(classes)))
    return torch.cat(votes) if classes is None else classes[torch.cat(votes)]


@full_precision
def knn_neighbours(
    bank: Float[Tensor, "N K"],
    queries: Float[Tensor, "M K"],
    *,
    k: int = 20,
    metric: Metric = "euclidean",
    groups: Int[Tensor, "N"] | None = None,
    query_groups: Int[Tensor, "M"] | None = None,
    chunk: int | None = None,
) -> tuple[Float[Tensor, "M k"], Int[Tensor, "M k"]]:
    """Return the k nearest rows of ``bank`` for each query, nearest first.

    Rows are ranked in float32 after centring; the distances returned are computed again from their differences, so
    that a copy has distance zero. Shards of a bank may be searched apart, merged by distance and given to `knn_vote`.

    Args:
        bank: Shape (N, K).
        queries: Shape (M, K).
        k: Number of neighbours; at most what every query has left.
        metric: "euclidean", or "cosine".
        groups: Group of each bank row, int64 (N,).
        query_groups: Group of each query, int64 (M,); rows of the bank of the same group are not its neighbours.
        chunk: Most queries compared at one time; as many as 8 MiB of distances hold if None.

    Returns:
        Distances (Euclidean, or one minus cosine similarity) and int64 rows of the bank, both (M, min(k, N)).

    Raises:
        ValueError: For empty, mismatched or not finite input, or a query without a row of another group.
    """
    index = _Index(bank, metric, k, chunk, groups)
    found = []
    for block, own in index.blocks(queries, query_groups):
        nearest = index.nearest(block, own)
        found.append((index.distances(block, nearest), nearest))
    return torch.cat([distances for distances, _ in found]), torch.cat([rows for _, rows in found])


@full_precision
def knn_vote(
    distances: Float[Tensor, "M k"],
    neighbour_targets: Shaped[Tensor, "M k *T"],
    *,
    metric: Metric = "euclidean",
    weights: Weights = "uniform",
) -> Shaped[Tensor, "M *T"]:
    """Combine the targets of k neighbours into one prediction a query.

    Args:
        distances: Distances as `knn_neighbours` gives them, shape (M, k); not read for uniform weights.
        neighbour_targets: int classes (M, k), or float values (M, k) or (M, k, T).
        metric: What the distances are.
        weights: "uniform" or "distance".

    Returns:
        int64 classes (M,), or float values (M,) or (M, T).

    Raises:
        ValueError: For an unknown metric or weighting.
    """
    _one_of(weights, get_args(Weights), "weights")
    share = _shares(distances, metric) if weights == "distance" else None
    if neighbour_targets.is_floating_point():
        return _vote(neighbour_targets, share, None)
    classes, places = neighbour_targets.unique(return_inverse=True)
    return classes[_vote(places, share, len(classes))]


def _vote(targets: Tensor, share: Tensor | None, count: int | None) -> Tensor:
    """The mean of values, or the place of the class with most votes among so many; the smallest of equals."""
    if count is None:
        if share is None:
            return targets.mean(1)
        return torch.einsum("mk,mk...->m...", share.to(targets.dtype), targets)
    votes = torch.zeros(
        len(targets), count, dtype=torch.float32 if share is None else share.dtype, device=targets.device
    )
    votes.scatter_add_(1, targets, votes.new_ones(()).expand(targets.shape) if share is None else share)
    return votes.argmax(1)


class _Index:
    """A bank prepared for search, in float32: centred (Euclidean) or normalised (cosine).

    Rows are ranked by -2 b.q + |b|^2, or by -2 b.q; a query's own norm changes no rank.
    """

    def __init__(self, bank: Tensor, metric: Metric, k: int, chunk: int | None, groups: Tensor | None) -> None:
        _one_of(metric, get_args(Metric), "metric")
        if k < 1 or (chunk is not None and chunk < 1):
            raise ValueError(
                f"Expected k >= 1 and chunk >= 1 but got k={k} and chunk={chunk}; one neighbour is the least."
            )
        self.bank, self.cosine = checked_features(bank, "bank"), metric == "cosine"
        count = len(self.bank)
        self.group_of = None if groups is None else checked_groups(groups, count, self.bank.device, several=True)
        # Where every row is its own group, the row of each group; sorted, for a search.
        self.row_of: tuple[Tensor, Tensor] | None = None
        largest = 0
        if self.group_of is not None:
            known, sizes = self.group_of.unique(return_counts=True)
            largest = int(sizes.amax())
            self.row_of = (known, self.group_of.argsort()) if largest == 1 else None
        self.k = min(k, count - largest)
        most = LARGE_BANK_ROWS if self.bank.numel() > LARGE_BANK else BLOCK // count
        self.rows = max(1, most if chunk is None else min(chunk, most))
        # Ranking costs count / group^LEVELS minima and LEVELS * k * group candidates.
        group = round((count / self.k) ** (1 / (LEVELS + 1)))
        self.groups = [group] * LEVELS if group > 2 else []
        # Filled up to whole groups by rows that are infinitely far.
        whole = math.prod(self.groups)
        self.squares = torch.full((-(-count // whole) * whole, 1), torch.inf, device=self.bank.device)
        self.rows_ranked = self.bank.new_zeros(len(self.squares), self.bank.shape[1], dtype=torch.float32)
        points = self.rows_ranked[:count]
        self.centre: Tensor | None = None
        step = max(1, PREPARED // self.bank.shape[1])
        if self.cosine:
            for part, rows in zip(points.split(step), self.bank.split(step), strict=True):
                part.copy_(rows / _lengths(rows))
            self.squares[:count] = 0
        else:
            # Centring and scaling keep |b|^2 - 2 b.q from cancelling or overflowing; both leave the order unchanged.
            self.centre, self.scale = _centre_and_scale(self.bank, points)
            for part, squares in zip(points.split(step), self.squares[:count].split(step), strict=True):
                squares[:, 0] = torch.linalg.vector_norm(part, dim=1).square_()

    def blocks(self, queries: Tensor, own: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        if queries.device != self.bank.device:
            raise ValueError(
                f"Expected queries on {self.bank.device}, where the bank is, but got {queries.device}; move one."
            )
        if (own is None) != (self.group_of is None):
            raise ValueError("Expected groups and query_groups, or neither; what is left out takes both.")
        queries = checked_features(queries, "queries", self.bank.shape[1])
        parts = queries.split(self.rows)
        if own is None:
            return [(part, None) for part in parts]
        return list(zip(parts, checked_groups(own, len(queries), queries.device).split(self.rows), strict=True))

    def nearest(self, block: Tensor, own: Tensor | None) -> Tensor:
        prepared, lengths = self._prepared(block)
        levels = [torch.addmm(self.squares, self.rows_ranked, prepared.T, alpha=-2)]
        self._leave_out(levels[0], own)
        for group in self.groups:
            levels.append(levels[-1].view(-1, group, len(block)).amin(1))
        rows = torch.arange(len(levels[-1]), device=block.device)[None]
        values = levels.pop().t()
        best = _smallest(values, rows, min(self.k, rows.shape[1]))
        for group, level in zip(reversed(self.groups), reversed(levels), strict=True):
            rows = (best[:, :, None] * group + torch.arange(group, device=block.device)).flatten(1)
            values = level.t()
            best = _smallest(values.gather(1, rows), rows, min(self.k, rows.shape[1]))
        if not self.cosine:
            squares = lengths.square()
            unsure = values.gather(1, best[:, -1:])[:, 0] + squares < NEAR * squares
            if unsure.any():
                best[unsure] = self._exactly(block[unsure], None if own is None else own[unsure])
        return best

    def _leave_out(self, distances: Float[Tensor, "P m"], own: Tensor | None) -> None:
        """Put rows of a query's own group infinitely far away."""
        if own is None or self.group_of is None:
            return
        if self.row_of is None:
            distances[: len(self.bank)].masked_fill_(self.group_of[:, None] == own, torch.inf)
        else:
            known, rows = self.row_of
            place = torch.searchsorted(known, own).clamp_(max=len(known) - 1)
            found = (known[place] == own).nonzero()[:, 0]
            distances[rows[place[found]], found] = torch.inf

    def _exactly(self, block: Tensor, own: Tensor | None) -> Tensor:
        """The nearest rows by differences in float64, ties by row."""
        distances = torch.cdist(block.double(), self.bank.double(), compute_mode="donot_use_mm_for_euclid_dist")
        self._leave_out(distances.T, own)
        return distances.sort(dim=1, stable=True).indices[:, : self.k]

    def distances(self, block: Tensor, nearest: Tensor) -> Tensor:
        parts = zip(block[:, None].split(GATHERED), nearest.split(GATHERED), strict=True)
        distance = _cosine_distance if self.cosine else _euclidean_distance
        return torch.cat([distance(self.bank[rows], part) for part, rows in parts])

    def _prepared(self, queries: Tensor) -> tuple[Float[Tensor, "m K"], Float[Tensor, "m"]]:
        """Queries as the bank is prepared, and their lengths then."""
        if self.centre is None:
            return (queries / _lengths(queries)).float(), queries.new_ones(len(queries))
        centred = queries - self.centre
        if self.scale != 1:
            centred.div_(self.scale)
        lengths = torch.linalg.vector_norm(centred, dim=1)
        if not bool((lengths < FARTHEST).all()):
            lengths = torch.linalg.vector_norm(centred.clamp_(-FARTHEST, FARTHEST), dim=1)
        return centred.float(), lengths.float()


def _centre_and_scale(bank: Float[Tensor, "N K"], out: Float[Tensor, "N K"]) -> tuple[Float[Tensor, "K"], float]:
    """Write the centred and scaled bank; return its centre and scale.

    The centre is the mean of the rows that are not far from all others: one row of 1e7 must not move it. The scale is
    1 unless squares could overflow or vanish, else the median of the rows' largest coordinates.
    """
    centre = bank.mean(0)
    largest = _write_centred(bank, centre, 1.0, out)
    for _ in range(OUTLIER_ROUNDS):
        kept = largest <= OUTLYING * largest.median()
        if bool(kept.all()):
            break
        centre = bank[kept].mean(0)
        largest = _write_centred(bank, centre, 1.0, out)
    typical = float(largest.median())
    if SAFE[0] < typical and float(largest.amax()) < SAFE[1]:
        return centre, 1.0
    scale = typical or 1.0
    _write_centred(bank, centre, scale, out)
    return centre, scale


def _write_centred(bank: Tensor, centre: Tensor, scale: float, out: Tensor) -> Float[Tensor, "N"]:
    """Largest coordinate of each centred row, before scaling."""
    step, largest = max(1, PREPARED // bank.shape[1]), []
    for part, rows in zip(out.split(step), bank.split(step), strict=True):
        centred = rows - centre
        largest.append(centred.abs().amax(1))
        part.copy_(centred if scale == 1 else centred.div_(scale).clamp_(-FARTHEST, FARTHEST))
    return torch.cat(largest)


def _lengths(features: Float[Tensor, "*N K"]) -> Float[Tensor, "*N 1"]:
    """What rows are divided by to have length 1; rows of zeros stay."""
    norms = row_norms(features)[..., None]
    return torch.where(norms > 0, norms, 1)


def _euclidean_distance(rows: Tensor, query: Tensor) -> Tensor:
    return row_norms(rows.sub_(query))


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


def _one_of(value: str, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise ValueError(f"Expected {name} to be one of {choices} but got {value!r}; choose one of these.")
