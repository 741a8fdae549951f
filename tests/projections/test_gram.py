import pytest
import torch

from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import Gram
from lightning_invariant.projections.pseudoscalars import pseudoscalar_templates, pseudoscalars
from tests.projections.exact_distances import KITE, TRAPEZOID, procrustes_distance


def generator():
    return torch.Generator().manual_seed(0)


def test_features_have_the_norm_of_the_gram_matrix():
    x = torch.randn(5, 4, 3, generator=generator(), dtype=torch.float64)
    assert Gram("O3: 4 vectors")(x).norm(dim=1).allclose((x @ x.mT).flatten(1).norm(dim=1))


def test_mirror_images_are_merged_by_reflections_only():
    x = torch.randn(30, 4, 3, generator=generator())
    mirrored = -x
    assert torch.allclose(Gram("O3: 4 vectors")(x), Gram("O3: 4 vectors")(mirrored))
    assert ((Gram("SO3: 4x1")(x) - Gram("SO3: 4x1")(mirrored)).norm(dim=1) > 1e-2).all()
    assert procrustes_distance(x[0], mirrored[0], special=True) > 0.1
    assert procrustes_distance(x[0], mirrored[0]) < 1e-6


def test_injective_but_not_lipschitz():
    projection = Gram("O2: 3 vectors")
    x = torch.randn(1, 3, 2, generator=generator(), dtype=torch.float64)
    ratio = [float((projection(s * x) - projection(2 * s * x)).norm() / (s * x).norm()) for s in (1.0, 1000.0)]
    assert projection.guarantee.separation is Separation.INJECTIVE
    assert projection.guarantee.lipschitz is None
    assert ratio[1] > 500 * ratio[0]


def test_separates_shapes_with_equal_distances():
    projection = Gram("SO2: 4 vectors")
    assert (projection(KITE[None]) - projection(TRAPEZOID[None])).norm() > 0.1


@pytest.mark.parametrize(("n", "d", "count"), [(2, 3, 0), (3, 3, 1), (5, 3, 7), (4, 2, 5), (6, 5, 6)])
def test_pseudoscalars_are_determinants_of_random_combinations(n, d, count):
    templates = pseudoscalar_templates(n, d, seed=1)
    x = torch.randn(3, n, d, generator=generator(), dtype=torch.float64)
    expected = (
        torch.stack([torch.linalg.det(a.double().mT @ x) for a in templates], dim=1) if count else x.new_zeros(3, 0)
    )
    assert len(templates) == count
    assert torch.allclose(pseudoscalars(x, templates), expected, atol=1e-12)


def test_pseudoscalars_change_their_sign_in_a_mirror():
    x = torch.randn(3, 4, 3, generator=generator(), dtype=torch.float64)
    templates = pseudoscalar_templates(4, 3, seed=1)
    assert torch.allclose(pseudoscalars(-x, templates), -pseudoscalars(x, templates))
