"""The action that fits a group and an input's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.actions.coordinates import space_dimension
from lightning_invariant.groups.actions.image import ImageAction
from lightning_invariant.groups.actions.node import NodeAction
from lightning_invariant.groups.actions.point import PointAction
from lightning_invariant.groups.actions.product import ProductAction
from lightning_invariant.groups.cyclic import Translations
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.symmetric import Symmetric

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups.actions.action import InputAction
    from lightning_invariant.groups.group import Group

SMALLEST_IMAGE = 4
"""A three-dimensional batch (B, N, 2) is a cloud of points in the plane; images have at least 4 pixels a side."""


def default_action(group: Group, x: Any) -> InputAction | None:
    """The usual action of a group on inputs of this shape.

    Clouds (B, N, d) for groups that move d coordinates; images (B, C, H, W) or (B, H, W) of at least 4 x 4 for groups
    of the plane, square if the group holds a quarter turn; a width that n divides for T_n; sets (B, n, ...) and graphs
    (nodes, adjacency, ...) for S_n; for a product, what all of its factors fit: clouds (B, n, d) for S_n x O(d).

    Args:
        group: What acts.
        x: A batch of inputs.

    Returns:
        An action, or None if nothing fits; then the user says how inputs move.

    Example:
        >>> from lightning_invariant.groups import Cyclic
        >>> default_action(Cyclic(4), torch.zeros(2, 1, 28, 28))
        ImageAction(group=Cyclic(n=4), padding='zeros')
    """
    if isinstance(group, Product):
        actions = [default_action(factor, x) for factor in group.factors]
        fitting = tuple(action for action in actions if action is not None)
        return ProductAction(group, fitting) if len(fitting) == len(actions) else None
    if isinstance(group, Symmetric):
        return NodeAction(group) if _fits_nodes(x, group.n) else None
    if not isinstance(x, torch.Tensor):
        return None
    if isinstance(group, Translations):
        fits = x.dim() in (3, 4) and x.shape[-1] % group.n == 0
        return ImageAction(group) if fits else None
    d = space_dimension(group)
    if d is not None and x.dim() == 3 and x.shape[-1] == d and x.is_floating_point():
        return PointAction(group)
    if d == 2 and x.dim() in (3, 4) and min(x.shape[-2:]) >= SMALLEST_IMAGE:
        return ImageAction(group) if x.shape[-1] == x.shape[-2] or not _turns_quarter(group) else None
    return None


def _turns_quarter(group: Group) -> bool:
    return group.order is None or getattr(group, "n", 4) % 4 == 0


def _fits_nodes(x: Any, n: int) -> bool:
    members: list[Tensor] = list(x) if isinstance(x, (tuple, list)) else [x]
    if not members or not all(isinstance(m, torch.Tensor) and m.dim() >= 2 and m.shape[1] == n for m in members):
        return False
    is_graph = len(members) > 1 and members[1].dim() > 2
    return not is_graph or members[1].shape[2] == n
