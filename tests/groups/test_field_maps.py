"""Feature maps: pixels and channels move together, as images do."""

import pytest
import torch
from torch.nn import functional as F

from lightning_invariant.errors import LatentError, ParseError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.zoo.quarter_turns import QuarterTurnConv, QuarterTurnLifting

MAPS = [
    "C4: 3 regular on 7x7",
    "C4: 2 trivial on 6x6 + 3 regular on 6x6",
    "C4: 2x1 on 4x4",
    "C4: 2 regular/C2 on 5x5",
    "D4: 2 (1x0 + 1x1) on 4x4",
    "C2: 2 regular on 3x5",
    "D4: 1x1 + 2 regular on 5x5",
    "D4(axis=45): 2 regular on 4x4",
    "D2(axis=90): 2 regular + 1 det on 4x6",
    "D2(axis=45): 2 regular on 5x5",
    "HFlip: 2 regular on 3x5",
    "VFlip: 2 trivial on 3x5",
]


def moved_by_hand(rep, z, g):
    """Move all channels as images, then the fields in each pixel by the pooled representation."""
    images = ImageAction(rep.group).transform(z, g)
    fields = Representation(rep.group, tuple(block.field for block in rep.blocks for _ in range(block.copies)))
    pixels = images.flatten(2).mT
    moved = [fields.transform(pixels[:, i], g) for i in range(pixels.shape[1])]
    return torch.stack(moved, dim=2).reshape(z.shape)


@pytest.mark.parametrize("text", MAPS)
def test_pixels_move_as_images_do_and_channels_as_fields(text):
    rep = Representation.parse(text)
    g = rep.group.elements()
    height, width = rep[0].blocks[0].axes[2:]
    z = torch.randn(len(g), rep.size // (height * width), height, width)
    torch.testing.assert_close(rep.transform(z, g), moved_by_hand(rep, z, g))
    by_matrices = torch.einsum("nij,nj->ni", rep.matrices(g).float(), z.flatten(1))
    torch.testing.assert_close(rep.transform(z, g).flatten(1), by_matrices)


@pytest.mark.parametrize("text", MAPS)
def test_a_map_is_a_representation_and_prints_what_parses(text):
    rep = Representation.parse(text)
    assert Representation.parse(str(rep)) == rep
    g, h = rep.group.sample(16, torch.Generator().manual_seed(0)).split(8)
    z = rep.random(8, torch.Generator().manual_seed(1))
    torch.testing.assert_close(rep.transform(rep.transform(z, h), g), rep.transform(z, rep.group.compose(g, h)))


@pytest.mark.parametrize("size", [7, 8])
def test_a_group_convolution_is_exactly_equivariant_on_all_positions(size):
    torch.manual_seed(0)
    lift, conv = QuarterTurnLifting(1, 3), QuarterTurnConv(3, 3)
    rep, x, g = Representation.parse(f"C4: 3 regular on {size}x{size}"), torch.randn(4, 1, size, size), torch.arange(4)
    layer = lambda x: conv(lift(x).relu()).flatten(1, 2)  # noqa: E731
    turned = layer(ImageAction(rep.group).transform(x, g))
    torch.testing.assert_close(turned, rep.transform(layer(x), g), rtol=1e-5, atol=1e-5)
    assert (turned - rep.transform(layer(x), rep.group.inverse(g))).abs().max() > 0.1


def test_a_symmetric_convolution_keeps_scalar_maps_under_all_of_d4():
    kernel = torch.tensor([[1.0, 2, 1], [2, 3, 2], [1, 2, 1]])[None, None]
    rep, x, g = Representation.parse("D4: 1 trivial on 6x6"), torch.randn(8, 1, 6, 6), torch.arange(8)
    layer = lambda x: F.conv2d(x, kernel, padding=1)  # noqa: E731
    torch.testing.assert_close(layer(ImageAction(rep.group).transform(x, g)), rep.transform(layer(x), g))


@pytest.mark.parametrize(
    ("text", "subgroup"),
    [
        ("C8: 3 regular on 7x7", "is C4"),
        ("C4: 2 regular on 6x5", "is C2"),
        ("SO2: 2x1 on 4x4", "is C4"),
        ("O2(axis=90): 2x1 on 4x4", r"is D4\(axis=90\)"),
        ("D3: 1 regular on 4x4", "is D1"),
        ("D4(axis=10): 2 regular on 4x4", "is C4"),
        ("D4(axis=45): 2 regular on 4x6", r"is D2"),
        ("C3: 1 regular on 4x4", "in its place"),
        ("T4: 1 regular on 4x4", "in its place"),
        ("S3: 3 points on 3x3", "in its place"),
    ],
)
def test_a_group_that_leaves_the_grid_is_refused_with_its_exact_subgroup_and_the_alternative(text, subgroup):
    with pytest.raises(ParseError, match=subgroup) as caught:
        Representation.parse(text)
    assert "pool='mean'" in str(caught.value)
    pooled = text.split(" on ")[0]
    assert f"declare '{Representation.parse(pooled)}'" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "shape", "follow"),
    [
        ("C4: 2 regular on 5x5", (2, 5, 5, 8), lambda text, z: (text, z.movedim(-1, 1))),
        ("C4: 2 regular on 5x5", (2, 8, 6, 6), lambda text, z: (text.replace("5x5", "6x6"), z)),
        ("C4: 2 regular on 5x5", (2, 8), lambda text, z: (text.split(" on ")[0], z)),
        ("C4: 2 regular", (2, 8, 5, 5), lambda text, z: (f"{text} on 5x5", z)),
    ],
)
def test_remedies_work_when_they_are_followed(text, shape, follow):
    z = torch.zeros(shape)
    with pytest.raises(LatentError) as caught:
        Representation.parse(text).flatten(z)
    typed, changed = follow(text, z)
    said = str(caught.value)
    assert f"'{typed}'" in said or "'on 6x6'" in said or "movedim(-1, 1)" in said
    rep = Representation.parse(typed)
    assert rep.flatten(changed).shape == (2, rep.size)


def test_layouts_of_a_map_and_remedies():
    rep = Representation.parse("C4: 1 trivial + 2 regular on 5x5")
    assert rep.flatten(torch.zeros(2, 9, 5, 5)).shape == (2, 225)
    one = Representation.parse("C4: 2 regular on 5x5")
    assert one.flatten(torch.zeros(2, 2, 4, 5, 5)).shape == one.flatten(torch.zeros(2, 8, 5, 5)).shape == (2, 200)
    with pytest.raises(LatentError, match=r"movedim\(-1, 1\)"):
        one.flatten(torch.zeros(2, 5, 5, 8))
    with pytest.raises(LatentError, match="'on 6x6'"):
        one.flatten(torch.zeros(2, 8, 6, 6))
    with pytest.raises(LatentError, match="keep them: 'C4: 2 regular on 5x5'"):
        Representation.parse("C4: 2 regular").flatten(torch.zeros(2, 8, 5, 5))
    with pytest.raises(LatentError) as caught:
        Representation.parse("C8: 1 regular").flatten(torch.zeros(2, 8, 5, 5))
    assert "keep them" not in str(caught.value)
