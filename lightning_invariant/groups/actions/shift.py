"""Cyclic translations along one axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.cyclic import Translations

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Num
    from torch import Tensor


@dataclass(frozen=True)
class ShiftAction(InputAction):
    """T_n along an axis: element s shifts by s positions, or by s m positions where the axis has n m of them.

    Args:
        group: The translations.
        axis: Time, or rows or columns of an image; the last one by default, as in signals (B, C, T).

    Raises:
        ValueError: Another group.

    Example:
        >>> ShiftAction(Translations(3)).transform(torch.tensor([[7, 8, 9]]), torch.tensor(1)).tolist()
        [[9, 7, 8]]
    """

    group: Translations
    axis: int = -1

    def __post_init__(self) -> None:
        if not isinstance(self.group, Translations):
            raise ValueError(f"Expected translations such as T16 but got {self.group}.")

    def transform(self, x: Num[Tensor, "B *shape"], g: Tensor) -> Num[Tensor, "B *shape"]:
        """Act on signals.

        Raises:
            ValueError: There is no such axis, or n does not divide its length.
        """
        axis = self._place(x)
        length = x.shape[axis]
        steps = self._each(g, len(x)).to(x.device) * (length // self.group.n)
        index = (torch.arange(length, device=x.device) - steps[:, None]) % length
        shape = [1] * x.dim()
        shape[0], shape[axis] = len(x), length
        return x.gather(axis, index.reshape(shape).expand_as(x))

    def by(self, g: Tensor) -> Callable[[Tensor], Tensor]:
        """The shift by one element."""
        step = int(g)
        return lambda x: x.roll(step * (x.shape[self._place(x)] // self.group.n), self._place(x))

    def _place(self, x: Tensor) -> int:
        n = self.group.n
        axis = self.axis % x.dim() if -x.dim() <= self.axis < x.dim() else 0
        if axis == 0 or x.shape[axis] % n:
            raise ValueError(
                f"Expected an axis {self.axis} behind the samples whose length {n} divides, for {self.group}, but got "
                f"shape {tuple(x.shape)}."
            )
        return axis
