"""Sign flips: each of n coordinates, or eigenvectors, may change its sign."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.group import Group

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 100_000


@dataclass(frozen=True)
class Signs(Group):
    """Z_2^n; an element is n numbers, each 1 or -1.

    Args:
        n: Number of independent signs, from 1 to 100,000.

    Raises:
        ValueError: n is out of range.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected at least 1 sign but got {self.n}.")
        if self.n > LARGEST:
            raise ValueError(f"Expected at most {LARGEST} independent signs but got {self.n}.")

    @property
    def order(self) -> int:
        """Two to the power n."""
        return 2**self.n

    @property
    def element_shape(self) -> tuple[int, ...]:
        """One number a sign."""
        return (self.n,)

    def identity(self) -> Tensor:
        """All signs kept."""
        return torch.ones(self.n, dtype=torch.int64)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """Signs multiply."""
        return g * h

    def inverse(self, g: Tensor) -> Tensor:
        """Every element is its own inverse."""
        return g.clone()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform signs, shape (n, self.n)."""
        return 1 - 2 * torch.randint(2, (n, self.n), generator=generator)

    def label(self, g: Tensor) -> str:
        """One + or - a sign."""
        return "".join("+" if sign > 0 else "-" for sign in g.tolist())

    def __str__(self) -> str:
        return "Z2" if self.n == 1 else f"Z2^{self.n}"

    def _list(self) -> Tensor:
        bits = torch.arange(self.order)[:, None] >> torch.arange(self.n)
        return 1 - 2 * (bits & 1)
