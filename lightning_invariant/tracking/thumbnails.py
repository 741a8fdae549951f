"""One sprite sheet for the projector: every point's image in a square grid."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from jaxtyping import Num, UInt8
    from PIL import Image

# The projector refuses larger textures and then shows nothing at all (MAX_SPRITE_IMAGE_SIZE_PX in its source).
SHEET_PIXELS = 8192
# Larger images are not legible at the size of a point and only cost disk and GPU memory.
THUMBNAIL_PIXELS = 64


def sprite_sheet(thumbnails: Num[Tensor, "N C H W"]) -> tuple[Image.Image, tuple[int, int]]:
    """Put the images of all points into one square grid, row by row.

    Args:
        thumbnails: Pictures, shape (N, C, H, W) with C 1 or 3. uint8 is taken as it is, bool as black and white; floats
            within [0, 1] likewise, other ranges are stretched to it by the least and greatest finite value of all
            images.

    Returns:
        The sheet, of at most 8192 pixels a side, and the width and height of one image in pixels.

    Raises:
        ValueError: If the shape is not (N, C, H, W) with C 1 or 3 and every size at least 1.
    """
    if thumbnails.ndim != 4 or thumbnails.shape[1] not in (1, 3) or 0 in thumbnails.shape:
        raise ValueError(
            f"Expected thumbnails of shape (N, 1 or 3, H, W) but got {tuple(thumbnails.shape)}; "
            "give images of one or three channels, or thumbnails=None."
        )
    count, channels = thumbnails.shape[:2]
    side = math.ceil(math.sqrt(count))
    images = _shrunk(_bytes(thumbnails.detach().cpu()), min(THUMBNAIL_PIXELS, SHEET_PIXELS // side))
    height, width = images.shape[2:]
    # The projector divides the sheet by the image's size in both directions: the grid must be square, empty cells
    # included.
    grid = torch.zeros(side * side, channels, height, width, dtype=torch.uint8)
    grid[:count] = images
    sheet = grid.view(side, side, channels, height, width).permute(0, 3, 1, 4, 2)
    return _image(sheet.reshape(side * height, side * width, channels)), (width, height)


def read_sheet(path: str | os.PathLike[str], size: Sequence[int]) -> UInt8[Tensor, "cells C H W"]:
    """Read the images of a sheet that `sprite_sheet` made, empty cells included.

    Args:
        path: Path of the image file.
        size: Width and height of one image, pixels.
    """
    from PIL import Image

    with Image.open(path) as image:
        sheet = torch.from_numpy(np.asarray(image).copy())
    sheet = sheet if sheet.ndim == 3 else sheet[..., None]
    width, height = size
    cells = sheet.unflatten(0, (-1, height)).unflatten(2, (-1, width)).permute(0, 2, 4, 1, 3)
    return cells.flatten(0, 1)


def _bytes(images: Tensor) -> UInt8[Tensor, "N C H W"]:
    if images.dtype == torch.uint8:
        return images
    values = images.float()
    finite = values[torch.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 1.0)
    if low < 0.0 or high > 1.0:
        values = (values - low) / max(high - low, torch.finfo(torch.float32).tiny)
    return (values.nan_to_num(0.0, 1.0, 0.0).clamp(0, 1) * 255).round().to(torch.uint8)


def _shrunk(images: Tensor, limit: int) -> Tensor:
    height, width = images.shape[2:]
    scale = limit / max(height, width)
    if scale >= 1.0:
        return images
    size = (max(1, int(height * scale)), max(1, int(width * scale)))
    # In chunks: area averaging needs floats, four times the images' own size.
    chunks = [F.adaptive_avg_pool2d(chunk.float(), size).round().to(torch.uint8) for chunk in images.split(256)]
    return torch.cat(chunks)


def _image(sheet: UInt8[Tensor, "H W C"]) -> Image.Image:
    from PIL import Image

    return Image.fromarray(sheet[..., 0].numpy() if sheet.shape[-1] == 1 else sheet.numpy())
