"""Direct products of groups."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.group import Group

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 32
"""Most factors."""


@dataclass(frozen=True)
class Product(Group):
    """G1 x G2 x ...; an element is the concatenation of its factors' elements, flattened.

    Numbers of discrete factors are exact in float64, so one dtype carries every mixture.

    Args:
        factors: Two groups or more; products among them are flattened.

    Raises:
        ValueError: Fewer than two factors.
    """

    factors: tuple[Group, ...]

    def __post_init__(self) -> None:
        flat = [f for factor in self.factors for f in (factor.factors if isinstance(factor, Product) else (factor,))]
        object.__setattr__(self, "factors", tuple(flat))
        if len(flat) < 2:
            raise ValueError(f"Expected at least two factors but got {len(flat)}.")
        if len(flat) > LARGEST:
            raise ValueError(f"Expected at most {LARGEST} factors but got {len(flat)}; Z2^n stands for n signs.")

    @property
    def order(self) -> int | None:
        """The product of the factors' orders, None if one is infinite."""
        orders = [factor.order for factor in self.factors]
        return None if None in orders else math.prod(o for o in orders if o is not None)

    @property
    def element_shape(self) -> tuple[int, ...]:
        """The sum of the factors' sizes."""
        return (sum(self._sizes),)

    @property
    def element_dtype(self) -> torch.dtype:
        """float64 as soon as one factor needs it."""
        return reduce(torch.promote_types, (factor.element_dtype for factor in self.factors))

    def split(self, g: Tensor) -> list[Tensor]:
        """The factors' elements of a batch (..., size), each of shape (..., *element_shape)."""
        parts = g.split(self._sizes, dim=-1)
        return [
            part.reshape((*part.shape[:-1], *factor.element_shape)).to(factor.element_dtype)
            for part, factor in zip(parts, self.factors, strict=True)
        ]

    def join(self, parts: list[Tensor]) -> Tensor:
        """The inverse of `split`."""
        flat = [
            part.reshape((*part.shape[: part.dim() - len(factor.element_shape)], -1)).to(self.element_dtype)
            for part, factor in zip(parts, self.factors, strict=True)
        ]
        return torch.cat(flat, dim=-1)

    def identity(self) -> Tensor:
        """The identities side by side."""
        return self.join([factor.identity() for factor in self.factors])

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """Factor by factor."""
        g, h = torch.broadcast_tensors(g, h)
        pairs = zip(self.factors, self.split(g), self.split(h), strict=True)
        return self.join([factor.compose(a, b) for factor, a, b in pairs])

    def inverse(self, g: Tensor) -> Tensor:
        """Factor by factor."""
        return self.join([factor.inverse(a) for factor, a in zip(self.factors, self.split(g), strict=True)])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent samples of each factor."""
        return self.join([factor.sample(n, generator) for factor in self.factors])

    def label(self, g: Tensor) -> str:
        """The factors' labels, in order."""
        return " ".join(factor.label(a) for factor, a in zip(self.factors, self.split(g), strict=True))

    def __str__(self) -> str:
        return " x ".join(map(str, self.factors))

    @property
    def _sizes(self) -> list[int]:
        return [math.prod(factor.element_shape) for factor in self.factors]

    def _list(self) -> Tensor:
        index = torch.cartesian_prod(*(torch.arange(factor.order or 0) for factor in self.factors)).unbind(dim=1)
        return self.join([factor.elements()[i] for factor, i in zip(self.factors, index, strict=True)])
