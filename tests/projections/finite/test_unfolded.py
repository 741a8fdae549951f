"""Invariants of whole feature maps."""

import pytest
import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation
from lightning_invariant.projections import MaxFilter, Projection, SignOuter, Unfolded, choose
from lightning_invariant.projections.finite.unfolded import unfolded
from lightning_invariant.quotient import distance

MAPS = [
    "C4: 2 regular on 5x5",
    "C4: 2 trivial + 1 regular on 4x4",
    "C4: 2x1 + 1x2 on 5x5",
    "C4: 2 regular/C2 + 2 (1x0 + 1x1) on 5x5",
    "D4: 1x1 + 1 det + 2 trivial on 5x5",
    "D4(axis=45): 1 regular on 4x4",
    "D2(axis=90): 2 regular + 1 det on 3x4",
    "HFlip: 2 regular on 3x5",
    "C4: 1 regular on 3x3 + 3 trivial",
]


@pytest.mark.parametrize("text", MAPS)
def test_the_reading_is_an_equivariant_isometry(text):
    rep, projection = Representation.parse(text), choose(text)
    fields = unfolded(rep)
    z, g = rep.random(16, torch.Generator().manual_seed(0)).double(), rep.group.sample(16)
    read = lambda z: z[:, projection.order] * projection.table_weight  # noqa: E731
    torch.testing.assert_close(read(rep.transform(z, g)), fields.transform(read(z), g))
    torch.testing.assert_close(read(z).norm(dim=1), z.norm(dim=1))
    torch.testing.assert_close(distance(z, z.flip(0), rep), distance(read(z), read(z).flip(0), fields))


@pytest.mark.parametrize("text", MAPS)
def test_features_of_maps_are_invariant_and_see_positions(text):
    rep, projection = Representation.parse(text), choose(text).double()
    z, g = rep.random(32, torch.Generator().manual_seed(0)).double(), rep.group.sample(32)
    f = projection(z)
    torch.testing.assert_close(projection(rep.transform(z, g)), f)
    height, width = rep[0].blocks[0].axes[2:]
    maps = z[:, : rep[0].size].reshape(32, -1, height, width)
    shifted = torch.cat([maps.roll(1, -1).flatten(1), z[:, rep[0].size :]], dim=1)
    assert ((projection(shifted) - f).norm(dim=1) > 0.01 * f.norm(dim=1)).all()  # the mean over positions is the same


def test_what_is_chosen_and_what_is_kept_of_it():
    assert str(unfolded("C4: 16 regular on 7x7")) == "C4: 784 regular"
    projection = choose("D2: 1 regular on 3x3")
    assert isinstance(projection.projection, MaxFilter)
    assert projection.reason.startswith("D2: pixels and channels move as in 'D2: 9 regular'")
    assert isinstance(choose("C2: 1 trivial on 2x2").projection, SignOuter)
    again = Projection.from_config(projection.config())
    again.load_state_dict(projection.state_dict())
    z = torch.randn(3, 4, 3, 3)
    assert torch.equal(again(z), projection(z))


def test_large_maps_take_bounded_memory():
    projection = choose("D4: 64 regular on 14x14")
    assert sum(value.numel() for value in projection.state_dict().values()) < 2**22 + 2**20
    rep = projection.representation
    z, g = torch.randn(8, 512, 14, 14), rep.group.elements()
    features, moved = projection(z), projection(rep.transform(z, g))
    assert features.shape == (8, 512)
    torch.testing.assert_close(moved, features, rtol=1e-4, atol=1e-4)
    apart = torch.cdist(features, features)[torch.triu_indices(8, 8, 1).unbind()]
    assert apart.min() > 100 * (moved - features).norm(dim=1).max()


def test_what_is_no_map_is_refused():
    with pytest.raises(GroupError, match="feature map"):
        Unfolded("C4: 2 regular", MaxFilter("C4: 2 regular"))
    with pytest.raises(ValueError, match="C4: 9 regular"):
        Unfolded("C4: 1 regular on 3x3", MaxFilter("C4: 2 regular"))
