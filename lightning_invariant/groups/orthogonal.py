"""Rotations and reflections of d-dimensional space: SO(d) and O(d), elements as matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.group import Group
from lightning_invariant.groups.planar import axis_suffix, half_turn

if TYPE_CHECKING:
    from torch import Tensor


class MatrixGroup(Group):
    """A continuous group whose elements are real orthogonal d x d matrices in float64."""

    d: int

    @property
    def order(self) -> None:
        """Infinitely many elements."""
        return

    @property
    def element_shape(self) -> tuple[int, ...]:
        """A square matrix."""
        return (self.d, self.d)

    @property
    def element_dtype(self) -> torch.dtype:
        """Matrices are kept in float64."""
        return torch.float64

    def identity(self) -> Tensor:
        """The identity matrix."""
        return torch.eye(self.d, dtype=torch.float64)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The matrix product."""
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        """The transpose."""
        return g.mT


@dataclass(frozen=True)
class Orthogonal(MatrixGroup):
    """O(d), or SO(d) if special; an element is a d x d orthogonal matrix in float64.

    Args:
        d: Dimension of the space, at least 2.
        special: Whether reflections are left out.
        axis: For O(2), angle in degrees of the line about which irreps take reflections to be diag(1, -1), as for
            `Dihedral`: 90 is escnn's default. Elements are matrices on the plane for every axis.

    Raises:
        ValueError: d is below 2, or an axis for another group than O(2).
    """

    d: int
    special: bool = False
    axis: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "axis", half_turn(self.axis))
        if self.axis and (self.d != 2 or self.special):
            raise ValueError(
                f"Expected an axis of reflection for O2 or Dn only but got {self.axis:g} for d = {self.d}."
            )
        if self.d < 2:
            raise ValueError(f"Expected a dimension of at least 2 but got {self.d}; O(1) is the sign group Z2.")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Haar-distributed matrices, shape (n, d, d).

        Source: Mezzadri 2007 (math-ph/0609050): QR of a Gaussian matrix with the signs of R divided out.
        """
        q, r = torch.linalg.qr(torch.randn(n, self.d, self.d, dtype=torch.float64, generator=generator))
        q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
        if self.special:
            q = torch.cat([q[..., :1] * torch.linalg.det(q).sign()[:, None, None], q[..., 1:]], dim=-1)
        return q

    def label(self, g: Tensor) -> str:
        """The rotation angle in degrees for d of 2 or 3, marked with "m" after a reflection."""
        flip = bool(torch.linalg.det(g) < 0)
        mark = "m" if flip else ""
        if self.d == 2:
            degrees = math.degrees(math.atan2(g[1, 0], g[0, 0])) - (2 * self.axis if flip else 0)
            return f"{(degrees + 180) % 360 - 180:.0f}°{mark}"
        if self.d == 3:
            cosine = ((-g if flip else g).trace() - 1) / 2
            return f"{math.degrees(math.acos(max(-1.0, min(1.0, float(cosine))))):.0f}°{mark}"
        return mark or "rotation"

    def __str__(self) -> str:
        return f"{'SO' if self.special else 'O'}{self.d}{axis_suffix(self.axis)}"


def SO2() -> Orthogonal:  # noqa: N802
    """Rotations of the plane."""
    return Orthogonal(2, special=True)


def O2(axis: float = 0.0) -> Orthogonal:  # noqa: N802
    """Rotations and reflections of the plane."""
    return Orthogonal(2, axis=axis)


def SO3() -> Orthogonal:  # noqa: N802
    """Rotations of space."""
    return Orthogonal(3, special=True)


def O3() -> Orthogonal:  # noqa: N802
    """Rotations and reflections of space."""
    return Orthogonal(3)
