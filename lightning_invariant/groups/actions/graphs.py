"""Graphs in one long list of nodes: each under its own element, its nodes reordered among themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.batch.rows import Role
from lightning_invariant.batch.tree import as_tensor, walk
from lightning_invariant.errors import ActionError
from lightning_invariant.groups.actions.product import LeftAlone, ProductAction
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.symmetric import Symmetric

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.batch import RowLayout
    from lightning_invariant.groups.actions.action import InputAction
    from lightning_invariant.groups.group import Group


def fix_padding(order: Tensor, sizes: Tensor) -> Tensor:
    """The orders of the first `size` places that orders of n places give, with the other places where they are."""
    n = order.shape[1]
    place = torch.arange(n, device=order.device)
    exists = place < sizes[:, None]
    ranks = torch.where(exists, order, n + place).argsort(dim=1).argsort(dim=1)
    return torch.where(exists, ranks, place)


@dataclass(frozen=True)
class GraphPlan:
    """What elements do to graphs in one long list of nodes.

    Args:
        group: What acts.
        elements: One for each graph.
        graph: The graph of each node.
        edges: The graph of each edge; None without edges.
        target: Where each node goes; None if nodes keep their order.
    """

    group: Group
    elements: Tensor
    graph: Tensor
    edges: Tensor | None
    target: Tensor | None

    @classmethod
    def of(cls, group: Group, layout: RowLayout, tree: Any, graph: Tensor, elements: Tensor) -> GraphPlan:
        """Work out where nodes go.

        Raises:
            ActionError: A graph has more nodes than a symmetric group orders.
        """
        factors = group.factors if isinstance(group, Product) else (group,)
        parts = group.split(elements) if isinstance(group, Product) else [elements]
        target = None
        for factor, part in zip(factors, parts, strict=True):
            if isinstance(factor, Symmetric):
                target = _targets(factor, part.to(graph.device), graph)
        pairs = [as_tensor(v) for path, v in walk(tree) if layout.axes.get(path) == Role.EDGE_INDEX]
        return cls(group, elements, graph, graph[pairs[0][0]] if pairs else None, target)

    def transform(self, action: InputAction, axis: int, value: Tensor) -> Tensor:
        """Act on rows of nodes or of edges, or on pairs of nodes."""
        if axis == Role.EDGE_INDEX:
            return value if self.target is None else self.target[value].to(value.dtype)
        owner = self.graph if axis == Role.NODES else self.edges
        assert owner is not None
        parts = action.actions if isinstance(action, ProductAction) else (action,)
        split = self.group.split(self.elements) if isinstance(self.group, Product) else [self.elements]
        for part, elements in zip(parts, split, strict=True):
            if isinstance(part.group, Symmetric):
                if axis == Role.NODES and self.target is not None and not isinstance(part, LeftAlone):
                    moved = torch.empty_like(value)
                    moved[self.target] = value
                    value = moved
            elif not isinstance(part, LeftAlone):
                value = part.transform(value, elements.to(owner.device)[owner])
        return value


def _targets(group: Symmetric, order: Tensor, graph: Tensor) -> Tensor:
    sizes = torch.bincount(graph, minlength=len(order))
    if int(sizes.max()) > group.n:
        raise ActionError(f"Expected graphs of at most {group.n} nodes for {group} but got one of {int(sizes.max())}.")
    first = sizes.cumsum(0) - sizes
    place = torch.arange(len(graph), device=graph.device) - first[graph]
    return first[graph] + order[graph, place]
