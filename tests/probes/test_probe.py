"""Probes on every kind of target: leave-one-out against refits, and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import linear_model, metrics, neighbors

from lightning_invariant.groups import Symmetric
from lightning_invariant.groups.actions.graphs import fix_padding
from lightning_invariant.probes import (
    KNN,
    PROBES,
    Logistic,
    Ridge,
    logistic_fit,
    mean_average_precision,
    parse_probes,
    pose_skill,
    probe_score,
    ridge_leave_out,
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
def test_every_probe_learns_every_kind_with_and_without_leaving_out(name, kind):
    (bank, targets), (queries, truth) = samples(kind=kind), samples(1, kind=kind)
    probe, own = PROBES[name], torch.arange(40, 100)
    assert target_kind(targets) == kind
    if (name, kind) == ("logistic", "values"):
        with pytest.raises(ValueError, match="use 'linear'"):
            probe.predict(bank, targets, [queries])
        return
    right, wrong = probe.predict(bank, targets, [queries, queries.roll(1, 0)])
    assert probe_score(right, truth) > 0.6
    assert probe_score(wrong, truth) < 0.5
    near, far = probe.leave_out(bank, targets, [bank[own] + 0.01, bank[own].roll(1, 0)], [own, own])
    assert probe_score(near, targets[own]) > 0.6
    assert probe_score(far, targets[own]) < 0.5


@pytest.mark.parametrize("size", [1e-30, 1e-19, 1e19, 1e30])
@pytest.mark.parametrize("name", PROBES)
def test_latents_of_any_size_in_float32_are_read_alike(name, size):
    bank, targets = samples()
    queries, _ = samples(1)
    probe, own = PROBES[name], torch.arange(len(bank))
    for asked in (lambda x: probe.predict(x(bank), targets, [x(queries)])[0],
                  lambda x: probe.leave_out(x(bank), targets, [x(bank) + x(0.1 * queries)], [own])[0]):  # fmt: skip
        assert (asked(lambda x, size=size: size * x) == asked(lambda x: x)).double().mean() > 0.99


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_values_of_any_size_choose_the_same_penalty(size):
    bank, _ = samples()
    values = bank[:, :1] + 0.1 * bank[:, 1:2].square()
    assert ridge_leave_out(bank, size * values).alpha == ridge_leave_out(bank, values).alpha


@pytest.mark.parametrize("probe", [KNN(), KNN(k=3, weights="distance"), KNN(metric="cosine"), Ridge(alpha=0.1)])
@pytest.mark.parametrize("kind", ["classes", "values", "labels"])
@pytest.mark.parametrize("size", [1, 4])
def test_leaving_out_is_a_fit_without_the_group(probe, kind, size):
    bank, targets = samples(count=60, kind=kind)
    groups, own = torch.arange(60) // size, torch.arange(0, 60, 2)
    queries = bank[own] + 0.2
    (found,) = probe.leave_out(bank, targets, [queries], [own], None if size == 1 else groups)
    for query, row, predicted in zip(queries, own, found, strict=True):
        kept = groups != groups[row]
        (expected,) = probe.predict(bank[kept], targets[kept], [query[None]])
        # The ridge keeps mean and scale of the whole bank, so that single predictions differ a little.
        if isinstance(probe, Ridge):
            if kind != "classes":
                torch.testing.assert_close(predicted.double(), expected[0].double(), atol=0.05, rtol=0.05)
        else:
            torch.testing.assert_close(predicted, expected[0])


def test_noise_labels_cannot_be_known():
    """Leave-one-out gives chance, where a fit that has seen its queries is right."""
    bank, _ = samples(count=200)
    noise, own = torch.randint(2, (200,), generator=torch.Generator().manual_seed(5)), torch.arange(200)
    for probe in (KNN(k=1), Ridge(), Logistic()):
        (left,) = probe.leave_out(bank, noise, [bank], [own])
        assert abs(probe_score(left, noise) - 0.5) < 0.12
    assert probe_score(KNN(k=1).predict(bank, noise, [bank])[0], noise) == 1


def test_logistic_tenths_leave_out_whole_groups():
    """Every sample twice with a label of its own: only a fit that saw the copy knows it."""
    half = 10 * torch.randn(60, 80, generator=torch.Generator().manual_seed(0))
    bank, labels = half.repeat(2, 1), (torch.arange(60) % 2).repeat(2)
    own, groups = torch.arange(120), torch.arange(120) % 60
    (alone,) = Logistic().leave_out(bank, labels, [bank], [own])
    (grouped,) = Logistic().leave_out(bank, labels, [bank], [own], groups)
    assert probe_score(alone, labels) > 0.9
    assert probe_score(grouped, labels) < 0.7
    with pytest.raises(ValueError, match="at least 2 groups"):
        Logistic().leave_out(bank, labels, [bank], [own], torch.zeros(120).long())


def test_scores_are_those_of_scikit_learn():
    (bank, targets), (queries, _) = samples(), samples(1)
    weighted = neighbors.KNeighborsClassifier(9, weights="distance").fit(bank, targets).predict(queries)
    assert np.array_equal(KNN(9, weights="distance").predict(bank, targets, [queries])[0], weighted)
    cosine = neighbors.KNeighborsClassifier(9, metric="cosine").fit(bank, targets).predict(queries)
    assert np.array_equal(KNN(9, metric="cosine").predict(bank, targets, [queries])[0], cosine)


@pytest.mark.parametrize("count", [40, 100, 400])
@pytest.mark.parametrize("size", [5, 64, 300])
@pytest.mark.parametrize("kind", ["noise", "separable"])
def test_logistic_regression_reaches_scikit_learns_objective(count, size, kind):
    generator = torch.Generator().manual_seed(count + size)
    x = torch.randn(count, size, generator=generator) * torch.logspace(0, -2, size)
    y = torch.randint(5, (count,), generator=generator)
    if kind == "separable":
        y = (x[:, :5] / x[:, :5].std(0)).argmax(1)
    model, penalty = logistic_fit(x, y), 1e-4
    scale = x.std(0, correction=0).double()
    standard = (x.double() - x.double().mean(0)) / scale

    def objective(weight, bias):
        loss = torch.nn.functional.cross_entropy(standard @ weight + bias, y)
        return (loss + penalty / 2 * weight.square().sum()).item()

    reference = linear_model.LogisticRegression(C=1 / (count * penalty), max_iter=20_000, tol=1e-9)
    reference.fit(standard.numpy(), y.numpy())
    least = objective(torch.from_numpy(reference.coef_.T), torch.from_numpy(reference.intercept_))
    weight = model.weight.double() * scale[:, None]
    found = objective(weight, model.bias.double() + x.double().mean(0) @ model.weight.double())
    assert model.converged
    assert found <= least * (1 + 1e-3)


def test_several_labels_are_scored_as_scikit_learn_does():
    (bank, targets), (queries, truth) = samples(kind="labels"), samples(1, kind="labels")
    scores = Logistic().predict(bank, targets.bool(), [queries])[0]
    assert probe_score(scores, truth) == pytest.approx(metrics.average_precision_score(truth, scores, average="macro"))


def test_a_label_that_never_occurs_is_no_obstacle():
    (bank, targets), (queries, truth) = samples(kind="labels"), samples(1, kind="labels")
    targets[:, 1], truth[:, 1] = 0, 0
    scores = Logistic().predict(bank, targets, [queries])[0]
    assert (scores[:, 1] == 0).all()
    assert 0.5 < probe_score(scores, truth) < 1
    with pytest.raises(ValueError, match="at least one positive"):
        probe_score(scores, torch.zeros_like(truth))
    assert mean_average_precision(scores, truth) == probe_score(scores, truth)


def test_probes_are_named_and_told_apart():
    assert [probe.key for probe in parse_probes(["knn", KNN(5, name="five"), Ridge(0.1), "weighted_cosine_knn"])] == [
        "knn",
        "five",
        "linear",
        "weighted_cosine_knn",
    ]
    assert parse_probes("knn") == (KNN(),)
    with pytest.raises(ValueError, match="Expected a probe among knn"):
        parse_probes(["svm"])
    with pytest.raises(ValueError, match="different names"):
        parse_probes(["knn", KNN(k=5)])
    for wrong in ({"k": 0}, {"metric": "manhattan"}, {"weights": "gaussian"}):
        with pytest.raises(ValueError, match="Expected"):
            KNN(**wrong)


def test_orders_of_sets_of_unlike_size_are_not_asked_for():
    group, generator = Symmetric(9), torch.Generator().manual_seed(0)
    g = group.sample(64, generator)
    sizes = torch.randint(3, 6, (64,), generator=generator)
    features = torch.nn.functional.one_hot(sizes).float()  # tell the size and nothing else
    assert pose_skill(features, group, g).skill < 0.1
    with pytest.raises(ValueError, match="sets of one size"):
        pose_skill(features, group, fix_padding(g, sizes))
