from __future__ import annotations

import pytest
import torch

from lightning_invariant.groups import (
    O3,
    SO2,
    SO3,
    Cyclic,
    Dihedral,
    Matrices,
    Product,
    Representation,
    Sampled,
    Signs,
    Symmetric,
    Translations,
)
from lightning_invariant.groups.actions import (
    EdgeListAction,
    ImageAction,
    NodeAction,
    PointAction,
    ProductAction,
    SampledAction,
    ShiftAction,
    SignAction,
)
from lightning_invariant.groups.actions.coordinates import coordinate_matrices
from lightning_invariant.groups.actions.spread import ALL_PAIRS, mean_distance


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("group", [O3(), SO2(), Dihedral(5), Matrices([[[0, -1], [1, 0]]])], ids=str)
def test_points_move_as_vectors_do(group):
    d = coordinate_matrices(group, group.identity()[None]).shape[-1]
    x, g = torch.randn(6, 4, d, generator=generator()), group.sample(6, generator())
    kind = "4x1" if isinstance(group, Dihedral) else "4 vectors"
    expected = Representation.parse(f"{group}: {kind}").transform(x, g)
    assert torch.allclose(PointAction(group).transform(x, g), expected, atol=1e-6)
    assert PointAction(group).is_exact(g).all()
    back = PointAction(group).transform(PointAction(group).transform(x, g), group.inverse(g))
    assert torch.allclose(back, x, atol=1e-6)


def test_nodes_of_a_set_move_as_the_representation_says():
    x, g = torch.randn(3, 5, 2, generator=generator()), Symmetric(5).sample(3, generator())
    assert torch.equal(NodeAction(Symmetric(5)).transform(x, g), Representation.parse("S5: points x 2").transform(x, g))


def test_a_graph_moves_together():
    n, group = 5, Symmetric(5)
    nodes, adjacency = torch.randn(3, n, 2, generator=generator()), torch.randn(3, n, n, generator=generator(1))
    mask, g = torch.rand(3, n, generator=generator(2)) > 0.5, group.sample(3, generator(3))
    moved = [NodeAction(group).transform(x, g) for x in (nodes, mask)]
    moved.insert(1, NodeAction(group, (1, 2)).transform(adjacency, g))
    for row, permutation in enumerate(g):
        for i in range(n):
            assert torch.equal(moved[0][row, permutation[i]], nodes[row, i])
            assert moved[2][row, permutation[i]] == mask[row, i]
            for j in range(n):
                assert moved[1][row, permutation[i], permutation[j]] == adjacency[row, i, j]
    # A graph convolution is equivariant only if nodes and adjacency move together.
    expected = Representation.parse("S5: points x 2").transform(adjacency @ nodes, g)
    assert torch.allclose(moved[1] @ moved[0], expected, atol=1e-5)
    assert not torch.allclose(adjacency @ moved[0], expected, atol=1e-5)


def test_edge_lists_are_renumbered():
    group, g = Symmetric(4), Symmetric(4).sample(2, generator())
    edges = torch.tensor([[[0, 1], [1, 3], [-1, -1]], [[2, 2], [0, 3], [3, 1]]])
    moved = EdgeListAction(group).transform(edges, g)
    for row in range(2):
        for before, after in zip(edges[row], moved[row], strict=True):
            assert after.tolist() == [int(g[row, i]) if i >= 0 else -1 for i in before]


def test_signs_flip_whole_eigenvectors():
    x, g = torch.rand(2, 5, 3, generator=generator()) + 1, torch.tensor([[1, -1, 1], [-1, -1, 1]])
    assert torch.equal(SignAction(Signs(3)).transform(x, g).sign(), g[:, None].expand(2, 5, 3).float())


def test_sampled_transforms_repeat_by_seed_and_leave_zero_alone():
    action = SampledAction(Sampled("noise"), lambda x, generator: x + torch.rand(x.shape, generator=generator))
    x = torch.zeros(3, 2, 2)
    state = torch.get_rng_state()
    moved = action.transform(x, torch.tensor([0, 7, 8]))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(moved[0], x[0])
    assert not torch.equal(moved[1], moved[2])
    assert torch.equal(moved[1], action.transform(x, torch.tensor(7))[2])
    assert action.is_exact(torch.tensor([0, 7])).tolist() == [True, False]


def test_a_transform_that_resizes_is_refused():
    action = SampledAction(Sampled(), lambda x, generator: x[:1])
    with pytest.raises(ValueError, match="keeps the shape"):
        action.transform(torch.zeros(1, 3, 3), torch.tensor(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PointAction(Symmetric(3)), "moves coordinates"),
        (lambda: NodeAction(Cyclic(3)), "symmetric group"),
        (lambda: SampledAction(Cyclic(3), lambda x, _: x), "Sampled"),
        (lambda: PointAction(SO3()).transform(torch.zeros(2, 5, 2), SO3().identity()), "3 coordinates"),
        (lambda: NodeAction(Symmetric(3)).transform(torch.zeros(2, 4), torch.arange(3)), "3 nodes along axis 1"),
        (
            lambda: NodeAction(Symmetric(3), (1, 2)).transform(torch.zeros(2, 3, 4), torch.arange(3)),
            "3 nodes along axis 2",
        ),
        (lambda: EdgeListAction(Symmetric(3)).transform(torch.tensor([[[0, 3]]]), torch.arange(3)), "nodes below 3"),
        (lambda: SignAction(Signs(2)).transform(torch.zeros(2, 3), torch.ones(2)), "2 floating-point eigenvectors"),
        (lambda: mean_distance(torch.zeros(1, 3)), "at least 2 samples"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_mean_distance_is_that_of_all_pairs():
    x = torch.randn(ALL_PAIRS, 3, generator=generator())
    distances = torch.cdist(x, x)
    expected = distances.sum().item() / (len(x) * (len(x) - 1))
    assert mean_distance(x) == pytest.approx(expected, rel=1e-5)
    many = torch.randn(20 * ALL_PAIRS, 3, generator=generator(1))
    assert mean_distance(many) == pytest.approx(expected, rel=0.05)


def test_clouds_are_ordered_and_turned_as_their_representation_says():
    group = Product((Symmetric(4), O3()))
    x, g = torch.randn(6, 4, 3, generator=generator()), group.sample(6, generator())
    action = ProductAction(group, (NodeAction(Symmetric(4)), PointAction(O3())))
    expected = Representation.parse(f"{group}: 1 points*vectors").transform(x.flatten(1), g).reshape_as(x)
    assert torch.allclose(action.transform(x, g), expected, atol=1e-6)
    assert not torch.allclose(action.transform(x, g), x)
    assert action.is_exact(g).all()


def test_an_interpolated_factor_makes_the_product_interpolated():
    group = Product((Cyclic(8), Translations(8)))
    action = ProductAction(group, (ImageAction(Cyclic(8)), ShiftAction(Translations(8))))
    assert action.is_exact(group.join([torch.tensor([0, 2, 1]), torch.tensor([3, 0, 0])])).tolist() == [
        True,
        True,
        False,
    ]


def test_products_need_an_action_of_each_factor():
    group = Product((Symmetric(4), O3()))
    with pytest.raises(ValueError, match="one action for each of S4, O3 but got actions of S4"):
        ProductAction(group, (NodeAction(Symmetric(4)),))
    with pytest.raises(ValueError, match="Expected a product"):
        ProductAction(Symmetric(4), ())
