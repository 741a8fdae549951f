from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from lightning_invariant.groups import O2, SO2, SO3, Cyclic, Dihedral, Representation, Translations
from lightning_invariant.groups.actions import ImageAction
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
@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4), Dihedral(2), Dihedral(1), Cyclic(8), Dihedral(8)], ids=str)
def test_a_bright_pixel_goes_where_the_matrix_says(group, size):
    action, image = ImageAction(group), bright_pixel(1, 3, size)
    for g in group.elements():
        moved, rho = action.move(image, g), coordinate_matrices(group, g[None])[0].float()
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
        assert torch.allclose(position(ImageAction(O2()).move(blob, g)), g.float() @ position(blob), atol=0.02)


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("group", [Cyclic(4), Dihedral(4)], ids=str)
def test_a_lifting_convolution_is_equivariant_to_regular_fields(group, size):
    # The field's entry h is the response to the filter moved by h: the first layer of a group convolution.
    action, generator = ImageAction(group), torch.Generator().manual_seed(0)
    x = torch.randn(5, 2, size, size, dtype=torch.float64, generator=generator)
    filters = torch.randn(3, 2, 3, 3, dtype=torch.float64, generator=generator)
    bank = torch.stack([action.move(filters, h) for h in group.elements()], dim=1).flatten(0, 1)
    representation = Representation.parse(f"{group}: 3 regular")

    def layer(images):
        return F.conv2d(images, bank).relu().mean(dim=(2, 3)).reshape(len(images), 3, group.order)

    wrong = 0.0
    for g in group.elements():
        assert torch.allclose(layer(action.move(x, g)), representation.move(layer(x), g), atol=1e-12)
        back = representation.move(layer(x), group.inverse(g))
        wrong = max(wrong, (layer(action.move(x, g)) - back).abs().max().item())
    assert wrong > 1e-3


def test_quarter_turns_are_rot90_for_each_image_by_itself():
    x = torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    moved = ImageAction(Cyclic(8)).move(x, torch.tensor([0, 2, 4, 6]))
    for row, (before, after) in enumerate(zip(x, moved, strict=True)):
        assert torch.equal(after, torch.rot90(before, row, (-2, -1)))


def test_moving_twice_is_moving_by_the_product():
    group, generator = Dihedral(4), torch.Generator().manual_seed(2)
    x = torch.randn(8, 5, 5, generator=generator)
    action, g, h = ImageAction(group), group.sample(8, generator), group.sample(8, generator)
    assert torch.equal(action.move(action.move(x, h), g), action.move(x, group.compose(g, h)))
    assert not torch.equal(action.move(action.move(x, g), h), action.move(x, group.compose(g, h)))


def test_exactness_and_round_trip_error():
    y, x = torch.meshgrid(torch.arange(32) - 15.5, torch.arange(32) - 15.5, indexing="ij")
    centres = 6 * torch.randn(6, 2, generator=torch.Generator().manual_seed(3))
    blobs = torch.stack([torch.exp(-((x - a) ** 2 + (y - b) ** 2) / 20) for a, b in centres])
    action = ImageAction(Cyclic(8))
    assert action.is_exact(Cyclic(8).elements()).tolist() == [True, False] * 4
    assert action.round_trip_error(blobs, torch.tensor(2)) == 0
    assert 0 < action.round_trip_error(blobs, torch.tensor(1)) < 0.1
    assert ImageAction(SO2()).is_exact(SO2().identity())


def test_round_trip_error_of_equal_images_is_not_small():
    assert math.isinf(ImageAction(Cyclic(8)).round_trip_error(torch.ones(3, 8, 8), torch.tensor(1)))


def test_translations_roll_to_the_right():
    x = torch.arange(8.0).expand(2, 1, 1, 8)
    assert torch.equal(ImageAction(Translations(8)).move(x, torch.tensor(3)), x.roll(3, dims=-1))
    both = ImageAction(Translations(4)).move(x, torch.tensor([0, 1]))
    assert torch.equal(both[0], x[0])
    assert torch.equal(both[1], x[1].roll(2, dims=-1))


def test_border_padding_keeps_a_constant_image():
    x = torch.full((1, 9, 9), -0.4)
    assert torch.allclose(ImageAction(Cyclic(8), padding="border").move(x, torch.tensor(1)), x)
    assert not torch.allclose(ImageAction(Cyclic(8)).move(x, torch.tensor(1)), x)


def test_dtype_is_kept_and_gradients_flow():
    action = ImageAction(Cyclic(8))
    for dtype in (torch.bfloat16, torch.float64):
        assert action.move(torch.ones(2, 6, 6, dtype=dtype), torch.tensor([1, 2])).dtype == dtype
    assert action.move(torch.ones(1, 6, 6, dtype=torch.uint8), torch.tensor(2)).dtype == torch.uint8
    x = torch.randn(2, 6, 6, requires_grad=True)
    action.move(x, torch.tensor([1, 2])).square().sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


def test_an_empty_batch_stays_empty():
    assert ImageAction(Cyclic(8)).move(torch.zeros(0, 1, 6, 6), torch.tensor(1)).shape == (0, 1, 6, 6)


def test_half_turns_of_oblong_images_are_exact():
    x = torch.randn(1, 4, 6)
    assert torch.equal(ImageAction(Cyclic(4)).move(x, torch.tensor(2)), x.flip(-1, -2))


@pytest.mark.parametrize(
    ("group", "x", "g", "message"),
    [
        (Cyclic(4), torch.zeros(1, 4, 6), torch.tensor(1), "square images for a quarter turn but got 4 x 6"),
        (Cyclic(8), torch.zeros(1, 6, 6, dtype=torch.uint8), torch.tensor(1), "floating-point images"),
        (Cyclic(4), torch.zeros(4, 6), torch.tensor(1), r"\(B, C, H, W\)"),
        (Cyclic(4), torch.zeros(3, 6, 6), torch.tensor([1, 2]), "or 3 of them"),
        (Translations(5), torch.zeros(1, 4, 6), torch.tensor(1), "that 5 divides"),
    ],
)
def test_what_does_not_fit_is_refused(group, x, g, message):
    with pytest.raises(ValueError, match=message):
        ImageAction(group).move(x, g)


def test_groups_and_paddings_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="acts on the plane"):
        ImageAction(SO3())
    with pytest.raises(ValueError, match="padding"):
        ImageAction(Cyclic(4), padding="reflect")
