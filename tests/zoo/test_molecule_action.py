import pytest
import torch

from lightning_invariant.zoo.molecule_action import AtomAction, GraphAction
from tests.zoo.molecules import atoms

CASES = {
    "atoms": (AtomAction(9), atoms(places=9).double()),
    "graphs": (GraphAction(5), torch.rand(6, 5, 5, 3, generator=torch.Generator().manual_seed(0)).double()),
}


@pytest.mark.parametrize("name", CASES)
def test_moving_twice_is_moving_by_the_product(name):
    action, x = CASES[name]
    generator = torch.Generator().manual_seed(0)
    g, h = (action.group.sample(len(x), generator) for _ in range(2))
    twice = action.transform(action.transform(x, h), g)
    assert torch.allclose(twice, action.transform(x, action.group.compose(g, h)), atol=1e-12)
    assert not torch.allclose(twice, action.transform(x, action.group.compose(h, g)), atol=1e-3)
    assert torch.equal(action.transform(x, action.group.identity()), x)


def test_charges_go_with_their_atoms_and_distances_stay():
    action, x = CASES["atoms"]
    moved = action.transform(x, action.group.sample(len(x), torch.Generator().manual_seed(0)))
    assert torch.equal(moved[..., 0].sort().values, x[..., 0].sort().values)
    for before, after in zip(x, moved, strict=True):
        distances = [torch.pdist(rows[rows[:, 0] > 0, 1:]).sort().values for rows in (before, after)]
        assert torch.allclose(*distances)


def test_edges_go_with_their_nodes():
    action, x = CASES["graphs"]
    g = torch.tensor([1, 2, 3, 4, 0])
    moved = action.transform(x, g)
    assert torch.equal(moved[:, g[1], g[3]], x[:, 1, 3])


@pytest.mark.parametrize("name", CASES)
def test_another_number_of_nodes_is_refused(name):
    action, x = CASES[name]
    with pytest.raises(ValueError, match=r"Expected \d nodes along axis 1"):
        action.transform(x[:, :-1], action.group.identity())
