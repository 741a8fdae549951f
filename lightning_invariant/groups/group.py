"""Groups as immutable values: identity, product, inverse, elements, Haar samples, and a string that parses back.

Elements are tensors. One element has the shape `element_shape`; every method takes and returns batches
(..., *element_shape), so a batch of elements is one tensor and no Python loop runs over a group.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError

if TYPE_CHECKING:
    from torch import Tensor

LISTING_LIMIT = 100_000
"""Largest group whose elements are listed; beyond it only samples are given."""


class Group(ABC):
    """A group that acts on latents or inputs.

    Subclasses are frozen dataclasses: equal values are equal groups, and `str` prints what `parse_group` reads.
    """

    @property
    @abstractmethod
    def order(self) -> int | None:
        """Number of elements, None for an infinite group."""

    @property
    @abstractmethod
    def element_shape(self) -> tuple[int, ...]:
        """Shape of one element."""

    @property
    def element_dtype(self) -> torch.dtype:
        """Dtype of elements: int64 for discrete groups, float64 for matrices."""
        return torch.int64

    @abstractmethod
    def identity(self) -> Tensor:
        """The identity, of shape `element_shape`."""

    @abstractmethod
    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The product gh: first h acts, then g. Batches broadcast."""

    @abstractmethod
    def inverse(self, g: Tensor) -> Tensor:
        """The inverse of each element of a batch."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Independent uniform (Haar) samples.

        Args:
            n: How many.
            generator: Source of randomness on the CPU; the global one if None.

        Returns:
            Elements of shape (n, *element_shape).
        """

    def elements(self) -> Tensor:
        """All elements, identity first, of shape (order, *element_shape).

        Raises:
            GroupError: The group is infinite or too large to list.
        """
        if self.order is None or self.order > LISTING_LIMIT:
            size = "infinitely many" if self.order is None else f"{self.order}"
            raise GroupError(
                f"Expected a group of at most {LISTING_LIMIT} elements to list but {self} has {size}; "
                "use sample(n) instead."
            )
        return self._list()

    def _list(self) -> Tensor:
        raise NotImplementedError

    def probe_elements(self, limit: int, generator: torch.Generator | None = None) -> Tensor:
        """All elements if there are at most `limit`, otherwise the identity and `limit - 1` samples."""
        if self.order is not None and self.order <= limit:
            return self.elements()
        return torch.cat([self.identity().unsqueeze(0), self.sample(limit - 1, generator)])

    def label(self, g: Tensor) -> str:
        """A short name of one element, for axes and tables."""
        return str(g.tolist())


class FiniteGroup(Group):
    """A finite group whose elements are the numbers 0 (the identity) to order - 1."""

    @property
    @abstractmethod
    def order(self) -> int:
        """Number of elements."""

    @property
    def element_shape(self) -> tuple[int, ...]:
        """Elements are numbers."""
        return ()

    def identity(self) -> Tensor:
        """Element 0."""
        return torch.zeros((), dtype=torch.int64)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform numbers below the order, shape (n,)."""
        return torch.randint(self.order, (n,), generator=generator)

    def table(self) -> Tensor:
        """The multiplication table, shape (order, order): entry [g, h] is the number of gh."""
        every = self.elements()
        return self.compose(every[:, None], every[None, :])

    def translation(self, g: Tensor) -> Tensor:
        """The permutation by which g acts on functions on the group: (rho(g) z)[h] = z[g^-1 h].

        Args:
            g: Elements, shape (n,).

        Returns:
            Indices of shape (n, order), to gather with.
        """
        return self.compose(self.inverse(g)[..., None], self.elements().to(g.device))

    def _list(self) -> Tensor:
        return torch.arange(self.order)
