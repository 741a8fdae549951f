import pytest
import torch

from lightning_invariant import Representation
from lightning_invariant.errors import GroupError
from lightning_invariant.projections import CircleMaxFilter


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("text", ["SO2: 2x1 + 1x3", "SO2: 1x5 + 1x7", "O2: 2x1 + 1x2 + 1 det"])
def test_equals_the_largest_product_over_a_fine_grid(text):
    representation = Representation.parse(text)
    projection = CircleMaxFilter(text).double()
    z = representation.random(5, generator()).double()
    angles = torch.linspace(0, 2 * torch.pi, 4001, dtype=torch.float64)
    c, s = angles.cos(), angles.sin()
    turns = torch.stack([torch.stack([c, -s], dim=1), torch.stack([s, c], dim=1)], dim=1)
    if text.startswith("O2"):
        turns = torch.cat([turns, turns @ torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))])
    for row in range(5):
        moved = representation.transform(z[row].expand(len(turns), -1), turns)
        grid = (moved @ projection.templates.double().mT).amax(dim=0) / projection.count**0.5
        found = projection(z[row : row + 1])[0]
        assert (found >= grid - 1e-12).all()
        assert torch.allclose(found, grid, atol=1e-5)


def test_first_and_second_derivatives_are_right():
    projection = CircleMaxFilter("SO2: 2x1 + 1x2", out_features=3).double()
    z = projection.representation.random(2, generator()).double().requires_grad_()
    assert torch.autograd.gradcheck(projection, z)
    assert torch.autograd.gradgradcheck(projection, z)


def test_other_representations_are_refused():
    for text in ("C4: 2x1", "SO2: 2x0 + 2x33", "O2: 3 det", "SO3: 2x1"):
        with pytest.raises(GroupError):
            CircleMaxFilter(text)
    with pytest.raises(ValueError, match="at least 3 features"):
        CircleMaxFilter("SO2: 2x0 + 1x1", out_features=2)
