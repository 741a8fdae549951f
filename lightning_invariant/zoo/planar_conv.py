"""Group convolutions for rotations and reflections of the plane: C_n and D_n on pixel grids.

Feature maps have the shape (B, C, G, H, W). An element g that moves the image by its `ImageAction` moves every map in
space and its third axis as g moves regular fields, so spatial pooling leaves the latent "C8: C regular". Exact for
quarter turns and flips of even images; for other angles as far as the pixel grid lets it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.nn import functional as F

from lightning_invariant.zoo.planar_filters import kaiming_scale, turned_basis

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Cyclic, Dihedral

Padding = Literal["same", "valid"]


class PlanarLifting(nn.Module):
    """Correlation of an image with each filter under every element of the group.

    Args:
        group: C_n or D_n.
        channels_in: Channels of the image.
        channels: Regular fields of the output.
        kernel_size: Odd width of the filters, in pixels.

    Source:
        Cohen and Welling 2016 (arXiv 1602.07576), equation 10.
    """

    basis: Tensor

    def __init__(self, group: Cyclic | Dihedral, channels_in: int, channels: int, kernel_size: int = 7) -> None:
        super().__init__()
        self.order, self.width = group.order, kernel_size
        self.register_buffer("basis", turned_basis(group, kernel_size), persistent=False)
        functions = self.basis.shape[1]
        scale = kaiming_scale(channels_in * functions)
        self.weight = nn.Parameter(scale * torch.randn(channels, channels_in, functions))

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B C G H W"]:
        """Feature maps on the group."""
        filters = torch.einsum("oik,gkp->ogip", self.weight, self.basis).flatten(0, 1)
        filters = filters.unflatten(-1, (self.width, self.width))
        return F.conv2d(x, filters, padding=self.width // 2).unflatten(1, (-1, self.order))


class PlanarConv(nn.Module):
    """Correlation on the group: output element h sees each filter moved by h, in space and over the group.

    Args:
        group: C_n or D_n.
        channels_in: Regular fields of the input.
        channels: Regular fields of the output.
        kernel_size: Odd width of the filters, in pixels.
        padding: "same" keeps the size; "valid" leaves out what a filter would see beyond the border.

    Source:
        Cohen and Welling 2016 (arXiv 1602.07576), equation 11.
    """

    basis: Tensor
    relative: Tensor

    def __init__(
        self,
        group: Cyclic | Dihedral,
        channels_in: int,
        channels: int,
        kernel_size: int = 5,
        padding: Padding = "same",
    ) -> None:
        super().__init__()
        self.order, self.width = group.order, kernel_size
        self.padding = kernel_size // 2 if padding == "same" else 0
        self.register_buffer("basis", turned_basis(group, kernel_size), persistent=False)
        self.register_buffer("relative", group.translation(group.elements()).flatten(), persistent=False)
        functions = self.basis.shape[1]
        scale = kaiming_scale(channels_in * group.order * functions)
        self.weight = nn.Parameter(scale * torch.randn(channels, channels_in, group.order, functions))

    def forward(self, x: Float[Tensor, "B I G H W"]) -> Float[Tensor, "B C G H2 W2"]:
        """Feature maps on the group."""
        # filter[o, h, i, k] = sum of weight[o, i, h^-1 k] over the basis moved by h: one product of matrices for each h
        channels, channels_in = self.weight.shape[:2]
        moved = self.weight.index_select(2, self.relative).unflatten(2, (self.order, self.order)).movedim(2, 0)
        filters = (moved.flatten(1, 3) @ self.basis).unflatten(1, (channels, channels_in * self.order))
        filters = filters.transpose(0, 1).flatten(0, 1).unflatten(-1, (self.width, self.width))
        return F.conv2d(x.flatten(1, 2), filters, padding=self.padding).unflatten(1, (-1, self.order))


class PlanarPool(nn.Module):
    """Halves even height and width by a smooth average of 4 x 4 pixels, which turns with the image.

    Source:
        Zhang 2019 (arXiv 1904.11486), with a filter of even width, so that quarter turns stay exact.
    """

    window: Tensor

    def __init__(self) -> None:
        super().__init__()
        line = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("window", (line[:, None] * line)[None, None], persistent=False)

    def forward(self, x: Float[Tensor, "B C G H W"]) -> Float[Tensor, "B C G h w"]:
        """Feature maps of half the size."""
        fields, order = x.shape[1:3]
        maps = fields * order
        # One group a map: as one channel of many images, torch takes several times as long.
        windows = self.window.expand(maps, 1, -1, -1)
        return F.conv2d(x.flatten(1, 2), windows, stride=2, padding=1, groups=maps).unflatten(1, (fields, order))
