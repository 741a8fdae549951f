from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lightning_invariant.groups import (
    O2,
    O3,
    SO2,
    SO3,
    Cube,
    Cyclic,
    Dihedral,
    Representation,
    Translations,
    parse_group,
)
from lightning_invariant.groups.actions import ImageAction, ShiftAction, VolumeAction
from lightning_invariant.groups.actions.coordinates import coordinate_matrices


def bright_pixel(row: int, column: int, size: int) -> torch.Tensor:
    image = torch.zeros(1, size, size)
    image[0, row, column] = 1.0
    return image


def position(image: torch.Tensor) -> torch.Tensor:
    """Coordinates (x right, y up) of the brightness' centre, from the image's centre, in pixels."""
    size = image.shape[-1]
    place = torch.arange(size) - (size - 1) / 2
    weight = image[0] / image.sum()
    return torch.stack([(weight * place).sum(), -(weight * place[:, None]).sum()])


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize(
    "group",
    [
        parse_group(name)
        for name in ["C4", "D4", "D2", "D1", "C8", "D8", "D4(axis=90)", "HFlip", "D4(axis=45)", "D3(axis=90)"]
    ],
    ids=str,
)
def test_a_bright_pixel_goes_where_the_matrix_says(group, size):
    action, image = ImageAction(group), bright_pixel(1, 3, size)
    for g in group.elements():
        moved, rho = action.transform(image, g), coordinate_matrices(group, g[None])[0].float()
        exact = bool(action.is_exact(g))
        assert torch.allclose(position(moved), rho @ position(image), atol=1e-5 if exact else 0.15), group.label(g)
        if exact:
            assert moved.max() == 1
            assert moved.sum() == 1


def test_the_matrices_are_those_of_the_representation():
    for text in ("C8: 1x1", "D4: 1x1", "D8: 1x1"):
        representation = Representation.parse(text)
        every = representation.group.elements()
        assert torch.equal(coordinate_matrices(representation.group, every), representation.matrices(every))


def test_interpolated_rotation_of_a_smooth_blob_follows_the_matrix_closely():
    y, x = torch.meshgrid(torch.arange(33) - 16.0, torch.arange(33) - 16.0, indexing="ij")
    blob = torch.exp(-((x - 6) ** 2 + (y + 3) ** 2) / 8)[None]
    for g in O2().sample(8, torch.Generator().manual_seed(0)):
        assert torch.allclose(position(ImageAction(O2()).transform(blob, g)), g.float() @ position(blob), atol=0.02)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Dihedral(4, axis=90)], ids=str)
def test_a_lifting_convolution_is_equivariant_to_regular_fields(group, size):
    # The field's entry h is the response to the filter moved by h: the first layer of a group convolution.
    action, generator = ImageAction(group), torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, size, size, dtype=torch.float64, generator=generator)
    filters = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=generator)
    bank = torch.stack([action.transform(filters, h) for h in group.elements()], dim=1).flatten(0, 1)
    representation = Representation.parse(f"{group}: 3 regular")

    def layer(images):
        return F.conv2d(images, bank).relu().mean(dim=(2, 3)).reshape(len(images), 3, group.order)

    wrong = 0.0
    for g in group.elements():
        assert torch.allclose(layer(action.transform(x, g)), representation.transform(layer(x), g), atol=1e-12)
        back = representation.transform(layer(x), group.inverse(g))
        wrong = max(wrong, (layer(action.transform(x, g)) - back).abs().max().item())
    assert wrong > 1e-3


def test_quarter_turns_are_rot90_for_each_image_by_itself():
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    moved = ImageAction(Cyclic(8)).transform(x, torch.tensor([0, 2, 4, 6]))
    for row, (before, after) in enumerate(zip(x, moved, strict=True)):
        assert torch.equal(after, torch.rot90(before, row, (-2, -1)))


def test_moving_twice_is_moving_by_the_product():
    group, generator = Dihedral(4), torch.Generator().manual_seed(2)
    x = torch.randn(8, 5, 5, generator=generator)
    action, g, h = ImageAction(group), group.sample(8, generator), group.sample(8, generator)
    assert torch.equal(action.transform(action.transform(x, h), g), action.transform(x, group.compose(g, h)))
    assert not torch.equal(action.transform(action.transform(x, g), h), action.transform(x, group.compose(g, h)))


def test_exactness():
    action = ImageAction(Cyclic(8))
    assert action.is_exact(Cyclic(8).elements()).tolist() == [True, False] * 4
    assert ImageAction(SO2()).is_exact(SO2().identity())


def test_translations_roll_along_their_axis():
    x = torch.arange(24.0).reshape(1, 3, 8).repeat(2, 1, 1)
    assert torch.equal(ShiftAction(Translations(8)).transform(x, torch.tensor(3)), x.roll(3, dims=-1))
    assert torch.equal(ShiftAction(Translations(3), axis=1).transform(x, torch.tensor(2)), x.roll(2, dims=1))
    both = ShiftAction(Translations(4)).transform(x, torch.tensor([0, 1]))
    assert torch.equal(both[0], x[0])
    assert torch.equal(both[1], x[1].roll(2, dims=-1))
    with pytest.raises(ValueError, match="whose length 5 divides"):
        ShiftAction(Translations(5)).transform(x, torch.tensor(1))
    with pytest.raises(ValueError, match="behind the samples"):
        ShiftAction(Translations(2), axis=0).transform(x, torch.tensor(1))


def test_border_padding_keeps_a_constant_image():
    x = torch.full((1, 9, 9), -0.4)
    assert torch.allclose(ImageAction(Cyclic(8), padding="border").transform(x, torch.tensor(1)), x)
    assert not torch.allclose(ImageAction(Cyclic(8)).transform(x, torch.tensor(1)), x)


def test_dtype_is_kept_and_gradients_flow():
    action = ImageAction(Cyclic(8))
    for dtype in (torch.bfloat16, torch.float64):
        assert action.transform(torch.ones(2, 6, 6, dtype=dtype), torch.tensor([1, 2])).dtype == dtype
    assert action.transform(torch.ones(1, 6, 6, dtype=torch.uint8), torch.tensor(2)).dtype == torch.uint8
    x = torch.randn(2, 6, 6, requires_grad=True)
    action.transform(x, torch.tensor([1, 2])).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_an_empty_batch_stays_empty():
    assert ImageAction(Cyclic(8)).transform(torch.zeros(0, 1, 6, 6), torch.tensor(1)).shape == (0, 1, 6, 6)


def test_half_turns_of_oblong_images_are_exact():
    x = torch.randn(1, 4, 6)
    assert torch.equal(ImageAction(Cyclic(4)).transform(x, torch.tensor(2)), x.flip(-1, -2))


@pytest.mark.parametrize(
    ("group", "x", "g", "message"),
    [
        (Cyclic(4), torch.zeros(1, 4, 6), torch.tensor(1), "equal sides for a quarter turn but got 4 x 6"),
        (Cyclic(4), torch.zeros(4, 6), torch.tensor(1), "samples first and 2 more axes"),
        (Cyclic(4), torch.zeros(3, 6, 6), torch.tensor([1, 2]), "or 3 of them"),
    ],
)
def test_what_does_not_fit_is_refused(group, x, g, message):
    with pytest.raises(ValueError, match=message):
        ImageAction(group).transform(x, g)


def test_groups_and_paddings_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="acts on the plane"):
        ImageAction(SO3())
    with pytest.raises(ValueError, match="acts on the plane"):
        ImageAction(Translations(4))
    with pytest.raises(ValueError, match="2 different axes"):
        ImageAction(Cyclic(4), axes=(-1, -1))
    with pytest.raises(ValueError, match="padding"):
        ImageAction(Cyclic(4), padding="reflect")


def test_flips_by_name():
    x = torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ImageAction(parse_group("HFlip")).transform(x, torch.tensor(1)), x.flip(-1))
    assert torch.equal(ImageAction(parse_group("VFlip")).transform(x, torch.tensor(1)), x.flip(-2))
    for axis, dim in ((0.0, -2), (90.0, -1)):
        square = x[..., :6]
        assert torch.equal(ImageAction(Dihedral(4, axis=axis)).transform(square, torch.tensor(4)), square.flip(dim))
        matrix = coordinate_matrices(Dihedral(4, axis=axis), torch.tensor([4]))[0]
        assert torch.equal(ImageAction(O2(axis)).transform(square, matrix), square.flip(dim))


def blob(centre: torch.Tensor, size: int = 17) -> torch.Tensor:
    """A smooth ball around (x right, y up, z along D), as (1, 1, D, H, W)."""
    line = torch.arange(size) - (size - 1) / 2
    z, y, x = torch.meshgrid(line, -line, line, indexing="ij")
    return torch.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2) / 6)[None, None]


def centre_of(volume: torch.Tensor) -> torch.Tensor:
    weight, line = volume[0, 0] / volume.sum(), torch.arange(volume.shape[-1]) - (volume.shape[-1] - 1) / 2
    z, y, x = torch.meshgrid(line, -line, line, indexing="ij")
    return torch.stack([(weight * x).sum(), (weight * y).sum(), (weight * z).sum()])


def test_the_isometries_of_the_cube_permute_voxels_as_their_matrices_say():
    group, start = Cube(full=True), torch.tensor([1.0, 2.0, 3.0])
    action, ball = VolumeAction(group, coordinates=("W", "-H", "D")), blob(torch.tensor([1.0, 2.0, 3.0]))
    assert action.is_exact(group.elements()).all()
    seen = set()
    for g in group.elements():
        moved = action.transform(ball, g)
        assert torch.allclose(centre_of(moved), group.matrices()[g].float() @ centre_of(ball), atol=1e-4)
        assert torch.equal(moved.flatten().sort().values, ball.flatten().sort().values)
        seen.add(tuple(centre_of(moved).round(decimals=2).tolist()))
    assert len(seen) == 48
    assert not torch.allclose(centre_of(action.transform(ball, torch.tensor(1))), start, atol=0.5)


@pytest.mark.parametrize("group", [SO3(), O3()], ids=str)
def test_rotated_volumes_follow_the_matrix(group):
    ball = blob(torch.tensor([2.0, -1.0, 3.0]))
    for g in group.sample(6, torch.Generator().manual_seed(1)):
        moved = VolumeAction(group, coordinates=("W", "-H", "D")).transform(ball, g)
        assert torch.allclose(centre_of(moved), g.float() @ centre_of(ball), atol=0.05)


@pytest.mark.parametrize("coordinates", [("-H", "-D", "W"), ("D", "H", "W"), ("W", "-H", "-D")], ids=str)
def test_coordinates_say_along_which_axes_vectors_point(coordinates):
    group, ball = SO3(), blob(torch.tensor([2.0, -1.0, 3.0]))
    places = {"W": 0, "H": 1, "D": 2}

    def read(volume):
        along = centre_of(volume) * torch.tensor([1.0, -1.0, 1.0])  # along W, H and D
        return torch.stack([along[places[n[-1]]] * (-1 if n[0] == "-" else 1) for n in coordinates])

    for g in group.sample(4, torch.Generator().manual_seed(1)):
        moved = VolumeAction(group, coordinates=coordinates).transform(ball, g)
        assert torch.allclose(read(moved), g.float() @ read(ball), atol=0.05)


def test_volumes_about_an_axis():
    x = torch.randn(1, 2, 5, 5, 5, generator=torch.Generator().manual_seed(2))
    quarter = torch.tensor(1)
    axes = {"depth": (-2, -1), "height": (-1, -3), "width": (-2, -3)}
    for about, plane in axes.items():
        moved = VolumeAction(Cyclic(4), about=about).transform(x, quarter)
        assert torch.equal(moved, torch.rot90(x, 1, plane))
        assert not torch.equal(moved, torch.rot90(x, -1, plane))
    flipped = VolumeAction(parse_group("HFlip"), about="depth").transform(x, quarter)
    assert torch.equal(flipped, x.flip(-1))
    with pytest.raises(ValueError, match="acts on space"):
        VolumeAction(Cyclic(4))
    with pytest.raises(ValueError, match="depth, height or width"):
        VolumeAction(Cyclic(4), about="z")
    with pytest.raises(ValueError, match="D, H and W, each once"):
        VolumeAction(SO3(), coordinates=("D", "D", "W"))
    with pytest.raises(ValueError, match="equal sides"):
        VolumeAction(Cyclic(4), about="depth").transform(torch.zeros(1, 1, 4, 4, 6), quarter)


def test_axes_say_where_rows_and_columns_are():
    x = torch.randn(2, 6, 6, 3, generator=torch.Generator().manual_seed(3))
    moved = ImageAction(Cyclic(8), axes=(1, 2)).transform(x, torch.tensor([2, 1]))
    expected = ImageAction(Cyclic(8)).transform(x.permute(0, 3, 1, 2), torch.tensor([2, 1])).permute(0, 2, 3, 1)
    assert torch.equal(moved, expected)


def test_classes_take_the_nearest_pixel():
    labels = torch.randint(0, 5, (2, 9, 9), generator=torch.Generator().manual_seed(4)) * 10
    moved = ImageAction(SO2()).transform(labels, SO2().sample(2, torch.Generator().manual_seed(0)))
    assert moved.dtype == labels.dtype
    assert set(moved.unique().tolist()) <= {0, 10, 20, 30, 40}
    pixels = torch.randint(0, 256, (2, 3, 9, 9), generator=torch.Generator().manual_seed(5)).to(torch.uint8)
    g = SO2().sample(2, torch.Generator().manual_seed(0))
    smooth = ImageAction(SO2()).transform(pixels.double(), g).round().to(torch.uint8)
    assert torch.equal(ImageAction(SO2()).transform(pixels, g), smooth)  # intensities are interpolated and rounded
    mask = labels > 10
    assert ImageAction(SO2()).transform(mask, SO2().sample(2)).dtype == torch.bool
