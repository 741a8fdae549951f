"""Ridge and logistic regression against scikit-learn on the same standardised features."""

from __future__ import annotations

import warnings
from dataclasses import FrozenInstanceError

import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from lightning_invariant.probes import LinearModel, accuracy, logistic_fit, r2, ridge_fit

GENERATOR = torch.Generator().manual_seed(0)
MIXING = torch.randn(9, 9, generator=GENERATOR, dtype=torch.float64)
FEATURES = torch.randn(300, 9, generator=GENERATOR, dtype=torch.float64) @ MIXING + 5
WEIGHT = torch.randn(9, 3, generator=GENERATOR, dtype=torch.float64)
VALUES = FEATURES @ WEIGHT + torch.randn(300, 3, generator=GENERATOR, dtype=torch.float64) + 2
LABELS = (VALUES - VALUES.mean(0)).argmax(1)
SCALED = StandardScaler().fit_transform(FEATURES.numpy())


@pytest.mark.parametrize("targets", [VALUES, VALUES[:, 0]])
@pytest.mark.parametrize("alpha", [1e-6, 1e-3, 1.0])
def test_ridge_equals_scikit_learns(targets: torch.Tensor, alpha: float) -> None:
    expected = Ridge(alpha=alpha * len(SCALED)).fit(SCALED, targets.numpy()).predict(SCALED)
    predicted = ridge_fit(FEATURES, targets, alpha=alpha).predict(FEATURES)
    torch.testing.assert_close(predicted, torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_ridge_on_more_features_than_samples_equals_scikit_learns() -> None:
    features = torch.randn(40, 90, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    scaled = StandardScaler().fit_transform(features.numpy())
    model = ridge_fit(features[:, :], VALUES[:40], alpha=0.1)
    expected = Ridge(alpha=0.1 * 40).fit(scaled, VALUES[:40].numpy()).predict(scaled)
    torch.testing.assert_close(model.predict(features), torch.from_numpy(expected), rtol=1e-9, atol=1e-9)


def test_ridge_classifies_and_shuffled_labels_give_chance() -> None:
    model = ridge_fit(FEATURES[:200], LABELS[:200] + 4)
    assert model.classes is not None
    assert model.classes.tolist() == [4, 5, 6]
    assert accuracy(model.predict(FEATURES[200:]), LABELS[200:] + 4) > 0.7
    shuffled = LABELS[torch.randperm(300, generator=torch.Generator().manual_seed(2))]
    assert accuracy(ridge_fit(FEATURES[:200], shuffled[:200]).predict(FEATURES[200:]), LABELS[200:]) < 0.55


@pytest.mark.parametrize("penalty", [1e-4, 1e-2, 1.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_equals_scikit_learns(penalty: float, classes: int) -> None:
    labels = LABELS.clamp(max=classes - 1)
    # A symmetric pair of columns with penalty p is one column with penalty p / 2.
    strength = penalty / 2 if classes == 2 else penalty
    reference = LogisticRegression(C=1 / (len(SCALED) * strength), tol=1e-10, max_iter=10_000).fit(SCALED, labels)
    model = logistic_fit(FEATURES, labels, penalty=penalty, tolerance=1e-13)
    assert model.converged
    assert torch.equal(model.predict(FEATURES), torch.from_numpy(reference.predict(SCALED)))
    expected = torch.from_numpy(reference.predict_proba(SCALED))
    torch.testing.assert_close(model.scores(FEATURES).softmax(1), expected, rtol=1e-5, atol=1e-6)


def test_logistic_says_when_it_has_not_converged() -> None:
    model = logistic_fit(FEATURES, LABELS, max_iterations=2, tolerance=1e-8)
    assert not model.converged
    assert model.iterations == 2


def test_logistic_in_float32_converges_on_badly_scaled_features() -> None:
    features = (FEATURES * torch.logspace(-6, 6, 9, dtype=torch.float64)).float()
    model = logistic_fit(features, LABELS)
    assert model.converged
    assert model.iterations < 60
    same = logistic_fit(FEATURES, LABELS).predict(FEATURES)
    assert accuracy(model.predict(features), same) > 0.98


@pytest.mark.parametrize("fit", [ridge_fit, logistic_fit])
def test_shuffled_classes_give_chance(fit: object) -> None:
    shuffled = torch.arange(300) % 3
    model = fit(FEATURES[:200], shuffled[:200])
    assert accuracy(model.predict(FEATURES[200:]), shuffled[200:]) < 0.55


@pytest.mark.parametrize("fit", [ridge_fit, logistic_fit])
def test_one_class_and_constant_features_are_predicted_not_refused(fit: object) -> None:
    assert fit(FEATURES, torch.full((300,), 6)).predict(FEATURES).unique().tolist() == [6]
    constant = fit(torch.full((300, 4), 0.1), torch.arange(300) % 10 // 6)
    assert constant.predict(torch.full((2, 4), 0.1)).tolist() == [0, 0]
    assert constant.weight.abs().max() == 0


def test_a_constant_target_and_one_sample_are_met() -> None:
    torch.testing.assert_close(
        ridge_fit(FEATURES, torch.full((300,), 3.0)).predict(FEATURES), torch.full((300,), 3.0).double()
    )
    assert ridge_fit(FEATURES[:1], VALUES[:1]).predict(FEATURES[:1]) == pytest.approx(VALUES[:1].numpy())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes_are_computed_in_float32(dtype: torch.dtype) -> None:
    model = ridge_fit(FEATURES.to(dtype), VALUES.float())
    assert model.weight.dtype == torch.float32
    assert r2(model.predict(FEATURES.to(dtype)), VALUES) > 0.9
    assert logistic_fit(FEATURES.to(dtype), LABELS).converged


@pytest.mark.parametrize("fit", [ridge_fit, logistic_fit])
def test_no_graph_no_autocast_no_randomness(fit: object) -> None:
    features, state = FEATURES.float(), torch.get_rng_state()
    plain = fit(features, LABELS)
    assert not fit(features.clone().requires_grad_(), LABELS).weight.requires_grad
    with torch.inference_mode():
        assert torch.equal(fit(features, LABELS).weight, plain.weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fit(features, LABELS).weight, plain.weight)
        scores = plain.scores(features)
    assert torch.equal(scores, plain.scores(features))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_model_is_frozen() -> None:
    model = LinearModel(torch.ones(2, 1), torch.zeros(1))
    with pytest.raises(FrozenInstanceError):
        model.bias = torch.ones(1)


@pytest.mark.parametrize("fit", [ridge_fit, logistic_fit])
def test_bad_input_is_explained(fit: object) -> None:
    with pytest.raises(ValueError, match="at least one"):
        fit(FEATURES[:0], LABELS[:0])
    with pytest.raises(ValueError, match="one target a sample"):
        fit(FEATURES, LABELS[:7])
    with pytest.raises(ValueError, match="classes from 0 but got -1"):
        fit(FEATURES, LABELS - 1)
    with pytest.raises(ValueError, match="300 of 300 rows"):
        fit(FEATURES / 0, LABELS)
    with pytest.raises(ValueError, match="with 9 features a row but got 4"):
        fit(FEATURES, LABELS).predict(FEATURES[:, :4])


def test_bad_settings_are_explained() -> None:
    with pytest.raises(ValueError, match="alpha above 0"):
        ridge_fit(FEATURES, VALUES, alpha=0)
    with pytest.raises(ValueError, match="penalty above 0"):
        logistic_fit(FEATURES, LABELS, penalty=0)
    with pytest.raises(ValueError, match="integer classes"):
        logistic_fit(FEATURES, VALUES)


def test_scikit_learn_needs_many_more_iterations_on_correlated_features() -> None:
    correlated = FEATURES @ torch.diag(torch.logspace(0, 3, 9, dtype=torch.float64)) @ MIXING
    scaled = StandardScaler().fit_transform(correlated.numpy())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = LogisticRegression(C=1 / (300 * 1e-4), tol=1e-6, max_iter=5000).fit(scaled, LABELS)
    model = logistic_fit(correlated, LABELS, tolerance=1e-6)
    assert model.converged
    assert model.iterations < int(plain.n_iter_[0])
