import math

import pytest
import torch

from lightning_invariant import Representation
from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import Gram, GramRoot, choose
from lightning_invariant.projections.space.gram import gram_root, pseudoscalar_templates, pseudoscalars
from tests.projections.exact_distances import KITE, TRAPEZOID, procrustes_distance, ratios


def generator():
    return torch.Generator().manual_seed(0)


def test_features_have_the_norm_of_the_gram_matrix():
    x = torch.randn(5, 4, 3, generator=generator(), dtype=torch.float64)
    assert Gram("O3: 4 vectors")(x).norm(dim=1).allclose((x @ x.mT).flatten(1).norm(dim=1))


@pytest.mark.parametrize(("n", "d"), [(4, 3), (2, 3), (3, 3), (6, 2), (1, 3)])
def test_second_derivatives_of_the_root_are_right(n, d):
    x = torch.randn(3, n, d, dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradcheck(gram_root, x)
    assert torch.autograd.gradgradcheck(gram_root, x)


def test_second_derivatives_are_right_where_singular_values_coincide():
    assert torch.autograd.gradgradcheck(gram_root, torch.eye(4, 3, dtype=torch.float64)[None].requires_grad_())


@pytest.mark.parametrize(
    "text", ["O3: 4 vectors", "SO3: 6 vectors", "S4 x O3: 1 points*vectors", "S3 x SO3: 2 points*1"]
)
def test_forces_can_be_trained_through_what_choose_takes(text):
    projection = choose(text).double()
    x = torch.randn(1, projection.representation.size, dtype=torch.float64, generator=generator(), requires_grad=True)
    v = torch.randn(x.shape, dtype=torch.float64, generator=generator())

    def forces(z):
        return torch.autograd.grad(projection(z).sin().sum(), z, create_graph=True)[0]

    (product,) = torch.autograd.grad((forces(x) * v).sum(), x)
    expected = (forces(x + 1e-6 * v) - forces(x - 1e-6 * v)) / 2e-6
    assert (product - expected).norm() < 1e-6 * expected.norm()


def test_derivatives_of_planar_sets_are_finite():
    x = torch.randn(2, 5, 3, generator=generator()) * torch.tensor([1.0, 1.0, 0.0])
    (first,) = torch.autograd.grad(gram_root(x.requires_grad_()).sin().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sin().sum(), x)
    assert first.isfinite().all()
    assert second.isfinite().all()


def test_the_gram_matrix_merges_mirror_images_under_reflections_only():
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


def test_the_gram_matrix_separates_shapes_with_equal_distances():
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


@pytest.mark.parametrize(
    ("text", "n", "d"), [("O3: 12 vectors", 12, 3), ("O2: 2x1", 2, 2), ("O3: 2x1o", 2, 3), ("O5: 3 vectors", 3, 5)]
)
def test_distortion_is_at_most_the_root_of_two(text, n, d):
    projection = GramRoot(text)
    found = ratios(projection, procrustes_distance, (n, d), generator())
    assert projection.guarantee.distortion == math.sqrt(2)
    assert found.min() >= 1 - 1e-6
    assert found.max() <= math.sqrt(2) + 1e-6
    # A negative control: the bound is not idle, smaller ones are broken.
    assert found.max() > 1.1


def test_one_vector_is_isometric():
    found = ratios(GramRoot("O4: 1 vectors"), procrustes_distance, (1, 4), generator())
    assert torch.allclose(found, torch.ones_like(found), atol=1e-6)


def test_few_vectors_have_no_mirror_image_under_rotations():
    projection = GramRoot("SO4: 3 vectors")
    found = ratios(projection, lambda x, y: procrustes_distance(x, y, special=True), (3, 4), generator())
    assert projection.guarantee.separation is Separation.BILIPSCHITZ
    assert found.min() >= 1 - 1e-6
    assert found.max() <= math.sqrt(2) + 1e-6


@pytest.mark.parametrize(("all_of_them", "rotations"), [("O3: 5 vectors", "SO3: 5 vectors"), ("O2: 2x1", "SO2: 2x1")])
def test_mirror_images_are_merged_by_reflections_only(all_of_them, rotations):
    merged, kept = GramRoot(all_of_them), GramRoot(rotations)
    x = torch.randn(50, merged.representation.size, generator=generator()).reshape(50, -1, merged.d)
    mirrored = x * torch.tensor([-1.0] + [1.0] * (merged.d - 1))
    assert torch.allclose(merged(x), merged(mirrored), atol=1e-5)
    assert ((kept(x) - kept(mirrored)).norm(dim=1) > 1e-3).all()
    assert kept.guarantee.separation is Separation.INJECTIVE
    assert kept.guarantee.distortion is None


def test_flat_configurations_equal_their_mirror_images_under_rotations():
    x = torch.randn(4, 5, 3, generator=generator())
    x[..., 2] = 0
    projection = GramRoot("SO3: 5 vectors")
    turned = x * torch.tensor([1.0, -1.0, -1.0])
    assert torch.allclose(projection(x), projection(x * torch.tensor([1.0, -1.0, 1.0])), atol=1e-5)
    assert torch.allclose(projection(x), projection(turned), atol=1e-5)


def test_each_vector_turned_by_itself_is_separated():
    projection, group = GramRoot("O3: 6 vectors"), Representation.parse("O3: 6 vectors").group
    x = torch.randn(20, 6, 3, generator=generator())
    g = group.sample(120, generator()).float().reshape(20, 6, 3, 3)
    assert ((projection(x) - projection(torch.einsum("bnij,bnj->bni", g, x))).norm(dim=1) > 0.5).all()


def test_separates_shapes_with_equal_distances():
    projection = GramRoot("O2: 4 vectors")
    centred = [points - points.mean(dim=0) for points in (KITE, TRAPEZOID)]
    assert (projection(centred[0][None]) - projection(centred[1][None])).norm() > 0.1


@pytest.mark.parametrize("shape", [(4, 3), (2, 3), (3, 3), (1, 3)])
def test_root_squares_to_the_gram_matrix_and_its_gradient_is_exact(shape):
    x = torch.randn(3, *shape, generator=generator(), dtype=torch.float64, requires_grad=True)
    root = gram_root(x)
    assert torch.allclose(root @ root, x @ x.mT, atol=1e-12)
    assert torch.linalg.eigvalsh(root).min() > -1e-12
    assert torch.autograd.gradcheck(gram_root, (x,))


def test_gradient_is_exact_where_singular_values_coincide():
    x = torch.linalg.qr(torch.randn(2, 4, 3, generator=generator(), dtype=torch.float64))[0].requires_grad_()
    assert torch.autograd.gradcheck(gram_root, (x,))


@pytest.mark.parametrize("rank", [0, 1, 2])
@pytest.mark.parametrize("text", ["O3: 5 vectors", "SO3: 5 vectors"])
def test_gradients_are_finite_and_bounded_at_low_rank(text, rank):
    left, right = torch.randn(2, 5, 3, generator=generator()).split([1, 1])
    x = (left[0] @ torch.diag((torch.arange(3) < rank).float()) @ right[0, :3])[None].requires_grad_()
    f = GramRoot(text)(x)
    f.backward(torch.randn(f.shape, generator=generator()))
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.norm() < 1e3


def test_rows_that_are_not_finite_stay_alone():
    x = torch.randn(3, 4, 3, generator=generator())
    x[1, 2, 0] = torch.nan
    f = GramRoot("SO3: 4 vectors")(x)
    assert f[[0, 2]].isfinite().all()
    assert f[1].isnan().any()


def test_other_irreps_are_refused():
    for text in ("O3: 4x1e", "SO3: 2x2", "C4: 2 regular", "O3: 3x0e", "O3: 2 vectors + 1 det"):
        with pytest.raises(GroupError, match="vectors of O"):
            GramRoot(text)
