"""Rotations of the plane as matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def planar_matrices(angle: Tensor, flip: Tensor) -> Tensor:
    """Rotation matrices, after a reflection of the second axis where `flip` is 1.

    Args:
        angle: Radians, shape (n,).
        flip: 0 or 1, shape (n,).

    Returns:
        Shape (n, 2, 2).
    """
    c, s, sign = angle.cos(), angle.sin(), (1 - 2 * flip).to(angle)
    return torch.stack([torch.stack([c, -s * sign], dim=-1), torch.stack([s, c * sign], dim=-1)], dim=-2)
