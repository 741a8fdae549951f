"""Augmentations: transforms that are known only by drawing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.sampled import Sampled

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor


@dataclass(frozen=True)
class SampledAction(InputAction):
    """Transforms drawn by a seed; an element is the seed, and 0 leaves the input as it is.

    Args:
        group: `Sampled`.
        transform: transform(x, generator) for ONE input (...); all of its randomness comes from the generator.

    Raises:
        ValueError: The group is not `Sampled`.

    Example:
        >>> noisy = SampledAction(Sampled("noise"), lambda x, generator: x + torch.rand(x.shape, generator=generator))
        >>> x = torch.zeros(2, 3)
        >>> bool((noisy.move(x, torch.tensor(5)) == noisy.move(x, torch.tensor(5))).all())
        True
    """

    group: Sampled
    transform: Callable[[Tensor, torch.Generator], Tensor]

    def __post_init__(self) -> None:
        if not isinstance(self.group, Sampled):
            raise ValueError(f"Expected the group Sampled but got {self.group}.")

    def move(self, x: Tensor, g: Tensor) -> Tensor:
        """Transform each input under its own seed.

        Raises:
            ValueError: The transform changes the shape.
        """
        seeds = self._each(g, len(x)).tolist()
        rows = [self._one(row, seed) for row, seed in zip(x, seeds, strict=True)]
        return torch.stack(rows) if rows else x

    def is_exact(self, g: Tensor) -> Tensor:
        """True for the untouched input only."""
        return g == 0

    def round_trip_error(self, x: Any, g: Tensor) -> float:
        """Not known: a sampled transform has no inverse.

        Raises:
            GroupError: Always.
        """
        raise GroupError(f"Expected an action with inverses but {self.group} is known by samples only.")

    def _one(self, x: Tensor, seed: int) -> Tensor:
        if seed == 0:
            return x
        moved = self.transform(x, torch.Generator().manual_seed(seed))
        if moved.shape != x.shape:
            raise ValueError(
                f"Expected a transform that keeps the shape {tuple(x.shape)} but got {tuple(moved.shape)}; resize it."
            )
        return moved
