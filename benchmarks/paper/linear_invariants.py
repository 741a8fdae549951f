"""Random invariant linear maps of the feature map before an encoder pools it, as in the paper.

A linear invariant of a pooled latent sees only the mean of each field. The map before it has a field at every pixel, so
that there are many more: every equivariant filter that spans the map and ends in numbers that nothing moves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.groups.grammar import parse_group
from lightning_invariant.zoo.planar_conv import PlanarConv

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.zoo.planar_encoder import PlanarEncoder

STEP = 64
"""Maps that are computed at one time: of each there is one filter an element."""


class LinearInvariants(nn.Module):
    """Random linear maps of the last feature map, exactly invariant where the encoder is exactly equivariant.

    Args:
        encoder: Whose last convolution spans the map; that one and what follows it are left out.
        group: The encoder's group.
        size: Number of maps.
        seed: Of the filters.

    References:
        Hansen, Calissano and Feragen 2024, Interpreting equivariant representations (ICML, arXiv 2401.12588).
    """

    def __init__(self, encoder: PlanarEncoder, group: str, size: int, seed: int = 0) -> None:
        super().__init__()
        self.before, last = encoder.body[:-2], encoder.body[-2]
        if not isinstance(last, PlanarConv):
            raise TypeError(f"Expected a convolution before the last normalisation but got {type(last).__name__}.")
        acting, channels = parse_group(group), last.weight.shape[1]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.filters = nn.ModuleList(
                PlanarConv(acting, channels, min(STEP, size - start), last.width, "valid")  # pyright: ignore[reportArgumentType]
                for start in range(0, size, STEP)
            )

    def forward(self, x: Float[Tensor, "B 1 28 28"]) -> Float[Tensor, "B K"]:
        """The mean over the group of each filter's products with the map."""
        maps = self.before(x)
        return torch.cat([convolve(maps).mean(dim=2).flatten(1) for convolve in self.filters], dim=1)
