"""The matrices by which elements move coordinates: what images and point clouds share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_invariant.groups.cyclic import Cyclic, Translations
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.euclidean import Euclidean
from lightning_invariant.groups.matrices import Matrices
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.planar import planar_matrices

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.group import Group


def space_dimension(group: Group) -> int | None:
    """Dimension of the space whose coordinates the group moves; None if it moves no coordinates."""
    if isinstance(group, Translations):
        return None
    if isinstance(group, (Cyclic, Dihedral)):
        return 2
    return group.d if isinstance(group, (Orthogonal, Euclidean, Matrices)) else None


def coordinate_matrices(group: Group, g: Tensor) -> Float[Tensor, "*n d d"]:
    """The matrix of each element on coordinates (x right, y up, ...) without translation, float64, on the device of g.

    Args:
        group: One for which `space_dimension` is a number.
        g: Elements (..., *element_shape).

    Raises:
        ValueError: The group moves no coordinates.
    """
    if isinstance(group, Orthogonal):
        return g.double()
    if isinstance(group, Euclidean):
        return group.rotation(g.double())
    if isinstance(group, Matrices):
        return group.matrices().to(g.device)[g]
    if isinstance(group, (Cyclic, Dihedral)) and not isinstance(group, Translations):
        r, f = group.parts(g) if isinstance(group, Dihedral) else (g, g * 0)
        axis = group.axis if isinstance(group, Dihedral) else 0.0
        return planar_matrices(2 * math.pi / group.n * r.double(), f, axis)
    raise ValueError(f"Expected a group that moves coordinates (Cn, Dn, SOd, Od, SEd, Ed, Matrices) but got {group}.")
