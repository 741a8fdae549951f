import itertools

import pytest
import torch

from lightning_invariant.groups import SO3
from lightning_invariant.groups.harmonics import rotation_matrices
from lightning_invariant.projections.clebsch_gordan import clebsch_gordan

DEGREES = [t for t in itertools.product(range(5), repeat=3) if abs(t[0] - t[1]) <= t[2] <= t[0] + t[1]]


def test_equals_e3nn_up_to_the_sign():
    o3 = pytest.importorskip("e3nn.o3")
    for degrees in DEGREES:
        ours, theirs = clebsch_gordan(*degrees), o3.wigner_3j(*degrees, dtype=torch.float64)
        assert min((ours - theirs).abs().max(), (ours + theirs).abs().max()) < 1e-12, degrees
        assert ours.norm().item() == pytest.approx(1)


def test_is_invariant_under_rotations():
    rotation = SO3().sample(1, torch.Generator().manual_seed(0))
    for degrees in DEGREES:
        table = clebsch_gordan(*degrees)
        turned = torch.einsum("ijk,ia,jb,kc->abc", table, *(rotation_matrices(n, rotation)[0] for n in degrees))
        assert (turned - table).abs().max() < 1e-12, degrees


@pytest.mark.parametrize("degrees", [(6, 6, 6), (8, 5, 7)])
def test_large_degrees_keep_their_norm(degrees):
    assert clebsch_gordan(*degrees).norm().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("degrees", [(1, 1, 3), (0, 1, 2), (-1, 0, 1)])
def test_degrees_without_a_product_are_refused(degrees):
    with pytest.raises(ValueError, match="Expected degrees with"):
        clebsch_gordan(*degrees)


def test_a_table_that_is_changed_in_place_changes_no_other():
    clebsch_gordan(1, 1, 1).zero_()
    assert clebsch_gordan(1, 1, 1).norm() > 0.9
