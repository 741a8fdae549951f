"""Orders of nodes: sets, masks, dense graphs and edge lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.symmetric import Symmetric

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NodeAction(InputAction):
    """S_n on the order of nodes: what stands at place i goes to place g[i].

    Args:
        group: The permutations.
        axes: Which axes count nodes: (1,) for sets (B, n, ...) and masks (B, n), (1, 2) for adjacency (B, n, n, ...).

    Raises:
        ValueError: The group is no symmetric group, or an axis is named twice.

    Example:
        >>> NodeAction(Symmetric(3)).transform(torch.tensor([[7, 8, 9]]), torch.tensor([1, 2, 0])).tolist()
        [[9, 7, 8]]
    """

    group: Symmetric
    axes: tuple[int, ...] = (1,)

    def __post_init__(self) -> None:
        if not isinstance(self.group, Symmetric):
            raise ValueError(f"Expected a symmetric group such as S9 but got {self.group}.")
        if not self.axes or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"Expected at least one axis, each once, but got {self.axes}.")

    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        """Act on one member of a set or graph.

        Raises:
            ValueError: An axis does not have n places.
        """
        n = self.group.n
        back = self.group.inverse(self._each(g, len(x))).to(x.device)
        for axis in self.axes:
            place = axis % x.dim() if -x.dim() <= axis < x.dim() else 0
            if place == 0 or x.shape[place] != n:
                raise ValueError(
                    f"Expected {n} nodes along axis {axis} for {self.group} but got shape {tuple(x.shape)}."
                )
            shape = [1] * x.dim()
            shape[0], shape[place] = len(x), n
            x = x.gather(place, back.reshape(shape).expand_as(x))
        return x


@dataclass(frozen=True)
class EdgeListAction(InputAction):
    """S_n on lists of edges, whose entries are numbers of nodes: i becomes g[i]; negative entries are padding.

    Raises:
        ValueError: The group is no symmetric group.

    Example:
        >>> EdgeListAction(Symmetric(3)).transform(torch.tensor([[[0, 1], [1, 2]]]), torch.tensor([1, 2, 0])).tolist()
        [[[1, 2], [2, 0]]]
    """

    group: Symmetric

    def __post_init__(self) -> None:
        if not isinstance(self.group, Symmetric):
            raise ValueError(f"Expected a symmetric group such as S9 but got {self.group}.")

    def transform(self, x: Tensor, g: Tensor) -> Tensor:
        """Renumber nodes.

        Raises:
            ValueError: Entries that are no whole numbers below n.
        """
        n = self.group.n
        if x.is_floating_point() or x.dtype == torch.bool or (x.numel() and int(x.max()) >= n):
            raise ValueError(
                f"Expected numbers of nodes below {n} for {self.group} but got {x.dtype} {tuple(x.shape)}."
            )
        flat = x.reshape(len(x), -1).long()
        moved = self._each(g, len(x)).to(x.device).gather(1, flat.clamp(min=0))
        return torch.where(flat < 0, flat, moved).reshape(x.shape).to(x.dtype)
