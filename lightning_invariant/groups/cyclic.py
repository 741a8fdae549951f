"""Cyclic groups: rotations by multiples of 2 pi / n, and cyclic translations of n positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_invariant.groups.group import FiniteGroup

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cyclic(FiniteGroup):
    """C_n, rotations of the plane by multiples of 2 pi / n; element r is the rotation by 2 pi r / n.

    Args:
        n: Order, at least 1.

    Raises:
        ValueError: n is below 1.

    Example:
        >>> Cyclic(4).compose(Cyclic(4).elements(), Cyclic(4).elements()[3]).tolist()
        [3, 0, 1, 2]
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected a cyclic group of order at least 1 but got {self.n}.")

    @property
    def order(self) -> int:
        """The number n of rotations."""
        return self.n

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """Addition of rotation numbers."""
        return (g + h) % self.n

    def inverse(self, g: Tensor) -> Tensor:
        """The opposite rotation."""
        return -g % self.n

    def label(self, g: Tensor) -> str:
        """The angle in degrees."""
        return f"{360 * int(g) / self.n:g}°"

    def __str__(self) -> str:
        return f"C{self.n}"


@dataclass(frozen=True)
class Translations(Cyclic):
    """Cyclic translations of n positions; the same group as C_n, acting by shifts rather than rotations."""

    def label(self, g: Tensor) -> str:
        """The number of positions."""
        return f"+{int(g)}"

    def __str__(self) -> str:
        return f"T{self.n}"
