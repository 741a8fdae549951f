"""Scores against scikit-learn, intervals against SciPy, published values and their own coverage."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import binomtest
from sklearn import metrics

from lightning_invariant.probes import (
    accuracy,
    accuracy_interval,
    mae,
    mean_average_precision,
    paired_gap_interval,
    r2,
)

GENERATOR = torch.Generator().manual_seed(0)
TARGETS = torch.randn(80, 3, generator=GENERATOR)
PREDICTIONS = TARGETS + 0.5 * torch.randn(80, 3, generator=GENERATOR)


def test_accuracy() -> None:
    predictions, targets = torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 7])
    assert accuracy(predictions, targets) == metrics.accuracy_score(targets, predictions) == 0.5


@pytest.mark.parametrize("columns", [slice(0, 3), 0])
def test_r2_and_mae_equal_scikit_learns(columns: slice | int) -> None:
    predictions, targets = PREDICTIONS[:, columns], TARGETS[:, columns]
    assert r2(predictions, targets) == pytest.approx(metrics.r2_score(targets, predictions), rel=1e-6)
    assert mae(predictions, targets) == pytest.approx(metrics.mean_absolute_error(targets, predictions), rel=1e-6)
    assert r2(targets.mean(0).expand(targets.shape), targets) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("predictions", [[0.1, 0.1, 0.1], [0.1, 0.2, 0.3]])
def test_r2_of_a_constant_target_is_finite(predictions: list[float]) -> None:
    targets = torch.full((3,), 0.1)
    assert r2(torch.tensor(predictions), targets) == metrics.r2_score(
        targets, predictions if predictions[1] > 0.1 else targets
    )


@pytest.mark.parametrize("digits", [8, 1, 0])
def test_mean_average_precision_equals_scikit_learns_with_and_without_ties(digits: int) -> None:
    truth = TARGETS > 0.6
    scores = PREDICTIONS.round(decimals=digits)
    expected = metrics.average_precision_score(truth.numpy(), scores.numpy(), average="macro")
    assert mean_average_precision(scores, truth) == pytest.approx(expected, rel=1e-9)
    assert mean_average_precision(-scores, truth) < expected - 0.3


def test_labels_that_never_occur_are_left_out() -> None:
    truth = TARGETS > 0.6
    with_empty = torch.cat([truth, torch.zeros(80, 1, dtype=torch.bool)], 1)
    scores = torch.cat([PREDICTIONS, PREDICTIONS[:, :1]], 1)
    assert mean_average_precision(scores, with_empty) == mean_average_precision(PREDICTIONS, truth)


@pytest.mark.parametrize(("right", "total"), [(0, 10), (10, 10), (7, 10), (9123, 10_000)])
@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_accuracy_interval_equals_scipys(right: int, total: int, confidence: float) -> None:
    expected = binomtest(right, total).proportion_ci(confidence, method="wilson")
    interval = accuracy_interval(torch.arange(total) < right, confidence=confidence)
    assert interval == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert interval.low < interval.high


def table(both: int, only_a: int, only_b: int, neither: int) -> tuple[torch.Tensor, torch.Tensor]:
    counts = torch.tensor([both, only_a, only_b, neither])
    return (torch.tensor([True, True, False, False]).repeat_interleave(counts),
            torch.tensor([True, False, True, False]).repeat_interleave(counts))  # fmt: skip


def test_gap_interval_equals_the_published_example() -> None:
    # Newcombe 1998, table II, first column, method 10.
    assert paired_gap_interval(*table(36, 12, 2, 0)) == pytest.approx((0.0569, 0.3404), abs=5e-5)


def test_gap_interval_is_antisymmetric_and_ordered() -> None:
    a, b = table(50, 20, 5, 25)
    low, high = paired_gap_interval(a, b)
    assert paired_gap_interval(b, a) == pytest.approx((-high, -low))
    assert 0 < low < 0.15 < high
    assert paired_gap_interval(a, a).low <= 0 <= paired_gap_interval(a, a).high


def test_gap_interval_covers_the_truth_as_often_as_it_says() -> None:
    generator = torch.Generator().manual_seed(1)
    shares = torch.tensor([0.6, 0.2, 0.1, 0.1])  # the true gap is 0.1
    covered = 0
    for _ in range(600):
        drawn = torch.multinomial(shares, 120, replacement=True, generator=generator)
        low, high = paired_gap_interval((drawn == 0) | (drawn == 1), (drawn == 0) | (drawn == 2))
        covered += low <= 0.1 <= high
    assert 0.925 <= covered / 600 <= 0.98


@pytest.mark.parametrize("score", [accuracy, r2, mae, paired_gap_interval])
@pytest.mark.parametrize("lengths", [(0, 0), (3, 4)])
def test_mismatched_or_empty_scores_are_explained(score: object, lengths: tuple[int, int]) -> None:
    one, other = (torch.ones(n, dtype=torch.bool) for n in lengths)
    with pytest.raises(ValueError, match="at least one entry"):
        score(one, other)


def test_other_bad_input_is_explained() -> None:
    truth = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="at least one positive"):
        mean_average_precision(truth, truth)
    with pytest.raises(ValueError, match="0 and 1"):
        mean_average_precision(truth, truth + 0.5)
    with pytest.raises(ValueError, match="predictions == targets"):
        accuracy_interval(torch.ones(3))
    with pytest.raises(ValueError, match="between 0 and 1"):
        accuracy_interval(torch.ones(3, dtype=torch.bool), confidence=95)
