"""Group convolutions for the 24 rotations of the cube, exact on voxels: filters are permuted, nothing is interpolated.

Feature maps have the shape (B, C, 24, D, H, W). A rotation that moves the volume by its `VolumeAction` moves every map
in space and its third axis as it moves regular fields, so spatial pooling leaves the latent "Cube: C regular".
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from lightning_invariant.groups import Cube
from lightning_invariant.groups.actions import VolumeAction

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

WIDTH = 3
"""Voxels of a filter along each axis."""


def rotated_voxels() -> Int[Tensor, "24 27"]:
    """For each rotation and voxel of a filter the voxel that it comes from."""
    group, voxels = Cube(), torch.arange(WIDTH**3).reshape(1, WIDTH, WIDTH, WIDTH)
    elements = group.elements()
    return VolumeAction(group).transform(voxels.expand(len(elements), -1, -1, -1), elements).flatten(1)


class CubeLifting(nn.Module):
    """Correlation of a volume with each filter under every rotation of the cube.

    Args:
        channels_in: Channels of the volume.
        channels: Regular fields of the output.

    References:
        Cohen and Welling 2016 (arXiv 1602.07576), equation 10; Winkels and Cohen 2018 (1804.04656) for volumes.
    """

    voxels: Tensor

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("voxels", rotated_voxels(), persistent=False)
        scale = math.sqrt(2 / (channels_in * WIDTH**3))
        self.weight = nn.Parameter(scale * torch.randn(channels, channels_in, WIDTH**3))

    def forward(self, x: Float[Tensor, "B I D H W"]) -> Float[Tensor, "B C 24 D H W"]:
        """Feature maps on the group."""
        filters = self.weight[:, :, self.voxels].transpose(1, 2).flatten(0, 1)
        filters = filters.unflatten(-1, (WIDTH, WIDTH, WIDTH))
        return F.conv3d(x, filters, padding=WIDTH // 2).unflatten(1, (-1, len(self.voxels)))


class CubeConv(nn.Module):
    """Correlation on the group: output h sees each filter moved by h, in space and over the group.

    Args:
        channels_in: Regular fields of the input.
        channels: Regular fields of the output.

    References:
        Cohen and Welling 2016 (arXiv 1602.07576), equation 11.
    """

    voxels: Tensor
    relative: Tensor

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        group = Cube()
        self.register_buffer("voxels", rotated_voxels(), persistent=False)
        self.register_buffer("relative", group.translation(group.elements()), persistent=False)
        scale = math.sqrt(2 / (channels_in * group.order * WIDTH**3))
        self.weight = nn.Parameter(scale * torch.randn(channels, channels_in, group.order, WIDTH**3))

    def forward(self, x: Float[Tensor, "B I 24 D H W"]) -> Float[Tensor, "B C 24 D H W"]:
        """Feature maps on the group."""
        # filter[o, h, i, k, v] = weight[o, i, h^-1 k, h^-1 v]
        order = len(self.voxels)
        moved = self.weight[:, :, self.relative]  # (o, i, h, k, v)
        index = self.voxels[:, None].expand(order, order, -1)
        moved = moved.gather(4, index.expand(*moved.shape[:2], -1, -1, -1))
        filters = moved.permute(0, 2, 1, 3, 4).flatten(2, 3).flatten(0, 1).unflatten(-1, (WIDTH, WIDTH, WIDTH))
        maps = F.conv3d(x.flatten(1, 2), filters, padding=WIDTH // 2)
        return maps.unflatten(1, (-1, order))
