"""Orders of nodes: padded sets and dense graphs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.symmetric import Symmetric

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NodeAction(InputAction):
    """S_n on the order of nodes: what stands at place i goes to place g[i].

    A set is a tensor (B, n, ...). A dense graph is a tuple (nodes, adjacency) or (nodes, adjacency, mask), with
    adjacency (B, n, n, ...) and mask (B, n); a padded set is a tuple (nodes, mask). All members move together.

    Raises:
        ValueError: The group is no symmetric group.

    Example:
        >>> import torch
        >>> NodeAction(Symmetric(3)).move(torch.tensor([[7, 8, 9]]), torch.tensor([1, 2, 0])).tolist()
        [[9, 7, 8]]
    """

    group: Symmetric

    def __post_init__(self) -> None:
        if not isinstance(self.group, Symmetric):
            raise ValueError(f"Expected a symmetric group such as S9 but got {self.group}.")

    @overload
    def move(self, x: Tensor, g: Tensor) -> Tensor: ...

    @overload
    def move(self, x: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, ...]: ...

    def move(self, x: Tensor | tuple[Tensor, ...], g: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Act on sets or dense graphs.

        Raises:
            ValueError: The second axis does not have n places, or an adjacency is not (B, n, n, ...).
        """
        if not isinstance(x, (tuple, list)):
            return self._move_axis(x, g, axis=1)
        nodes, *others = x
        moved = [self._move_axis(nodes, g, axis=1)]
        for position, member in enumerate(others):
            first = self._move_axis(member, g, axis=1)
            is_adjacency = position == 0 and member.dim() > 2
            moved.append(self._move_axis(first, g, axis=2) if is_adjacency else first)
        return tuple(moved)

    def _move_axis(self, x: Tensor, g: Tensor, *, axis: int) -> Tensor:
        n = self.group.n
        if x.dim() <= axis or x.shape[axis] != n:
            raise ValueError(f"Expected {n} nodes along axis {axis} for {self.group} but got shape {tuple(x.shape)}.")
        index = self.group.inverse(self._each(g, len(x))).to(x.device)
        shape = [1] * x.dim()
        shape[0], shape[axis] = len(x), n
        return x.gather(axis, index.reshape(shape).expand_as(x))
