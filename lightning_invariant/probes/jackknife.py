"""How far the difference of any two scores on the same queries may be off by chance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.probes.samples import full_precision
from lightning_invariant.probes.scores import Interval

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Shaped
    from torch import Tensor

GROUPS = 20
STUDENT = 2.093
"""Quantile 0.975 of Student's distribution with GROUPS - 1 degrees of freedom."""


@full_precision
def score_gap_interval(
    score: Callable[[Tensor, Tensor], float],
    a: Shaped[Tensor, "M *T"],
    b: Shaped[Tensor, "M *T"],
    targets: Shaped[Tensor, "M *T"],
    *,
    seed: int = 0,
) -> Interval:
    """95% confidence interval of score(a) - score(b), both of the same queries, by the delete-a-group jackknife.

    The queries fall into 20 groups at random, and both scores are computed 20 times without one of them: no
    distribution is assumed, and queries on which a and b agree cancel. For accuracies prefer `paired_gap_interval`,
    which stays right where nearly all queries are right.

    Args:
        score: From predictions and targets to a number, such as `r2`.
        a: Predictions of one probe.
        b: Those of another, in the same order.
        targets: What is true.
        seed: Of the split into groups.

    Returns:
        The two ends, around the difference on all queries.

    Raises:
        ValueError: Fewer than 40 queries, or different numbers of them.

    Source:
        Kott 2001, The delete-a-group jackknife, Journal of Official Statistics 17.
    """
    count = len(targets)
    if not len(a) == len(b) == count or count < 2 * GROUPS:
        raise ValueError(f"Expected at least {2 * GROUPS} queries each but got {len(a)}, {len(b)} and {count}.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    group = (torch.argsort(order) % GROUPS).to(targets.device)
    gaps = torch.tensor([_gap(score, a, b, targets, group != number) for number in range(GROUPS)], dtype=torch.float64)
    gap = score(a, targets) - score(b, targets)
    half = STUDENT * math.sqrt((GROUPS - 1) / GROUPS * float((gaps - gaps.mean()).square().sum()))
    return Interval(gap - half, gap + half)


def _gap(score: Callable[[Tensor, Tensor], float], a: Tensor, b: Tensor, targets: Tensor, kept: Tensor) -> float:
    return score(a[kept], targets[kept]) - score(b[kept], targets[kept])
