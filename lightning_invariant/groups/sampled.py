"""Transforms that are known only by sampling them: the augmentations of an ordinary network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.group import Group

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampled(Group):
    """A family of transforms without known composition; an element is the seed that draws one transform.

    Seed 0 stands for the untouched input.

    Args:
        name: What the transforms are, letters and digits.
    """

    name: str = "augmentation"

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise ValueError(f"Expected a name of letters and digits but got {self.name!r}.")

    @property
    def order(self) -> None:
        """Not known."""
        return

    @property
    def element_shape(self) -> tuple[int, ...]:
        """An element is one seed."""
        return ()

    def identity(self) -> Tensor:
        """Seed 0."""
        return torch.zeros((), dtype=torch.int64)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """Not known.

        Raises:
            GroupError: Always.
        """
        raise GroupError(f"Expected a group whose product is known but {self} is known by samples only.")

    def inverse(self, g: Tensor) -> Tensor:
        """Not known.

        Raises:
            GroupError: Always.
        """
        raise GroupError(f"Expected a group whose inverses are known but {self} is known by samples only.")

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Fresh seeds, shape (n,)."""
        return torch.randint(1, 2**31 - 1, (n,), generator=generator)

    def __str__(self) -> str:
        return f"Sampled({self.name})"
