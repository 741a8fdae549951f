"""Matrices of pairs under permutations: which graphs PairSort tells apart, and what it merges."""

import pytest
import torch

from lightning_invariant import quotient
from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import MaxFilter, PairSort, choose
from lightning_invariant.testing import assert_guarantee
from tests.projections.graphs import TWINS


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def features(projection, *graphs):
    return projection.double()(torch.stack(graphs))


@pytest.mark.parametrize(("name", "marks"), [("rings", 1), ("rings", 2), ("bicycles", 1), ("bicycles", 2), ("srg", 2)])
def test_twin_graphs_are_told_apart_with_enough_marks(name, marks):
    a, b = TWINS[name]
    n = len(a)
    order = torch.randperm(n, generator=generator())
    for seed in range(3):
        f, g, same = features(PairSort(f"S{n}: 1 pairs", marks=marks, seed=seed), a, b, a[order][:, order])
        assert (f - same).norm() < 1e-12 * f.norm()
        assert (f - g).norm() > 1e-3 * f.norm()


@pytest.mark.parametrize(("name", "marks"), [("rings", 0), ("bicycles", 0), ("srg", 0), ("srg", 1)])
def test_twin_graphs_are_merged_with_fewer_marks_as_the_note_says(name, marks):
    a, b = TWINS[name]
    projection = PairSort(f"S{len(a)}: 1 pairs", marks=marks)
    f, g = features(projection, a, b)
    assert (f - g).norm() < 1e-12 * f.norm()
    assert f"{marks} marked points cannot tell apart are merged" in projection.guarantee.note


@pytest.mark.parametrize("name", list(TWINS))
def test_what_choose_takes_tells_twin_graphs_apart(name):
    a, b = TWINS[name]
    f, g = features(choose(f"S{len(a)}: 1 pairs"), a, b)
    assert (f - g).norm() > 1e-3 * f.norm()


def test_choose_takes_a_max_filter_for_few_points_and_refinement_for_more():
    assert isinstance(choose("S6: 1 pairs"), MaxFilter)
    chosen = choose("S9: 9 points x 4 + 1 pairs")
    assert isinstance(chosen, PairSort)
    assert "generic" in chosen.reason
    assert choose("S9: 1 pairs", 60).out_features == 60


@pytest.mark.parametrize("text", ["S5: 1 pairs", "S4: 4 points x 3 + 2 pairs", "S7: 7 points + 1 pairs + 2 trivial"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_almost_every_latent_is_determined_to_first_order(text, symmetric):
    """The derivative loses no direction: the rank that the guarantee's first columns are there for."""
    projection = PairSort(text).double()
    z = projection.representation.random(1, generator()).double()
    if symmetric:
        z = hollow(projection.representation, z)
    jacobian = torch.autograd.functional.jacobian(projection, z)[0, :, 0]
    values = torch.linalg.svdvals(jacobian)
    assert values[-1] > 1e-4 * values[0]


def test_too_few_columns_are_called_lossy():
    few, enough = PairSort("S5: 1 pairs", 25), PairSort("S5: 1 pairs", 30)
    assert few.guarantee.separation is Separation.LOSSY
    assert "from 6 columns of 5" in few.guarantee.note
    assert enough.guarantee.separation is Separation.GENERIC


def hollow(representation, z):
    """Latents whose pairs are symmetric, with nothing on the diagonal."""
    parts = representation.split(z)
    n = representation.group.n
    for i, block in enumerate(representation):
        if block.dim == n**2:
            a = parts[i].unflatten(1, (n, n))
            a = (a + a.transpose(1, 2)) * (1 - torch.eye(n, dtype=a.dtype))[:, :, None]
            parts[i] = a.flatten(1, 2)
    return torch.cat([part.flatten(1) for part in parts], dim=1)


@pytest.mark.parametrize("marks", [0, 1, 2])
def test_symmetric_matrices_without_a_diagonal_keep_their_distances_roughly(marks):
    representation = Representation.parse("S6: 1 pairs")
    z, w = (hollow(representation, representation.random(60, generator(seed)).double()) for seed in (0, 1))
    projection = PairSort(representation, marks=marks).double()
    ratios = (projection(z) - projection(w)).norm(dim=1) / quotient.distance(z, w, representation)
    assert ratios.min() > 0.1
    assert ratios.max() < projection.guarantee.lipschitz


@pytest.mark.parametrize("marks", [0, 1, 2])
def test_no_step_is_stretched_beyond_the_lipschitz_bound(marks):
    projection = PairSort("S5: 5 points x 2 + 1 pairs", marks=marks).double()
    z = projection.representation.random(4, generator()).double()
    jacobian = torch.autograd.functional.jacobian(lambda x: projection(x).sum(dim=0), z).movedim(1, 0)
    assert torch.linalg.matrix_norm(jacobian, ord=2).max() < projection.guarantee.lipschitz


def test_claims_hold_and_a_false_one_is_refuted():
    assert_guarantee(PairSort("S7: 1 pairs"), samples=8)


def test_features_scale_with_the_latent():
    projection = PairSort("S5: 5 points x 2 + 2 pairs").double()
    z = projection.representation.random(3, generator()).double()
    assert torch.allclose(projection(1e6 * z), 1e6 * projection(z), rtol=1e-9)
    assert torch.allclose(projection(1e-6 * z), 1e-6 * projection(z), rtol=1e-9)


@pytest.mark.parametrize("marks", [0, 1, 2])
def test_hidden_points_do_not_matter_and_sizes_are_told_apart(marks):
    representation = Representation.parse("S6: 6 points x 2 + 1 pairs")
    projection = PairSort(representation, ragged=True, marks=marks).double()
    x, a = torch.randn(3, 6, 2, generator=generator()).double(), torch.randn(3, 6, 6, generator=generator(1)).double()
    mask = torch.arange(6).expand(3, -1) < torch.tensor([[3], [5], [6]])
    z = representation.join([x, a])
    other = representation.join([x + ~mask[..., None], a + 9.0 * ~(mask[:, :, None] & mask[:, None])])
    f = projection(z, mask)
    assert torch.equal(f, projection(other, mask))
    assert torch.allclose(f[2], projection(z)[2])
    g = representation.group.sample(3, generator(2))
    moved = mask.gather(1, g.argsort(dim=1))
    assert torch.allclose(projection(representation.transform(z, g), moved), f, atol=1e-12)
    assert f[:, -1].tolist() == [0.5, pytest.approx(5 / 6), 1.0]
    assert (projection(z)[:2] - f[:2]).norm() > 0.1
    assert f.isfinite().all()


def test_memory_blocks_do_not_change_the_features(monkeypatch):
    projection = PairSort("S5: 5 points + 1 pairs", ragged=True)
    z, mask = projection.representation.random(7, generator()), torch.ones(7, 5, dtype=torch.bool)
    mask[:3, 4] = False
    whole, masked = projection(z), projection(z, mask)
    monkeypatch.setattr("lightning_invariant.projections.sets.pairs.NUMBERS", 1)
    assert torch.allclose(projection(z), whole)
    assert torch.allclose(projection(z, mask), masked)


def test_what_does_not_fit_is_refused():
    with pytest.raises(GroupError, match="use PointSort"):
        PairSort("S5: 5 points x 2")
    with pytest.raises(GroupError, match="pairs of a symmetric group"):
        PairSort("C8: 2 regular")
    with pytest.raises(ValueError, match="0, 1 or 2"):
        PairSort("S5: 1 pairs", marks=3)
    with pytest.raises(ValueError, match="at least 1"):
        PairSort("S5: 1 pairs", 0)
    with pytest.raises(ValueError, match="ragged=True"):
        PairSort("S5: 1 pairs")(torch.zeros(2, 25), torch.ones(2, 5, dtype=torch.bool))
    with pytest.raises(LatentError, match="channels stand first"):
        PairSort("S5: 2 pairs")(torch.zeros(3, 2, 5, 5))
