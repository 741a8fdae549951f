"""Convolutions that are exactly equivariant under quarter turns: the group C4, on a pixel grid without interpolation.

Feature maps have the shape (B, C, 4, H, W). Turning the image by `torch.rot90(x, g, (-2, -1))` turns every map and
rolls the third axis by g, so spatial pooling leaves the latent "C4: C regular".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class QuarterTurnLifting(nn.Module):
    """Correlation of an image with each filter in its four orientations.

    Args:
        channels_in: Channels of the image.
        channels: Regular fields of the output.
        kernel_size: Odd width of the filters, in pixels.

    Source:
        Cohen and Welling 2016 (arXiv 1602.07576), eq. 10.
    """

    def __init__(self, channels_in: int, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.padding = _same_padding(kernel_size)
        self.weight = nn.Parameter(_scaled(torch.randn(channels, channels_in, kernel_size, kernel_size)))

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B C 4 H W"]:
        """Feature maps on the group."""
        filters = torch.stack([torch.rot90(self.weight, r, (-2, -1)) for r in range(4)], dim=1)
        return F.conv2d(x, filters.flatten(0, 1), padding=self.padding).unflatten(1, (-1, 4))


class QuarterTurnConv(nn.Module):
    """Correlation on the group: each output orientation sees the filters turned in space and rolled over orientations.

    Args:
        channels_in: Regular fields of the input.
        channels: Regular fields of the output.
        kernel_size: Odd width of the filters, in pixels.

    Source:
        Cohen and Welling 2016 (arXiv 1602.07576), eq. 11.
    """

    def __init__(self, channels_in: int, channels: int, kernel_size: int = 3) -> None:
        super().__init__()
        self.padding = _same_padding(kernel_size)
        self.weight = nn.Parameter(_scaled(torch.randn(channels, channels_in, 4, kernel_size, kernel_size)))

    def forward(self, x: Float[Tensor, "B I 4 H W"]) -> Float[Tensor, "B C 4 H W"]:
        """Feature maps on the group."""
        turned = [torch.rot90(self.weight.roll(r, 2), r, (-2, -1)) for r in range(4)]
        filters = torch.stack(turned, dim=1).flatten(0, 1).flatten(1, 2)
        return F.conv2d(x.flatten(1, 2), filters, padding=self.padding).unflatten(1, (-1, 4))


class QuarterTurnEncoder(nn.Module):
    """A small equivariant encoder: three convolutions, one 2 x 2 pooling, the mean over all positions.

    Images of even height and width keep the equivariance exact; there is no interpolation anywhere.

    Args:
        channels_in: Channels of the image.
        fields: Regular fields of the latent.
    """

    def __init__(self, channels_in: int = 1, fields: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            QuarterTurnLifting(channels_in, fields),
            nn.BatchNorm3d(fields),
            nn.ReLU(),
            QuarterTurnConv(fields, fields),
            nn.BatchNorm3d(fields),
            nn.ReLU(),
            nn.MaxPool3d((1, 2, 2)),
            QuarterTurnConv(fields, fields),
            nn.BatchNorm3d(fields),
        )

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B C 4"]:
        """Latents of the representation "C4: C regular"."""
        return self.body(x).mean(dim=(-2, -1))


def _same_padding(kernel_size: int) -> int:
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"Expected an odd kernel size but got {kernel_size}; an even one has no centre to turn about.")
    return kernel_size // 2


def _scaled(weight: Tensor) -> Tensor:
    return weight * math.sqrt(2 / weight[0].numel())
