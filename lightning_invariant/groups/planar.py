"""Rotations and reflections of the plane as matrices, and the line of reflection."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def planar_matrices(angle: Tensor, flip: Tensor, axis: float = 0.0) -> Tensor:
    """Rotation matrices, after a reflection where `flip` is 1.

    Args:
        angle: Radians, shape (n,).
        flip: 0 or 1, shape (n,).
        axis: Angle in degrees of the line of reflection; 0 reflects the second axis.

    Returns:
        Shape (n, 2, 2).
    """
    if axis:
        angle = angle + math.radians(2 * axis) * flip.double()
    c, s, sign = angle.cos(), angle.sin(), (1 - 2 * flip).to(angle)
    return torch.stack([torch.stack([c, -s * sign], dim=-1), torch.stack([s, c * sign], dim=-1)], dim=-2)


def half_turn(axis: float) -> float:
    """The angle of a line in degrees, from 0 to below 180.

    Raises:
        ValueError: No finite number.
    """
    if isinstance(axis, bool) or not isinstance(axis, (int, float)) or not math.isfinite(axis):
        raise ValueError(f"Expected the angle of an axis in degrees but got {axis!r}.")
    return float(axis) % 180.0


def axis_suffix(axis: float) -> str:
    """How a group's notation says its axis: nothing for 0."""
    return f"(axis={axis:.12g})" if axis else ""
