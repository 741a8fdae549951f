from __future__ import annotations

import math

import pytest
import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import SO2, Cyclic, Dihedral, Matrices, Representation, Symmetric
from lightning_invariant.metrics import (
    equivariance_error,
    equivariance_errors,
    holding_subgroup,
    invariance_error,
    mean_distance,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_error_is_relative_to_different_samples():
    f = torch.randn(50, 4, generator=generator())
    noise = 0.1 * torch.randn(50, 4, generator=generator(1))
    expected = noise.norm(dim=1).mean() / torch.nn.functional.pdist(f).mean()
    assert invariance_error(f + noise, f) == pytest.approx(expected.item(), rel=1e-5)
    assert invariance_error(10 * (f + noise), 10 * f) == pytest.approx(expected.item(), rel=1e-5)
    assert invariance_error(f, f) == 0
    assert invariance_error(f[torch.randperm(50, generator=generator(2))], f) > 0.8


@pytest.mark.parametrize("level", [0.0, 1.0, 1e4])
def test_collapse_does_not_look_perfect(level):
    f = torch.full((20, 4), level) * (1 + 1e-7 * torch.randn(20, 4, generator=generator()))
    assert math.isinf(invariance_error(f, f))


def test_nan_and_infinity_do_not_look_perfect():
    f = torch.randn(5, 3, generator=generator())
    for bad in (float("nan"), float("inf")):
        broken = f.clone()
        broken[0, 0] = bad
        assert math.isinf(invariance_error(broken, f))
        assert math.isinf(invariance_error(f, broken))


def test_half_precision_is_measured_in_single():
    f = torch.randn(5, 3, generator=generator()).bfloat16()
    assert invariance_error(f, f) == 0


def test_the_right_representation_has_no_error_and_another_has():
    representation = Representation.parse("C8: 3 regular")
    z, g = representation.random(40, generator()), Cyclic(8).sample(40, generator(1))
    moved = representation.transform(z, g)
    assert equivariance_error(moved, z, representation, g) == 0
    assert equivariance_error(moved, z, "C8: 24 trivial", g) > 0.5
    assert equivariance_error(moved, z, representation, Cyclic(8).inverse(g)) > 0.5
    errors = equivariance_errors(moved, z, representation, g)
    assert set(errors) == {Cyclic(8).label(h) for h in g}
    assert max(errors.values()) == 0


def test_a_layer_that_is_equivariant_for_quarter_turns_only():
    representation = Representation.parse("C8: 3 regular")
    z, g = representation.random(200, generator()), Cyclic(8).sample(200, generator(1))
    moved = representation.transform(z, g)
    moved[g % 2 == 1] += torch.randn(int((g % 2).sum()), 24, generator=generator(2))
    errors = equivariance_errors(moved, z, representation, g)
    assert holding_subgroup(errors, Cyclic(8), tolerance=0.05) == "C4"
    assert list(errors) == [Cyclic(8).label(h) for h in Cyclic(8).elements()]


def labels(group, wrong):
    return {group.label(g): float(int(g) in wrong) for g in group.elements()}


@pytest.mark.parametrize(
    ("group", "wrong", "expected"),
    [
        (Cyclic(8), set(), "C8"),
        (Cyclic(8), {1, 3, 5, 7}, "C4"),
        (Cyclic(12), {1, 5, 7, 11, 2, 10}, "C4"),
        (Cyclic(5), {2}, "the identity only"),
        (Dihedral(4), {4, 5, 6, 7}, "C4"),
        (Dihedral(4), {1, 3, 5, 7}, "D2"),
        (Dihedral(4), {1, 3, 4, 6}, "D2(axis=45)"),
        (Dihedral(4), {1, 2, 3, 4, 5, 7}, "D1(axis=90)"),
        (Dihedral(4, axis=90), {1, 2, 3, 5, 6, 7}, "D1(axis=90)"),
        (Matrices([[[0, 1, 0], [0, 0, 1], [1, 0, 0]]]), {1}, "the identity only"),
        (Matrices([[[0, -1], [1, 0]], [[1, 0], [0, -1]]]), set(range(8)) - {0, 1}, None),
    ],
)
def test_the_subgroup_that_holds(group, wrong, expected):
    found = holding_subgroup(labels(group, wrong), group, tolerance=0.1)
    assert found == expected if expected else found.startswith(("a subgroup of 2 of 8", "the identity"))


def test_elements_that_were_not_measured_follow_from_generators():
    assert holding_subgroup({"45°": 0.0}, Cyclic(8), 0.1) == "C8"
    assert holding_subgroup({"90°": 0.0, "180°": 0.0}, Cyclic(8), 0.1) == "C4"
    assert holding_subgroup({"45°": 0.0, "180°": 1.0}, Cyclic(8), 0.1) == "the identity only"
    assert holding_subgroup({"45°": math.inf}, Cyclic(8), 0.1) == "the identity only"


def test_infinite_groups_hold_or_do_not():
    assert holding_subgroup({"90°": 0.0}, SO2(), 0.1) == "SO2"
    assert holding_subgroup({"90°": 0.0, "12°": 0.5}, SO2(), 0.1) == "not all of SO2"
    assert holding_subgroup({"x": 0.5}, Symmetric(30), 0.1) == "not all of S30"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="equal shapes"):
        invariance_error(torch.zeros(3, 2), torch.zeros(3, 1))
    with pytest.raises(ValueError, match="at least 2"):
        invariance_error(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(LatentError):
        equivariance_error(torch.zeros(3, 2), torch.zeros(3, 2), "C4: regular", torch.tensor(1))
    with pytest.raises(ValueError, match="labels of elements"):
        holding_subgroup({"7°": 0.0}, Cyclic(8), 0.1)


def test_mean_distance_is_that_of_all_pairs():
    few = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) + 1e4
    expected = torch.nn.functional.pdist(few.double()).mean().item()
    assert mean_distance(few) == pytest.approx(expected, rel=1e-9)
    many = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
    assert mean_distance(many) == pytest.approx(torch.nn.functional.pdist(many).mean().item(), rel=0.05)
    assert mean_distance(torch.full((5, 2), 3.0)) == 0
    with pytest.raises(ValueError, match="at least 2 samples"):
        mean_distance(few[:1])


@pytest.mark.parametrize(("exact", "name"), [("0°m", "D1"), ("120°m", "D1(axis=60)"), ("240°m", "D1(axis=120)")])
def test_of_subgroups_of_one_size_that_of_the_smallest_error_holds(exact, name):
    errors = {"0°": 0.0, "120°": 0.2, "240°": 0.2, "0°m": 0.04, "120°m": 0.04, "240°m": 0.04, exact: 1e-6}
    assert holding_subgroup(errors, Dihedral(3), 0.05) == name
