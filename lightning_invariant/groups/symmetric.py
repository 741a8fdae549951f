"""Symmetric groups: orders of nodes, points or set members."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.group import Group

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 50_000
"""Most places: the order of the group is a number of 213,000 digits there."""


@lru_cache(maxsize=64)
def _factorial(n: int) -> int:
    return math.factorial(n)


@dataclass(frozen=True)
class Symmetric(Group):
    """S_n; an element p moves what stands at place i to place p[i], so rows move as z'[p[i]] = z[i].

    Nothing here lists the group unless asked, so n may be in the thousands.

    Args:
        n: Number of places, from 1 to 50,000.

    Raises:
        ValueError: n is out of range.
    """

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected permutations of at least 1 place but got {self.n}.")
        if self.n > LARGEST:
            raise ValueError(f"Expected permutations of at most {LARGEST} places but got {self.n}; pool some first.")

    @property
    def order(self) -> int:
        """The factorial of n."""
        return _factorial(self.n)

    @property
    def element_shape(self) -> tuple[int, ...]:
        """A permutation is n numbers."""
        return (self.n,)

    def identity(self) -> Tensor:
        """The order as it is."""
        return torch.arange(self.n)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The permutation i -> g[h[i]]."""
        g, h = torch.broadcast_tensors(g, h)
        return g.gather(-1, h)

    def inverse(self, g: Tensor) -> Tensor:
        """The permutation that puts everything back."""
        return g.argsort(dim=-1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform permutations, shape (n, self.n)."""
        # Ties among 53-bit uniforms would bias the permutation; at these sizes they do not happen.
        return torch.rand(n, self.n, dtype=torch.float64, generator=generator).argsort(dim=-1)

    def __str__(self) -> str:
        return f"S{self.n}"

    def _list(self) -> Tensor:
        return torch.tensor(list(permutations(range(self.n))))
