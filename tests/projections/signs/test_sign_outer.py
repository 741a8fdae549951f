import math

import pytest
import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import SignOuter
from lightning_invariant.testing import assert_guarantee
from tests.projections.exact_distances import ratios, sign_distance


def generator():
    return torch.Generator().manual_seed(0)


def test_distortion_is_at_most_the_root_of_two():
    found = ratios(SignOuter("Z2: 6 signs"), sign_distance, (6,), generator())
    assert found.min() >= 1 - 1e-7
    assert found.max() <= math.sqrt(2) + 1e-7
    assert found.max() > 1.2


def test_bound_holds_for_several_signs():
    def distance(v, w):
        parts = zip(v.reshape(4, 3).T, w.reshape(4, 3).T, strict=True)
        return math.sqrt(sum(sign_distance(a, b) ** 2 for a, b in parts))

    found = ratios(SignOuter("Z2^3: 4 signs"), distance, (12,), generator())
    assert found.min() >= 1 - 1e-7
    assert found.max() <= math.sqrt(2) + 1e-7


def test_one_number_a_sign_is_isometric():
    projection = SignOuter("Z2^3: signs")
    z = torch.tensor([[1.0, -2.0, 0.0]])
    assert projection.guarantee.separation is Separation.ISOMETRIC
    assert projection(z).tolist() == [[1.0, 2.0, 0.0]]


def test_numbers_flipped_on_their_own_are_separated():
    projection, v = SignOuter("Z2: 4 signs"), torch.randn(20, 4, generator=generator())
    scrambled = v * torch.tensor([1.0, -1.0, 1.0, 1.0])
    assert torch.equal(projection(v), projection(-v))
    assert ((projection(v) - projection(scrambled)).norm(dim=1) > 1e-3).all()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_zero_and_extreme_scales_are_exact(scale):
    v = (torch.tensor([[3.0, 4.0]]) * scale).requires_grad_()
    f = SignOuter("Z2: 2 signs")(v)
    f.sum().backward()
    assert f.double().norm().item() == pytest.approx(5 * scale)
    assert v.grad is not None
    assert v.grad.isfinite().all()


def test_other_groups_are_refused():
    for text in ("C4: 2 regular", "C2 x C2: 1 regular*regular", "O3: 2x1o", "S4: 4 points"):
        with pytest.raises(GroupError, match="signs, such as"):
            SignOuter(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("C2: 4 regular", 14),
        ("O3: 4x0o + 1x0e", 11),
        ("D4: 3 det", 6),
        ("C8: 4x4", 10),
        ("C2 x C2: 1 regular*trivial", 2),
    ],
)
def test_signs_are_found_in_another_basis(text, size):
    projection = SignOuter(text)
    assert projection.out_features == size
    assert_guarantee(projection)


def test_signs_of_different_number_stand_beside_each_other():
    projection = SignOuter("Z2 x Z2: 1 signs*trivial + 3 trivial*signs")
    assert projection.out_features == 1 + 6
    assert_guarantee(projection)


def test_dependent_signs_are_refused():
    with pytest.raises(GroupError, match="independent signs"):
        SignOuter("Z2 x Z2: 1 signs*trivial + 1 trivial*signs + 1 signs*signs")
