"""How order, rotations and reflections move molecules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Orthogonal, Product, Symmetric
from lightning_invariant.groups.actions import InputAction, NodeAction, PointAction

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class AtomAction(InputAction):
    """S_n x O(3) on atoms (B, n, 4), rows of charge and position: order and positions move, charges go along.

    Args:
        n: Places for atoms.

    Example:
        >>> action = AtomAction(4)
        >>> action.transform(torch.rand(2, 4, 4), action.group.sample(2)).shape
        torch.Size([2, 4, 4])
    """

    group: Product = field(init=False)
    n: int = 23

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", Product((Symmetric(self.n), Orthogonal(3))))

    def transform(self, x: Float[Tensor, "B n 4"], g: Tensor) -> Float[Tensor, "B n 4"]:
        """Act on a batch of molecules.

        Raises:
            ValueError: Not n atoms, or not four numbers an atom.
        """
        order, turn = self.group.split(self._each(g, len(x)))
        nodes, space = self.group.factors
        assert isinstance(nodes, Symmetric)
        turned = torch.cat([x[..., :1], PointAction(space).transform(x[..., 1:], turn)], dim=-1)
        return NodeAction(nodes).transform(turned, order)


@dataclass(frozen=True)
class GraphAction(InputAction):
    """S_n on graphs (B, n, n, C) with a row and a column for each node: both axes move.

    Args:
        n: Places for nodes.

    Example:
        >>> GraphAction(2).transform(torch.tensor([[[[0], [1]], [[2], [3]]]]), torch.tensor([1, 0])).flatten()
        tensor([3, 2, 1, 0])
    """

    group: Symmetric = field(init=False)
    n: int = 9

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", Symmetric(self.n))

    def transform(self, x: Float[Tensor, "B n n C"], g: Tensor) -> Float[Tensor, "B n n C"]:
        """Act on a batch of graphs.

        Raises:
            ValueError: Not n nodes along both axes.
        """
        action = NodeAction(self.group)
        return action.transform(action.transform(x, g).transpose(1, 2), g).transpose(1, 2)
