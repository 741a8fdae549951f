"""Dihedral groups: rotations by multiples of 2 pi / n and reflections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_invariant.groups.group import FiniteGroup
from lightning_invariant.groups.planar import axis_suffix, half_turn

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Dihedral(FiniteGroup):
    """D_n, of order 2n; element r + n f reflects about a line (if f = 1), then rotates by 2 pi r / n.

    Args:
        n: Number of rotations, at least 1.
        axis: Angle of the line of reflection in degrees, counter-clockwise from the x axis, which points right: 0 turns
            images upside down (reverses H), 90 swaps left and right (reverses W), as escnn does by default. It says
            what elements do to the plane; regular fields and irreps are the same for every axis, as in escnn.

    Raises:
        ValueError: n is below 1, or the axis is no number.
    """

    n: int
    axis: float = 0.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected a dihedral group with at least 1 rotation but got {self.n}.")
        object.__setattr__(self, "axis", half_turn(self.axis))

    @property
    def order(self) -> int:
        """Twice the number of rotations."""
        return 2 * self.n

    def parts(self, g: Tensor) -> tuple[Tensor, Tensor]:
        """Rotation number r and reflection flag f of each element."""
        return g % self.n, g // self.n

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """A reflection reverses the rotations that act before it."""
        (r, f), (s, e) = self.parts(g), self.parts(h)
        return (r + (1 - 2 * f) * s) % self.n + self.n * ((f + e) % 2)

    def inverse(self, g: Tensor) -> Tensor:
        """Reflections are their own inverses."""
        r, f = self.parts(g)
        return (-(1 - 2 * f) * r) % self.n + self.n * f

    def label(self, g: Tensor) -> str:
        """The angle in degrees, marked with "m" after a reflection."""
        r, f = self.parts(g)
        return f"{360 * int(r) / self.n:g}°" + ("m" if int(f) else "")

    def __str__(self) -> str:
        return f"D{self.n}{axis_suffix(self.axis)}"
