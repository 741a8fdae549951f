"""Group convolutions move with the image: exactly where pixels do, nearly elsewhere."""

import pytest
import torch
from torch import nn

from lightning_invariant.groups import Cyclic, Dihedral, parse_group
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import equivariance_errors
from lightning_invariant.zoo.planar_conv import PlanarConv, PlanarLifting, PlanarPool
from lightning_invariant.zoo.planar_encoder import PlanarEncoder
from lightning_invariant.zoo.planar_filters import turned_basis

EXACT, INTERPOLATED = 1e-5, 0.15
"""Largest relative error where pixels are permuted, and where they are interpolated; unrelated latents have about 1."""


def smooth_images(count=24):
    """A few Gaussian spots in the middle of each image, as pixels of a digit are: smooth enough to be turned."""
    generator = torch.Generator().manual_seed(0)
    centres = 6 * torch.randn(count, 4, 2, generator=generator).clamp(-1.2, 1.2)
    steps = torch.arange(28.0) - 13.5
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="ij"), dim=-1)
    squares = (grid - centres[:, :, None, None]).square().sum(dim=-1)
    return torch.exp(-squares / 8).sum(dim=1, keepdim=True)


def errors(layer, group, text):
    x = smooth_images()
    g = group.elements().repeat_interleave(len(x))
    with torch.no_grad():
        z = layer(x).flatten(1)
        moved = layer(ImageAction(group).transform(x.repeat(group.order, 1, 1, 1), g)).flatten(1)
    return equivariance_errors(moved, z.repeat(group.order, 1), text, g)


@pytest.mark.parametrize("name", ["C4", "C8", "D4", "D8", "D4(axis=90)"])
def test_the_encoder_turns_with_the_image(name):
    torch.manual_seed(0)
    group = parse_group(name)
    found = errors(PlanarEncoder(name, width=2, fields=4).eval(), group, f"{name}: 4 regular")
    exact = ImageAction(group).is_exact(group.elements()).tolist()
    for (label, error), still in zip(found.items(), exact, strict=True):
        assert error < (EXACT if still else INTERPOLATED), label


def test_an_ordinary_network_does_not():
    torch.manual_seed(0)
    ordinary = nn.Sequential(nn.Conv2d(1, 16, 7), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 16))
    assert min(list(errors(ordinary.eval(), Cyclic(4), "C4: 4 regular").values())[1:]) > 2 * INTERPOLATED


def test_the_wrong_order_of_fields_is_seen():
    torch.manual_seed(0)
    encoder = PlanarEncoder("C8", width=2, fields=4).eval()
    swapped = [1, 0, 2, 3, 4, 5, 6, 7]
    assert (
        min(list(errors(lambda x: encoder(x)[:, :, swapped], Cyclic(8), "C8: 4 regular").values())[1:])
        > 2 * INTERPOLATED
    )


@pytest.mark.parametrize("group", [Cyclic(8), Dihedral(4)])
def test_feature_maps_keep_their_place_and_halve(group):
    x = torch.rand(2, 1, 28, 28)
    maps = PlanarLifting(group, 1, 3)(x)
    assert maps.shape == (2, 3, 8, 28, 28)
    assert PlanarPool()(maps).shape == (2, 3, 8, 14, 14)
    assert PlanarConv(group, 3, 2)(maps).shape == (2, 2, 8, 28, 28)
    assert PlanarConv(group, 3, 2, 7, "valid")(maps).shape == (2, 2, 8, 22, 22)


def test_pooling_keeps_the_mean_and_quarter_turns():
    x = torch.zeros(1, 1, 1, 8, 8)
    x[..., 2:5, 3:6] = torch.rand(3, 3)
    assert PlanarPool()(x).sum() == pytest.approx(float(x.sum()) / 4, rel=1e-6)
    assert torch.allclose(PlanarPool()(x.rot90(1, (3, 4))), PlanarPool()(x).rot90(1, (3, 4)), atol=1e-7)


def test_the_variance_survives_a_layer():
    torch.manual_seed(0)
    x = torch.randn(8, 8, 8, 15, 15).relu()
    y = PlanarConv(Cyclic(8), 8, 32)(x)[..., 4:-4, 4:-4]
    assert 0.5 < float(y.square().mean()) < 2


def test_a_filter_needs_a_centre():
    with pytest.raises(ValueError, match="odd kernel size but got 4"):
        turned_basis(Cyclic(8), 4)


@pytest.mark.parametrize("group", ["SO2", "T4", "S3"])
def test_a_group_that_does_not_turn_the_plane_is_refused(group):
    with pytest.raises(ValueError, match="rotations of the plane"):
        PlanarEncoder(group)
