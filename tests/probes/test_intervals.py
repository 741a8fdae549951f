"""Intervals of gaps: how often they hold the true difference, alone and with groups of alike samples."""

import pytest
import torch

from lightning_invariant.probes import accuracy, gap_interval, mean_average_precision, paired_gap_interval, r2
from lightning_invariant.probes.intervals import _student


def values(seed, count, kind="normal"):
    generator = torch.Generator().manual_seed(seed)
    truth, noise = torch.randn(count, generator=generator), torch.randn(2, count, generator=generator)
    if kind == "heavy":
        spread = torch.exp(0.5 * torch.randn(2, count, generator=generator))
        truth, noise = truth * spread[0], noise * spread[1]
    return truth + 0.3 * noise[0], truth + 0.6 * noise[0] + 0.2 * noise[1], truth


def covered(true, experiments):
    return sum(low <= true <= high for low, high in experiments) / len(experiments)


@pytest.mark.parametrize("kind", ["normal", "heavy"])
@pytest.mark.parametrize("count", [64, 256])
def test_intervals_of_r2_cover_the_true_difference(count, kind):
    """At least 93 of 100; the standard error of the share is one percent."""
    a, b, truth = values(0, 1_000_000, kind)
    true = r2(a, truth) - r2(b, truth)
    found = [gap_interval(*values(seed, count, kind)) for seed in range(1, 401)]
    assert covered(true, found) >= 0.925
    assert sum(high - low for low, high in found) / len(found) < 12 * count**-0.5


def clustered(seed, groups, each):
    """Classes whose rightness goes by group: of 10 samples in a group, most are right together."""
    generator = torch.Generator().manual_seed(seed)
    shift = 1.5 * torch.randn(groups, 2, generator=generator).repeat_interleave(each, 0)
    right = (shift + torch.randn(groups * each, 2, generator=generator)) < torch.tensor([0.8, 0.4])
    return right[:, 0].long(), right[:, 1].long(), torch.arange(groups).repeat_interleave(each)


def test_groups_widen_intervals_of_classes_to_what_they_cover():
    a, b, _ = clustered(0, 100_000, 10)
    true = (a - b).double().mean().item()
    ones = torch.ones(300, dtype=torch.int64)
    drawn = [clustered(seed, 30, 10) for seed in range(1, 301)]
    assert covered(true, [gap_interval(a, b, ones, groups) for a, b, groups in drawn]) >= 0.92
    assert covered(true, [gap_interval(a, b, ones) for a, b, _ in drawn]) < 0.85


def test_groups_widen_intervals_of_values():
    a, b, truth = (rows.repeat_interleave(8) for rows in values(1, 40))
    alone, grouped = gap_interval(a, b, truth), gap_interval(a, b, truth, torch.arange(40).repeat_interleave(8))
    assert grouped.high - grouped.low > 2 * (alone.high - alone.low)


def test_queries_alone_get_newcombes_interval():
    a, b, _ = clustered(1, 30, 10)
    ones = torch.ones(300, dtype=torch.int64)
    assert gap_interval(a, b, ones) == paired_gap_interval(a == 1, b == 1)
    assert gap_interval(a, b, ones, torch.randperm(300) + 7) == paired_gap_interval(a == 1, b == 1)


def test_the_gap_lies_inside_with_the_right_sign():
    a, b, truth = values(1, 200)
    low, high = gap_interval(a, b, truth)
    assert 0 < low < r2(a, truth) - r2(b, truth) < high
    mirrored = gap_interval(b, a, truth)
    assert mirrored.high < 0
    classes = torch.arange(100) % 3
    low, high = gap_interval(classes, torch.zeros(100, dtype=torch.int64), classes, torch.arange(100) // 2)
    assert 0.5 < low < 0.66 < high < 0.8
    truth = torch.eye(3)[classes]
    good, bad = truth + 0.1 * torch.rand(truth.shape), torch.rand(truth.shape)
    low, high = gap_interval(good, bad, truth)
    assert 0 < low < mean_average_precision(good, truth) - mean_average_precision(bad, truth) < high


def test_agreement_everywhere_is_no_certainty():
    ones = torch.ones(100, dtype=torch.int64)
    low, high = gap_interval(ones, ones, ones, torch.arange(100) // 5)
    assert low < -0.1 < 0.1 < high
    assert accuracy(ones, ones) == 1


def test_too_few_groups_have_no_interval():
    a, b, truth = values(1, 70)
    assert gap_interval(a[:7], b[:7], truth[:7]) is None
    assert gap_interval(a, b, truth, torch.arange(70) % 7) is None
    assert gap_interval(a, b, truth, torch.arange(70) % 8) is not None
    labels = torch.eye(2)[torch.arange(39) % 2]
    assert gap_interval(labels, labels, labels) is None
    with pytest.raises(ValueError, match="as many predictions"):
        gap_interval(a[:5], b, truth)


def test_the_same_again_and_no_global_random_state():
    state, drawn = torch.get_rng_state(), values(1, 100)
    assert gap_interval(*drawn) == gap_interval(*drawn)
    assert gap_interval(*drawn, seed=1) != gap_interval(*drawn)
    assert torch.equal(state, torch.get_rng_state())


def test_students_quantile():
    for freedom, expected in ((7, 2.365), (19, 2.093), (1000, 1.962)):
        assert _student(freedom) == pytest.approx(expected, abs=2e-3)


def test_predictions_that_are_the_same_have_a_gap_of_zero_for_certain():
    predicted, targets = torch.randn(100), torch.randn(100)
    assert gap_interval(predicted, predicted, targets, torch.arange(100), seed=0) == (0.0, 0.0)
