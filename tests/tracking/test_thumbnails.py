import numpy as np
import pytest
import torch

from lightning_invariant.tracking.thumbnails import SHEET_PIXELS, THUMBNAIL_PIXELS, sprite_sheet


def cell(sheet, size, index, side):
    width, height = size
    row, column = divmod(index, side)
    return np.asarray(sheet)[row * height : (row + 1) * height, column * width : (column + 1) * width]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_picture_is_in_its_cell(channels):
    pictures = torch.randint(0, 256, (7, channels, 4, 6), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    sheet, size = sprite_sheet(pictures)
    assert size == (6, 4)
    assert sheet.size == (3 * 6, 3 * 4)
    for i, picture in enumerate(pictures):
        expected = picture.permute(1, 2, 0).numpy().squeeze(-1) if channels == 1 else picture.permute(1, 2, 0).numpy()
        assert np.array_equal(cell(sheet, size, i, 3), expected)
    assert not np.asarray(sheet)[8:, 6:].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_floats_of_any_range_use_the_whole_brightness(dtype):
    pictures = torch.tensor([-2.5, 0.0, 2.5]).to(dtype).view(3, 1, 1, 1).expand(3, 1, 2, 2)
    sheet, size = sprite_sheet(pictures)
    assert [int(cell(sheet, size, i, 2)[0, 0]) for i in range(3)] == [0, 128, 255]


def test_floats_between_0_and_1_are_not_stretched():
    sheet, _ = sprite_sheet(torch.full((1, 1, 2, 2), 0.2))
    assert np.asarray(sheet).max() == 51


def test_non_finite_pixels_do_not_spread():
    pictures = torch.zeros(2, 1, 2, 2)
    pictures[0, 0, 0, 0], pictures[1] = float("nan"), 1.0
    sheet, size = sprite_sheet(pictures)
    assert cell(sheet, size, 0, 2).max() == 0
    assert cell(sheet, size, 1, 2).min() == 255


@pytest.mark.parametrize(("count", "height", "width"), [(10, 200, 100), (40_000, 48, 60)])
def test_sheet_stays_below_the_projector_limit(count, height, width):
    sheet, (w, h) = sprite_sheet(torch.zeros(1, 1, height, width, dtype=torch.uint8).expand(count, 1, height, width))
    side = int(np.ceil(np.sqrt(count)))
    assert side * max(height, width) > SHEET_PIXELS or max(height, width) > THUMBNAIL_PIXELS  # it had to shrink
    assert max(sheet.size) <= SHEET_PIXELS
    assert sheet.size == (side * w, side * h)
    assert w / h == pytest.approx(width / height, rel=0.1)


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (3, 4, 4), (0, 1, 4, 4)])
def test_wrong_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="one or three channels"):
        sprite_sheet(torch.zeros(shape))
