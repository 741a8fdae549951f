"""Several groups on one input: each factor of a product transforms it in its own way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.product import Product

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ProductAction(InputAction):
    """Each factor's action, one after the other; on one input they must commute, as orders and rotations of points do.

    Args:
        group: A product.
        actions: One action for each factor, of that factor.

    Raises:
        ValueError: Another group, or actions that do not belong to its factors.

    Example:
        >>> from lightning_invariant.groups import Orthogonal, Symmetric
        >>> from lightning_invariant.groups.actions import NodeAction, PointAction
        >>> group = Product((Symmetric(4), Orthogonal(3)))
        >>> cloud = ProductAction(group, (NodeAction(Symmetric(4)), PointAction(Orthogonal(3))))
        >>> cloud.transform(torch.rand(2, 4, 3), group.sample(2)).shape
        torch.Size([2, 4, 3])
    """

    group: Product
    actions: tuple[InputAction, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", tuple(self.actions))
        if not isinstance(self.group, Product):
            raise ValueError(f"Expected a product of groups but got {self.group}.")
        acting = tuple(action.group for action in self.actions)
        if acting != self.group.factors:
            raise ValueError(
                f"Expected one action for each of {', '.join(map(str, self.group.factors))} but got actions of "
                f"{', '.join(map(str, acting)) or 'none'}."
            )

    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        """Act on a batch, the last factor first.

        Raises:
            ValueError: The inputs do not fit one of the actions.
        """
        parts = list(zip(self.actions, self.group.split(self._each(g, len(x))), strict=True))
        for action, element in reversed(parts):
            x = action.transform(x, element)
        return x

    def is_exact(self, g: Tensor) -> Tensor:
        """True where every factor acts without interpolation."""
        pairs = zip(self.actions, self.group.split(g), strict=True)
        return torch.stack([action.is_exact(element) for action, element in pairs]).all(dim=0)


@dataclass(frozen=True)
class LeftAlone(InputAction):
    """Nothing changes, whatever the element."""

    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        """Return the inputs as they are."""
        return x
