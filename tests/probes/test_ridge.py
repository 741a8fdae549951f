"""Leave-one-out ridge against refits without each group, and the penalty that it chooses."""

import pytest
import torch

from lightning_invariant.probes import ridge as module
from lightning_invariant.probes import ridge_fit, ridge_leave_out

COUNT = 60


def samples(size, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    bank = 5 + torch.randn(COUNT, size, generator=generator, dtype=dtype)
    values = bank[:, :1] + torch.randn(COUNT, 3, generator=generator, dtype=dtype)
    own = torch.randperm(COUNT, generator=generator)[:40]
    return bank, values, bank[own] + 0.3 * torch.randn(40, size, generator=generator, dtype=dtype), own


def refits(bank, values, queries, own, groups, alpha):
    """One fit for each group, without it; mean, scale and penalty of the whole bank."""
    bank, values, queries = bank.double(), values.double(), queries.double()
    mean, scale = bank.mean(0), bank.std(0, correction=0)
    x, q = (bank - mean) / scale, (queries - mean) / scale
    penalty = alpha * x.square().sum() / x.shape[1] * torch.eye(x.shape[1], dtype=torch.float64)
    upright, asked = torch.empty_like(values), torch.empty(len(q), values.shape[1], dtype=torch.float64)
    for group in groups.unique():
        kept = groups != group
        a, b = x[kept] - x[kept].mean(0), values[kept] - values[kept].mean(0)
        weight = torch.linalg.solve(a.T @ a + penalty, a.T @ b)
        bias = values[kept].mean(0) - x[kept].mean(0) @ weight
        upright[~kept] = x[~kept] @ weight + bias
        asked[groups[own] == group] = q[groups[own] == group] @ weight + bias
    return upright, asked


GROUPS = {
    "single": torch.arange(COUNT),
    "threes": torch.arange(COUNT) // 3 + 2**40,
    "uneven": torch.randint(0, 9, (COUNT,), generator=torch.Generator().manual_seed(1)),
}


@pytest.mark.parametrize("alpha", [1e-4, 1e-1])
@pytest.mark.parametrize("groups", list(GROUPS))
@pytest.mark.parametrize("size", [3, 20, 59, 60, 61, 200])
def test_predictions_are_those_of_refits_without_the_group(size, groups, alpha):
    bank, values, queries, own = samples(size)
    given = None if groups == "single" else GROUPS[groups]
    found = ridge_leave_out(bank, values, [queries, bank[own[:5]]], [own, own[:5]], groups=given, alpha=alpha)
    upright, asked = refits(bank, values, queries, own, GROUPS[groups], alpha)
    torch.testing.assert_close(found.bank, upright, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.queries[0], asked, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(found.queries[1], upright[own[:5]], rtol=1e-8, atol=1e-8)
    assert not torch.allclose(found.bank, ridge_fit(bank, values, alpha=alpha).scores(bank), atol=1e-3)


@pytest.mark.parametrize("size", [20, 60, 200])
@pytest.mark.parametrize("alpha", [1e-6, 1e-2, 1.0])
def test_single_precision_is_used_where_it_keeps_three_digits(size, alpha):
    bank, values, queries, own = samples(size, dtype=torch.float32)
    bank[:, 0] *= 1e4
    found = ridge_leave_out(bank, values, [queries], [own], alpha=alpha)
    _, asked = refits(bank, values, queries, own, GROUPS["single"], alpha)
    assert (found.queries[0] - asked).abs().max() < 5e-3 * asked.abs().max()


def test_ill_conditioned_systems_are_solved_in_double_precision(monkeypatch):
    used = []
    original = module._Samples.__init__

    def recorded(self, features, columns, dtype):
        used.append(dtype)
        original(self, features, columns, dtype)

    monkeypatch.setattr(module._Samples, "__init__", recorded)
    bank = samples(200, dtype=torch.float32)[0]
    alike = bank[:, :1] + 1e-3 * bank
    for features, alpha, expected in ((bank, 1.0, False), (alike, 1e-3, True)):
        used.clear()
        ridge_leave_out(features, torch.arange(COUNT) % 2, alpha=alpha)
        assert (torch.float64 in used) is expected


def test_classes_are_indicator_columns_and_come_back():
    bank, _, queries, own = samples(20)
    classes = torch.tensor([2**40, 5, 7])[torch.arange(COUNT) % 3]
    found = ridge_leave_out(bank, classes, [queries], [own], alpha=0.1)
    onehot = (classes[:, None] == found.classes).double()
    assert found.classes.tolist() == [5, 7, 2**40]
    torch.testing.assert_close(found.bank, ridge_leave_out(bank, onehot, alpha=0.1).bank)


def test_nothing_that_was_given_is_changed():
    bank, values, queries, own = samples(20)
    copies = bank.clone(), values.clone(), queries.clone()
    ridge_leave_out(bank, values, [queries], [own])
    ridge_fit(bank, values)
    assert all(map(torch.equal, copies, (bank, values, queries)))


def test_a_chosen_penalty_has_no_dip_where_samples_are_as_many_as_features():
    """With a small fixed penalty, the score at N = K falls far below that of fewer and of more features."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(4, (256,), generator=generator)
    bank = torch.randn(256, 512, generator=generator)
    bank[:, :4] += 3 * torch.nn.functional.one_hot(labels, 4)

    def score(size, alpha):
        found = ridge_leave_out(bank[:, :size], labels, alpha=alpha)
        return (found.classes[found.bank.argmax(1)] == labels).double().mean().item()

    assert score(256, 1e-6) < score(512, 1e-6) - 0.1
    assert score(128, None) > score(256, None) > score(512, None)
    assert score(256, None) > score(256, 1e-6) + 0.2


def test_the_penalty_is_the_best_of_all_on_the_judged_rows(monkeypatch):
    monkeypatch.setattr(module, "JUDGED", COUNT)
    bank, values, _, _ = samples(20)
    for noise in (0.0, 1.0, 30.0):
        y = values + noise * torch.randn(values.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
        weights = (y - y.mean(0)).square().sum(0)
        errors = {
            alpha: ((ridge_leave_out(bank, y, alpha=alpha).bank - y).square().sum(0) / weights).sum().item()
            for alpha in module.ALPHAS
        }
        assert ridge_leave_out(bank, y).alpha == ridge_fit(bank, y).alpha == min(errors, key=errors.get)


def test_groups_keep_copies_from_choosing_the_penalty():
    """Every row twice: each is known by its copy, so that no penalty seems best."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(40, 60, generator=generator)
    bank, y = half.repeat(2, 1), torch.randn(40, generator=generator).repeat(2)
    assert ridge_fit(bank, y).alpha < 1e-3
    assert ridge_fit(bank, y, groups=torch.arange(80) % 40).alpha > 0.5


def test_a_constant_feature_and_a_common_offset_change_nothing():
    bank, values, queries, own = samples(20, dtype=torch.float32)
    plain = ridge_leave_out(bank, values, [queries], [own], alpha=0.1)
    for shift in (0.0, 100.0):
        ones = torch.full((COUNT, 1), 7.0)
        wide = torch.cat([bank + shift, ones], dim=1)
        asked = torch.cat([queries + shift, ones[:40]], dim=1)
        found = ridge_leave_out(wide, values, [asked], [own], alpha=0.1 * 21 / 20)
        torch.testing.assert_close(found.queries[0], plain.queries[0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": torch.zeros(COUNT).long()}, "at least 2 groups"),
        ({"groups": torch.zeros(3).long()}, "groups as integers of shape"),
        ({"alpha": 0.0}, "alpha above 0"),
        ({"own": []}, "one int64 tensor a set"),
        ({"own": [torch.arange(3)]}, "one int64 tensor a set"),
    ],
)
def test_bad_input_is_explained(arguments, message):
    bank, values, queries, own = samples(5)
    with pytest.raises(ValueError, match=message):
        ridge_leave_out(**{"bank": bank, "targets": values, "queries": [queries], "own": [own], **arguments})
