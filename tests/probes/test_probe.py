"""Probes by name, against scikit-learn, on every kind of target."""

import numpy as np
import pytest
import torch

from lightning_invariant.probes import (
    PROBES,
    mean_average_precision,
    probe_gap_interval,
    probe_predictions,
    probe_score,
    r2,
    score_gap_interval,
    target_kind,
)


def samples(seed=0, count=300, kind="classes"):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 6, generator=generator)
    hidden = x @ torch.randn(6, 3, generator=torch.Generator().manual_seed(9))
    noisy = hidden + 0.5 * torch.randn(count, 3, generator=generator)
    return x, {"classes": noisy.argmax(1), "values": noisy[:, 0], "labels": (noisy > 0.5).float()}[kind]


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("kind", ["classes", "values", "labels"])
def test_every_probe_learns_every_kind(name, kind):
    (bank, targets), (queries, truth) = samples(kind=kind), samples(1, kind=kind)
    assert target_kind(targets) == kind
    if (name, kind) == ("logistic", "values"):
        with pytest.raises(ValueError, match="use 'linear'"):
            probe_predictions(name, bank, targets, [queries])
        return
    right, wrong = probe_predictions(name, bank, targets, [queries, queries.roll(1, 0)])
    assert probe_score(right, truth) > 0.6
    assert probe_score(wrong, truth) < 0.5


def test_scores_are_those_of_scikit_learn():
    neighbors, linear = pytest.importorskip("sklearn.neighbors"), pytest.importorskip("sklearn.linear_model")
    (bank, targets), (queries, _) = samples(), samples(1)
    weighted = neighbors.KNeighborsClassifier(9, weights="distance").fit(bank, targets).predict(queries)
    assert np.array_equal(probe_predictions("weighted_knn", bank, targets, [queries], neighbours=9)[0], weighted)
    cosine = neighbors.KNeighborsClassifier(9, metric="cosine").fit(bank, targets).predict(queries)
    assert np.array_equal(probe_predictions("cosine_knn", bank, targets, [queries], neighbours=9)[0], cosine)
    model = linear.LogisticRegression(C=1 / (len(bank) * 1e-4), max_iter=1000)
    scale = bank.std(0, correction=0)
    fitted = model.fit((bank - bank.mean(0)) / scale, targets).predict((queries - bank.mean(0)) / scale)
    agree = (probe_predictions("logistic", bank, targets, [queries])[0].numpy() == fitted).mean()
    assert agree > 0.99


def test_several_labels_are_scored_as_scikit_learn_does():
    metrics = pytest.importorskip("sklearn.metrics")
    (bank, targets), (queries, truth) = samples(kind="labels"), samples(1, kind="labels")
    scores = probe_predictions("logistic", bank, targets.bool(), [queries])[0]
    assert probe_score(scores, truth) == pytest.approx(metrics.average_precision_score(truth, scores, average="macro"))


def test_a_label_that_never_occurs_is_no_obstacle():
    (bank, targets), (queries, truth) = samples(kind="labels"), samples(1, kind="labels")
    targets[:, 1], truth[:, 1] = 0, 0
    scores = probe_predictions("logistic", bank, targets, [queries])[0]
    assert (scores[:, 1] == 0).all()
    assert 0.5 < probe_score(scores, truth) < 1
    assert probe_score(scores, torch.zeros_like(truth)) == 0


def test_unknown_names_are_refused():
    bank, targets = samples()
    with pytest.raises(ValueError, match="Expected a probe among"):
        probe_predictions("svm", bank, targets, [bank])


def test_the_jackknife_covers_the_true_difference():
    """In 95% of repeated experiments; the difference of two R² is known from a very long one."""

    def experiment(seed, count):
        generator = torch.Generator().manual_seed(seed)
        truth, noise = torch.randn(count, generator=generator), torch.randn(2, count, generator=generator)
        return truth + 0.3 * noise[0], truth + 0.6 * noise[0] + 0.2 * noise[1], truth

    a, b, truth = experiment(0, 400_000)
    true = r2(a, truth) - r2(b, truth)
    covered = [low <= true <= high for s in range(1, 301) for low, high in [_interval(*experiment(s, 200))]]
    assert 0.91 < sum(covered) / len(covered) < 0.985


def _interval(a, b, truth):
    return score_gap_interval(r2, a, b, truth)


def test_the_interval_is_the_same_again_and_narrows_with_more_queries():
    (bank, targets), (queries, truth) = samples(kind="values"), samples(1, 1200, kind="values")
    (a,), (b,) = (probe_predictions(name, bank, targets, [queries]) for name in ("linear", "knn"))
    interval = probe_gap_interval(a, b, truth)
    assert interval == probe_gap_interval(a, b, truth)
    assert interval.low < probe_score(a, truth) - probe_score(b, truth) < interval.high
    wider = probe_gap_interval(a[:100], b[:100], truth[:100])
    assert interval.high - interval.low < 0.6 * (wider.high - wider.low)
    assert probe_gap_interval(a[:10], b[:10], truth[:10]) is None
    with pytest.raises(ValueError, match="at least 40"):
        score_gap_interval(r2, a[:10], b[:10], truth[:10])


def test_intervals_of_labels_and_classes():
    truth = samples(1, kind="labels")[1]
    good, bad = truth + 0.1 * torch.rand(truth.shape), torch.rand(truth.shape)
    low, high = probe_gap_interval(good, bad, truth)
    assert 0 < low < mean_average_precision(good, truth) - mean_average_precision(bad, truth) < high
    classes = torch.arange(100) % 3
    low, high = probe_gap_interval(classes, torch.zeros(100, dtype=torch.int64), classes)
    assert 0.5 < low < 0.66 < high < 0.8
