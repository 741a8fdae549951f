"""Makes any image encoder equivariant: its latents of the image under every element of a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from lightning_invariant.groups import Cyclic, Dihedral, Translations
from lightning_invariant.groups.actions.coordinates import coordinate_matrices
from lightning_invariant.groups.grammar import parse_group

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class OrbitEncoder(nn.Module):
    """z[d, h] = encoder(h^-1 x)[d] for all elements h of a group.

    Moving the image by g permutes the latents as regular fields: z[d, g^-1 h]. So an ordinary encoder of D numbers
    gives latents of the representation "C8: D regular", and every projection for those applies to it.

    Guarantee:
        Exact where the group moves images exactly (quarter turns, flips); otherwise up to bilinear interpolation.

    Args:
        encoder: Images (B, C, side, side) to latents (B, D).
        group: C_n or D_n, such as "C8".
        side: Height and width of the images.

    Raises:
        ValueError: The group does not rotate the plane.
    """

    grids: Tensor

    def __init__(self, encoder: nn.Module, group: str = "C8", side: int = 28) -> None:
        super().__init__()
        acting = parse_group(group)
        if not isinstance(acting, (Cyclic, Dihedral)) or isinstance(acting, Translations):
            raise ValueError(f"Expected rotations of the plane, Cn or Dn, but got {group}.")
        self.encoder, self.order = encoder, acting.order
        # h^-1 x at a pixel y is x at rho(h) y; rows count downwards, so the second axis changes its sign.
        down = torch.tensor([1.0, -1.0], dtype=torch.float64)
        rho = coordinate_matrices(acting, acting.elements()) * down * down[:, None]
        theta = torch.cat([rho, torch.zeros(acting.order, 2, 1, dtype=rho.dtype)], dim=2)
        grids = F.affine_grid(theta, [acting.order, 1, side, side], align_corners=False).float()
        self.register_buffer("grids", grids, persistent=False)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D G"]:
        """Latents of the representation "GROUP: D regular"."""
        moved = [F.grid_sample(x, grid.expand(x.shape[0], -1, -1, -1), align_corners=False) for grid in self.grids]
        return self.encoder(torch.cat(moved)).unflatten(0, (self.order, -1)).permute(1, 2, 0)
