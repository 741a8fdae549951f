"""Probes by name: one fit on a bank, predictions for any number of sets of queries, one score for each kind of target.

| targets | kind | predictions | main score |
|---|---|---|---|
| integers (N,) | classes | classes | accuracy |
| floats (N,) or (N, T) | values | values | R², and the mean absolute error beside it |
| 0 and 1, (N, T) | labels | scores of each label | mean average precision over the labels that occur |
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

import torch

from lightning_invariant.probes.jackknife import GROUPS, score_gap_interval
from lightning_invariant.probes.knn import knn_predict
from lightning_invariant.probes.logistic import logistic_fit
from lightning_invariant.probes.ridge import ridge_fit
from lightning_invariant.probes.samples import checked_targets, full_precision
from lightning_invariant.probes.scores import Interval, accuracy, mean_average_precision, paired_gap_interval, r2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Shaped
    from torch import Tensor

ProbeName = Literal["knn", "weighted_knn", "cosine_knn", "weighted_cosine_knn", "linear", "logistic"]
Kind = Literal["classes", "values", "labels"]
PROBES: tuple[ProbeName, ...] = get_args(ProbeName)
DEFAULT_PROBES: tuple[ProbeName, ...] = ("knn", "linear")


def target_kind(targets: Shaped[Tensor, "N *T"]) -> Kind:
    """What targets are: classes (integers of one dimension), several labels (a matrix of 0 and 1), or values.

    Example:
        >>> target_kind(torch.tensor([0, 2])), target_kind(torch.tensor([0.1, 2.0])), target_kind(torch.eye(2))
        ('classes', 'values', 'labels')
    """
    if targets.ndim == 1 and not targets.is_floating_point():
        return "classes"
    return "labels" if targets.ndim == 2 and bool(((targets == 0) | (targets == 1)).all()) else "values"


@full_precision
def probe_predictions(
    name: ProbeName,
    bank: Float[Tensor, "N K"],
    targets: Shaped[Tensor, "N *T"],
    queries: Sequence[Float[Tensor, "M K"]],
    *,
    neighbours: int = 20,
) -> list[Shaped[Tensor, "M *T"]]:
    """Fit a probe once and ask it about each set of queries.

    Args:
        name: One of `PROBES`.
        bank: What it is fitted on.
        targets: Classes, values or labels of the bank.
        queries: Sets of features.
        neighbours: k of the nearest-neighbour probes; at most the bank is used.

    Returns:
        Predictions for each set: classes, values, or scores of each label.

    Raises:
        ValueError: An unknown name, logistic regression on values, or samples that do not fit.
    """
    if name not in PROBES:
        raise ValueError(f"Expected a probe among {PROBES} but got {name!r}.")
    kind = target_kind(targets)
    if kind == "labels" and not targets.is_floating_point():
        targets = targets.float()
    if name == "linear":
        model = ridge_fit(bank, targets)
        return [model.predict(rows) for rows in queries]
    if name == "logistic":
        return _logistic(bank, checked_targets(targets, len(bank)), kind, queries)
    metric = "cosine" if "cosine" in name else "euclidean"
    weights = "distance" if name.startswith("weighted") else "uniform"
    ask = partial(knn_predict, bank, targets, k=neighbours, metric=metric, weights=weights)
    return [ask(rows) for rows in queries]


def probe_score(predictions: Shaped[Tensor, "M *T"], targets: Shaped[Tensor, "M *T"]) -> float:
    """Accuracy of classes, R² of values, mean average precision of labels; 0 where no label occurs.

    Raises:
        ValueError: Empty or mismatched input.
    """
    kind = target_kind(targets)
    if kind == "labels":
        return mean_average_precision(predictions, targets) if bool(targets.any()) else 0.0
    return accuracy(predictions, targets) if kind == "classes" else r2(predictions, targets)


def probe_gap_interval(
    a: Shaped[Tensor, "M *T"], b: Shaped[Tensor, "M *T"], targets: Shaped[Tensor, "M *T"], *, seed: int = 0
) -> Interval | None:
    """95% confidence interval of the score of a minus that of b on the same queries.

    Args:
        a: Predictions of one probe.
        b: Those of another, in the same order.
        targets: What is true.
        seed: Of the jackknife's groups.

    Returns:
        Newcombe's paired interval for classes, a jackknife interval otherwise; None for fewer than 40 values or labels.
    """
    if target_kind(targets) == "classes":
        return paired_gap_interval(a == targets, b == targets)
    return score_gap_interval(probe_score, a, b, targets, seed=seed) if len(targets) >= 2 * GROUPS else None


def _logistic(bank: Tensor, targets: Tensor, kind: Kind, queries: Sequence[Tensor]) -> list[Tensor]:
    if kind == "values":
        raise ValueError("Expected classes or labels of 0 and 1 for logistic regression but got values; use 'linear'.")
    if kind == "classes":
        model = logistic_fit(bank, targets)
        return [model.predict(rows) for rows in queries]
    scores = [_label_scores(bank, column, queries) for column in targets.long().unbind(1)]
    return [torch.stack(columns, dim=1) for columns in zip(*scores, strict=True)]


def _label_scores(bank: Tensor, column: Tensor, queries: Sequence[Tensor]) -> list[Tensor]:
    if len(column.unique()) == 1:  # nothing to learn: every query is as likely
        return [rows.new_zeros(len(rows)) for rows in queries]
    model = logistic_fit(bank, column)
    return [model.scores(rows)[:, 1] - model.scores(rows)[:, 0] for rows in queries]
