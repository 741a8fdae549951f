"""Group elements in few classes, over which an error is averaged and drawn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Euclidean, Orthogonal, Signs, Symmetric

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from lightning_invariant.groups import Group

LISTED = 64
"""Largest group whose elements are classes of their own."""
STEP = {2: 22.5, 3: 30.0}
"""Width of a class of rotations in degrees, by the dimension of the space."""


def element_classes(group: Group, g: Tensor) -> tuple[list[str], Tensor]:
    """Sort elements into classes: each its own in groups of at most 64, otherwise by what they are like.

    Rotations of the plane and of space are put together by their angle, permutations by how many places they move,
    sign patterns by how many signs they flip. Elements of other large groups are one class.

    Args:
        group: The group.
        g: Elements (B, *element_shape).

    Returns:
        The names of the classes that occur, in their order, and the number of each element's class (B,).

    Example:
        >>> from lightning_invariant.groups import Cyclic
        >>> element_classes(Cyclic(4), torch.tensor([3, 0, 3]))
        (['0°', '270°'], tensor([1, 0, 1]))
    """
    g = g.cpu()
    if group.order is not None and group.order <= LISTED:
        elements, rows = g.unique(dim=0, return_inverse=True)
        return [group.label(element) for element in elements], rows
    keys, name = _likeness(group, g)
    classes, rows = keys.unique(return_inverse=True)
    return [name(key) for key in classes.tolist()], rows


def _likeness(group: Group, g: Tensor) -> tuple[Tensor, Callable[[float], str]]:
    if isinstance(group, Symmetric):
        return (g != group.identity()).sum(dim=-1), lambda key: f"{key} moved"
    if isinstance(group, Signs):
        return (g < 0).sum(dim=-1), lambda key: f"{key} flipped"
    if isinstance(group, Orthogonal) and group.d in STEP:
        return _angles(g, group.d)
    if isinstance(group, Euclidean) and group.d in STEP:
        return _angles(group.rotation(g), group.d)
    return torch.zeros(len(g), dtype=torch.int64), lambda _: "all"


def _angles(g: Tensor, d: int) -> tuple[Tensor, Callable[[float], str]]:
    """The nearest of equally spaced angles; reflections come after all rotations."""
    flip = torch.linalg.det(g) < 0
    if d == 2:
        angle = torch.atan2(g[:, 1, 0], g[:, 0, 0]).rad2deg() % 360
    else:
        turned = torch.where(flip[:, None, None], -g, g)
        trace = turned.diagonal(dim1=1, dim2=2).sum(dim=1)
        angle = ((trace - 1) / 2).clamp(-1, 1).acos().rad2deg()
    step = STEP[d]
    count = math.ceil(360 / step)
    key = (angle / step).round().long() % count + count * flip
    return key, lambda number: f"{number % count * step:g}°" + ("m" if number >= count else "")
