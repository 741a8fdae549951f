"""Rotations, reflections and cyclic translations of images."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional as F

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.coordinates import coordinate_matrices, space_dimension
from lightning_invariant.groups.cyclic import Translations

if TYPE_CHECKING:
    from jaxtyping import Num
    from torch import Tensor

TOLERANCE = 1e-6
"""Largest deviation of a matrix entry from 0 or 1 that still counts as a quarter turn or flip."""


@dataclass(frozen=True)
class ImageAction(InputAction):
    """C_n, D_n, SO(2), O(2) or 2 x 2 matrices on images (B, C, H, W) or (B, H, W); T_n rolls along W.

    A pixel at (x right, y up) from the centre goes to rho(g)(x, y): rotations are counter-clockwise, as torch.rot90
    over (-2, -1); the reflection of the second axis turns H around and acts before the rotation. Quarter turns and
    flips permute pixels exactly; other elements interpolate bilinearly. T_n with W = n m rolls by m pixels an element.

    Args:
        group: What acts.
        padding: What comes in at the border of interpolated images: zeros, or the nearest pixel.

    Raises:
        ValueError: The group does not act on the plane.

    Example:
        >>> from lightning_invariant.groups import Cyclic
        >>> x = torch.arange(4.0).reshape(1, 2, 2)
        >>> ImageAction(Cyclic(4)).move(x, torch.tensor(1)).tolist()
        [[[1.0, 3.0], [0.0, 2.0]]]
    """

    padding: Literal["zeros", "border"] = "zeros"

    def __post_init__(self) -> None:
        if space_dimension(self.group) != 2 and not isinstance(self.group, Translations):
            raise ValueError(f"Expected a group that acts on the plane (Cn, Dn, SO2, O2, Tn) but got {self.group}.")
        if self.padding not in ("zeros", "border"):
            raise ValueError(f"Expected padding 'zeros' or 'border' but got {self.padding!r}.")

    def move(self, x: Num[Tensor, "B *C H W"], g: Tensor) -> Num[Tensor, "B *C H W"]:
        """Act on images.

        Raises:
            ValueError: Not images, integer pixels that would have to be interpolated, a quarter turn of an image that
                is not square, or a width that n does not divide.
        """
        if x.dim() not in (3, 4):
            raise ValueError(f"Expected images of shape (B, C, H, W) or (B, H, W) but got {tuple(x.shape)}.")
        g = self._each(g, len(x))
        if isinstance(self.group, Translations):
            return self._roll(x, g)
        rho = coordinate_matrices(self.group, g)
        exact = _is_signed_permutation(rho)
        out = torch.empty_like(x)
        for turns, flip in ((t, f) for t in range(4) for f in range(2)):
            rows = exact & (_quarter_turns(rho) == turns) & ((torch.linalg.det(rho) < 0) == bool(flip))
            if rows.any():
                rows = rows.nonzero().squeeze(1).to(x.device)
                out[rows] = _turn(x[rows], turns, flip=bool(flip))
        if not exact.all():
            rows = (~exact).nonzero().squeeze(1)
            out[rows.to(x.device)] = self._interpolate(x[rows.to(x.device)], rho[rows])
        return out

    def is_exact(self, g: Tensor) -> Tensor:
        """True for quarter turns, flips and translations."""
        if isinstance(self.group, Translations):
            return super().is_exact(g)
        return _is_signed_permutation(coordinate_matrices(self.group, g))

    def _roll(self, x: Tensor, g: Tensor) -> Tensor:
        width, n = x.shape[-1], self.group.order or 1
        if width % n:
            raise ValueError(f"Expected a width that {n} divides for {self.group} but got {width}.")
        shift = (g.to(x.device) * (width // n)).reshape(-1, *[1] * (x.dim() - 1))
        index = (torch.arange(width, device=x.device) - shift) % width
        return x.gather(-1, index.expand_as(x))

    def _interpolate(self, x: Tensor, rho: Tensor) -> Tensor:
        if not x.is_floating_point():
            raise ValueError(f"Expected floating-point images to interpolate but got {x.dtype}; convert them first.")
        images = (x if x.dim() == 4 else x[:, None]).to(torch.promote_types(x.dtype, torch.float32))
        h, w = images.shape[-2:]
        # Rows count downwards and grid coordinates are scaled by half the sides, so rho^-1 is conjugated by (w, -h).
        sides = torch.tensor([w, -h], dtype=torch.float64)
        theta = rho.mT * sides / sides[:, None]
        theta = torch.cat([theta, torch.zeros(len(theta), 2, 1, dtype=theta.dtype)], dim=2).to(images)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        moved = F.grid_sample(images, grid, mode="bilinear", padding_mode=self.padding, align_corners=False)
        return moved.reshape(x.shape).to(x.dtype)


def _is_signed_permutation(rho: Tensor) -> Tensor:
    return (rho.abs() - rho.abs().round()).abs().amax(dim=(-2, -1)) < TOLERANCE


def _quarter_turns(rho: Tensor) -> Tensor:
    return (torch.atan2(rho[..., 1, 0], rho[..., 0, 0]) / (math.pi / 2)).round().long() % 4


def _turn(x: Tensor, turns: int, *, flip: bool) -> Tensor:
    if turns % 2 and x.shape[-1] != x.shape[-2]:
        h, w = x.shape[-2:]
        raise ValueError(f"Expected square images for a quarter turn but got {h} x {w}; crop or pad them to a square.")
    return torch.rot90(x.flip(-2) if flip else x, turns, (-2, -1))
