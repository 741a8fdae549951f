"""The base of every action on inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lightning_invariant.groups.group import Group


@dataclass(frozen=True)
class InputAction(ABC):
    """How elements of a group transform one tensor of inputs, as an immutable value.

    A layer is equivariant if layer(action.transform(x, g)) == representation.transform(layer(x), g).

    Args:
        group: What acts.
    """

    group: Group

    @abstractmethod
    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        """Act on a batch.

        Args:
            x: Inputs (B, ...); they are not changed.
            g: One element, or one for each input (B, *element_shape).

        Returns:
            The transformed inputs; layout, dtype and device of x.

        Raises:
            ValueError: The inputs do not fit the action.
        """

    def by(self, g: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the transform of a batch by one element, as a function that torch.export can trace.

        Args:
            g: One element.
        """
        return lambda x: self.transform(x, g)

    def is_exact(self, g: Tensor) -> Tensor:
        """Return whether each element acts without interpolation.

        Args:
            g: Elements (..., *element_shape).

        Returns:
            Booleans (...).
        """
        return torch.ones(g.shape[: g.dim() - len(self.group.element_shape)], dtype=torch.bool, device=g.device)

    def _each(self, g: Tensor, count: int) -> Tensor:
        shape = self.group.element_shape
        if g.shape not in (shape, (count, *shape)):
            raise ValueError(
                f"Expected one element of {self.group}, shape {shape}, or {count} of them but got {tuple(g.shape)}."
            )
        return g.expand(count, *shape)
