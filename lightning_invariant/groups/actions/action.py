"""The base of every action on inputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.actions.spread import mean_distance

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups.group import Group


@dataclass(frozen=True)
class InputAction(ABC):
    """How elements of a group move inputs, as an immutable value.

    A layer is equivariant if layer(action.move(x, g)) == representation.move(layer(x), g).

    Args:
        group: What acts.
    """

    group: Group

    @abstractmethod
    def move(self, x: Any, g: Tensor) -> Any:
        """Act on a batch.

        Args:
            x: Inputs (B, ...), or a tuple of them where the action says so.
            g: One element, or one for each input (B, *element_shape).

        Returns:
            The moved inputs; layout, dtype and device of x.

        Raises:
            ValueError: The inputs do not fit the action.
        """

    def is_exact(self, g: Tensor) -> Tensor:
        """Whether each element moves inputs without interpolation.

        Args:
            g: Elements (..., *element_shape).

        Returns:
            Booleans (...).
        """
        return torch.ones(g.shape[: g.dim() - len(self.group.element_shape)], dtype=torch.bool)

    def round_trip_error(self, x: Any, g: Tensor) -> float:
        """How much g followed by its inverse changes inputs: what interpolation alone costs.

        Args:
            x: At least 2 inputs.
            g: As in `move`.

        Returns:
            Mean of ||g^-1 (g x) - x|| over the mean distance between different inputs; 0 for an exact action, infinite
            if all inputs are equal.
        """
        back = self.move(self.move(x, g), self.group.inverse(g))
        still, returned = _rows(x), _rows(back)
        scale = mean_distance(still)
        return (returned - still).norm(dim=1).mean().item() / scale if scale > 0 else float("inf")

    def _each(self, g: Tensor, count: int) -> Tensor:
        shape = self.group.element_shape
        if g.shape not in (shape, (count, *shape)):
            raise ValueError(
                f"Expected one element of {self.group}, shape {shape}, or {count} of them but got {tuple(g.shape)}."
            )
        return g.expand(count, *shape)


def _rows(x: Any) -> Tensor:
    parts = x if isinstance(x, (tuple, list)) else [x]
    return torch.cat([part.reshape(len(part), -1).float() for part in parts], dim=1)
