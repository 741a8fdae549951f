"""What two representations of one latent have in common, and which ones fit a latent that nothing describes."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups.actions.coordinates import coordinate_matrices, space_dimension
from lightning_invariant.groups.cyclic import Cyclic
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.representation import Representation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from lightning_invariant.groups.group import Group

COMPARED = 24
"""Elements at which two representations are compared."""


def admitted(shape: tuple[int, ...]) -> list[str]:
    """Return notations that fit latents of a shape, for the groups that are met most often.

    Args:
        shape: Of one sample; of a map, channels first.

    Example:
        >>> admitted((9, 16)), admitted((10,))
        (['D8: 9 regular', 'S9: 9 points x 16'], ['SO2: 5x1', 'O3: 10 trivial', 'Z2: 10 signs'])
    """
    is_map = len(shape) == 3 and shape[1] == shape[2] > 1
    sides = shape[:1] if is_map else shape
    found = []
    for text in _usual(math.prod(sides), sides[0]):
        with suppress(LatentError):
            Representation.parse(text).flatten(torch.empty(1, *sides, device="meta"))
            found.append(text + (" (with pool='mean')" if is_map else ""))
    return found


def _usual(size: int, first: int) -> Iterator[str]:
    """Notations for a number of numbers, of which the first axis holds some."""
    for name, order in (("C4", 4), ("C8", 8), ("D4", 8), ("D8", 16)):
        if size % order == 0:
            yield f"{name}: {size // order} regular"
    if size % 2 == 0:
        yield f"SO2: {size // 2}x1"
    if size % 3 == 0:
        yield f"O3: {size // 3} vectors"
    yield f"O3: {size} trivial"
    yield f"Z2: {size} signs"
    if 1 < first < size:
        yield f"S{first}: {first} points x {size // first}"


def contradicts(declared: Representation, read: Representation) -> bool:
    """Return whether two representations of one latent cannot both hold.

    Elements that both groups have must act alike. Where sizes differ, one of them is of more or fewer positions, which
    the shape of the latent decides, unless neither divides the other.

    Example:
        >>> [contradicts(Representation.parse(text), Representation.parse("D4: 2 regular")) for text in (
        ...     "C4: 4 regular", "C2: 16 trivial", "D4: 16 trivial", "D4(axis=90): 2 regular", "C4: 3 regular")]
        [False, True, True, True, True]
    """
    if declared.size != read.size:
        return declared.size % read.size != 0 and read.size % declared.size != 0
    dimension = space_dimension(declared.group)
    if dimension is None or dimension != space_dimension(read.group):
        return False
    elements = declared.group.probe_elements(COMPARED, torch.Generator().manual_seed(0))
    for g in elements:
        same = _element(read.group, coordinate_matrices(declared.group, g[None])[0])
        if same is not None:
            rho = declared.matrices(g[None]) - read.matrices(same[None])
            if rho.abs().max() > 1e-5:
                return True
    return False


def _element(group: Group, matrix: Tensor) -> Tensor | None:
    """The element of a group that has a matrix on coordinates; None if it has none."""
    if isinstance(group, Orthogonal):
        return None if group.special and torch.linalg.det(matrix) < 0 else matrix
    if not isinstance(group, (Cyclic, Dihedral)):
        return None
    elements = group.elements()
    distance = (coordinate_matrices(group, elements) - matrix).abs().amax(dim=(1, 2))
    return elements[distance.argmin()] if distance.min() < 1e-6 else None
