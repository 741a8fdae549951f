"""A small encoder that is equivariant under rotations, and reflections if wished, of 28 x 28 images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lightning_invariant.groups import Cyclic, Dihedral, Translations
from lightning_invariant.groups.grammar import parse_group
from lightning_invariant.zoo.planar_conv import PlanarConv, PlanarLifting, PlanarPool

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

SIDE = 28
"""Height and width of the images: halved twice it is odd, so that the last filters have a centre."""


class PlanarEncoder(nn.Module):
    """Two group convolutions with smooth pooling, and a third whose filters span the image: one latent an image.

    Guarantee:
        Exactly equivariant under quarter turns (and flips for D_n) up to rounding. Under other elements as far as the
        grid lets it: measure it (`equivariance_errors`).

    Args:
        group: "C8", "D4" or any other C_n or D_n.
        channels_in: Channels of the image.
        width: Regular fields of the first layer; the second has twice as many.
        fields: Regular fields of the latent.

    Raises:
        ValueError: The group does not rotate the plane.

    Example:
        >>> import torch
        >>> PlanarEncoder("C8", width=2, fields=4)(torch.zeros(3, 1, 28, 28)).shape
        torch.Size([3, 4, 8])
    """

    def __init__(self, group: str = "C8", channels_in: int = 1, width: int = 8, fields: int = 32) -> None:
        super().__init__()
        acting = parse_group(group)
        if not isinstance(acting, (Cyclic, Dihedral)) or isinstance(acting, Translations):
            raise ValueError(f"Expected rotations of the plane, Cn or Dn, but got {group}.")
        self.order = acting.order
        self.body = nn.Sequential(
            PlanarLifting(acting, channels_in, width),
            nn.BatchNorm3d(width),
            nn.ReLU(),
            PlanarPool(),
            PlanarConv(acting, width, 2 * width),
            nn.BatchNorm3d(2 * width),
            nn.ReLU(),
            PlanarPool(),
            PlanarConv(acting, 2 * width, fields, kernel_size=SIDE // 4, padding="valid"),
            nn.BatchNorm3d(fields),
        )

    def forward(self, x: Float[Tensor, "B I 28 28"]) -> Float[Tensor, "B C G"]:
        """Latents of the representation "GROUP: C regular"."""
        return self.body(x).flatten(2)
