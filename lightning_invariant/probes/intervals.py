"""How far the difference of two scores on the same queries may be off by chance."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch

from lightning_invariant.probes.probe import probe_score, target_kind
from lightning_invariant.probes.samples import checked_groups, full_precision
from lightning_invariant.probes.scores import Interval, paired_gap_interval

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
    from torch import Tensor

LEAST = 8
"""Groups below which nothing is known about the spread between them."""
DRAWS, DRAWN = 999, 2**22
"""Resamples of a bootstrap, and how many numbers of them are held at one time."""
PARTS = 20
"""Parts of the delete-a-group jackknife."""
LEVEL = 0.95
BOOTSTRAP_LEVEL = 0.96
"""One percent more: with few groups and heavy tails, resamples spread a little less than samples do."""


@full_precision
def gap_interval(
    a: Shaped[Tensor, "M *T"],
    b: Shaped[Tensor, "M *T"],
    targets: Shaped[Tensor, "M *T"],
    groups: Int[Tensor, "M"] | None = None,
    *,
    seed: int = 0,
) -> Interval | None:
    """Return the 95% confidence interval of the score of a minus that of b, both on the same queries.

    Classes get Newcombe's paired interval, with the number of queries reduced by the design effect where samples of
    one group are alike. R² gets a studentised bootstrap over groups: on each side the wider end of the equal-tailed
    and the symmetric interval. Labels get the delete-a-group jackknife.

    Args:
        a: Predictions of one probe.
        b: Predictions of another, in the same order.
        targets: What is true.
        groups: Group of each query, int64 (M,); every query is its own group if None.
        seed: Seed of the bootstrap and of the jackknife's parts.

    Returns:
        The two ends; None for fewer than 8 groups, or 40 where the targets are labels.

    Raises:
        ValueError: Different numbers of queries.

    References:
        Newcombe 1998, Improved confidence intervals for the difference between binomial proportions based on paired
        data, method 10. Efron and Tibshirani 1993, An Introduction to the Bootstrap, section 12.5. Kott 2001, The
        delete-a-group jackknife, Journal of Official Statistics 17.
    """
    if not len(a) == len(b) == len(targets):
        raise ValueError(f"Expected as many predictions as targets but got {len(a)}, {len(b)} and {len(targets)}.")
    _, numbers = torch.unique(checked_groups(groups, len(targets), targets.device), return_inverse=True)
    count, kind = int(numbers.max()) + 1, target_kind(targets)
    if kind == "classes" and count == len(numbers):
        return paired_gap_interval(a == targets, b == targets)
    if count < (2 * PARTS if kind == "labels" else LEAST):
        return None
    if kind == "classes":
        return _clustered(a == targets, b == targets, numbers, count)
    return (
        _jackknife(a, b, targets, numbers, count, seed)
        if kind == "labels"
        else _bootstrap(a, b, targets, numbers, seed)
    )


def _clustered(right_a: Bool[Tensor, "M"], right_b: Bool[Tensor, "M"], groups: Tensor, count: int) -> Interval:
    """Newcombe's interval for as many independent queries as the groups are worth."""
    gaps, total = right_a.double() - right_b.double(), len(groups)
    gap = gaps.mean()
    spread = _sums(gaps - gap, groups, count).square().sum() * count / (count - 1)
    alone = (gaps - gap).square().sum()
    effect = max(1.0, float(spread / alone)) if alone > 0 else total / count
    return paired_gap_interval(right_a, right_b, worth=1 / effect, quantile=_student(count - 1))


def _bootstrap(a: Tensor, b: Tensor, targets: Tensor, groups: Tensor, seed: int) -> Interval:
    """Of g = mean over columns of U / V, for U the sum of e_b^2 - e_a^2 and V that of (y - mean)^2."""
    a, b, y = (rows.double().reshape(len(rows), -1) for rows in (a, b, targets))
    y, a, b = y - y.mean(0), a - y.mean(0), b - y.mean(0)
    count = int(groups.max()) + 1
    gain, ones = (y - b).square() - (y - a).square(), torch.ones_like(y[:, :1])
    sums = torch.stack([_sums(rows, groups, count) for rows in (gain, y, y.square(), ones.expand_as(y))])
    gap, deviation = _ratio(sums, sums.new_ones(1, count))
    generator, studentised = torch.Generator().manual_seed(seed), []
    step = max(1, DRAWN // (count * y.shape[1]))
    for start in range(0, DRAWS, step):
        draws = min(step, DRAWS - start)
        drawn = torch.randint(count, (draws, count), generator=generator).to(y.device)
        weights = sums.new_zeros(draws, count).scatter_add_(1, drawn, sums.new_ones(()).expand(drawn.shape))
        found, spread = _ratio(sums, weights)
        studentised.append((found - gap) / spread)
    t = torch.cat(studentised)
    t = t[t.isfinite()]
    if not len(t):  # the two are right and wrong alike in every sample
        return Interval(float(gap), float(gap))
    low, high = torch.quantile(t, t.new_tensor([(1 - BOOTSTRAP_LEVEL) / 2, (1 + BOOTSTRAP_LEVEL) / 2])).tolist()
    both = float(torch.quantile(t.abs(), BOOTSTRAP_LEVEL))
    return Interval(float(gap - max(high, both) * deviation), float(gap + max(-low, both) * deviation))


def _ratio(sums: Float[Tensor, "4 G T"], weights: Float[Tensor, "R G"]) -> tuple[Tensor, Tensor]:
    """G of each resample, and its standard deviation by linearisation."""
    gain, total, square, size = torch.einsum("rg,sgt->srt", weights, sums)
    variance = square - total.square() / size
    gaps = gain / variance
    # Influence of each group on the ratio; groups enter the mean of y as well.
    mean = total / size
    spread = sums[2] - 2 * mean[:, None] * sums[1] + mean[:, None].square() * sums[3]
    influence = ((sums[0] - gaps[:, None] * spread) / variance[:, None]).mean(2)
    count = len(sums[0])
    return gaps.mean(1), ((weights * influence.square()).sum(1) * count / (count - 1)).sqrt()


def _jackknife(a: Tensor, b: Tensor, targets: Tensor, groups: Tensor, count: int, seed: int) -> Interval | None:
    """The groups fall into 20 parts at random, and both scores are computed 20 times without one of them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    part = (order % PARTS).to(groups.device)[groups]

    def gap(kept: Tensor) -> float:
        return probe_score(a[kept], targets[kept]) - probe_score(b[kept], targets[kept])

    whole = gap(torch.ones_like(part, dtype=torch.bool))
    gaps = torch.tensor([gap(part != number) for number in range(PARTS)], dtype=torch.float64)
    spread = (PARTS - 1) / PARTS * float((gaps - gaps.mean()).square().sum())
    half = _student(PARTS - 1) * math.sqrt(spread)
    return Interval(whole - half, whole + half)


def _sums(rows: Float[Tensor, "M *T"], groups: Tensor, count: int) -> Float[Tensor, "G *T"]:
    return rows.new_zeros(count, *rows.shape[1:]).index_add_(0, groups, rows)


def _student(freedom: int) -> float:
    """Quantile 0.975 of Student's distribution, by Fisher and Cornish's expansion: three digits from 7 degrees on."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    terms = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + sum(term / freedom ** (i + 1) for i, term in enumerate(terms))
