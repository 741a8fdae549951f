"""Any finite group of matrices, given by generators."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.group import FiniteGroup
from lightning_invariant.groups.orthogonal import Orthogonal

if TYPE_CHECKING:
    from torch import Tensor

ORDER_LIMIT = 4096
"""Largest group that is enumerated from its generators: the multiplication table has the square of it entries."""
TOLERANCE = 1e-6
Matrix = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Matrices(FiniteGroup):
    """The finite group that orthogonal matrices generate; element 0 is the identity.

    Args:
        generators: Orthogonal d x d matrices, as nested tuples or lists of numbers.

    Raises:
        GroupError: A matrix is not square or not orthogonal, or more than 4096 elements are found.

    Example:
        >>> Matrices([[[0, -1], [1, 0]], [[1, 0], [0, -1]]]).order
        8
    """

    generators: tuple[Matrix, ...]

    def __post_init__(self) -> None:
        plain = tuple(tuple(tuple(float(x) for x in row) for row in matrix) for matrix in self.generators)
        object.__setattr__(self, "generators", plain)
        _check(plain)
        _enumerate(plain)

    @property
    def d(self) -> int:
        """Dimension of the space that the matrices act on."""
        return len(self.generators[0])

    @property
    def order(self) -> int:
        """Number of different products of the generators."""
        return len(_enumerate(self.generators).matrices)

    def matrices(self) -> Tensor:
        """The matrix of each element, shape (order, d, d), float64."""
        return _enumerate(self.generators).matrices.clone()

    def table(self) -> Tensor:
        """The multiplication table, shape (order, order)."""
        return _enumerate(self.generators).table.clone()

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """Read off the multiplication table."""
        return _enumerate(self.generators).table.to(g.device)[g, h]

    def inverse(self, g: Tensor) -> Tensor:
        """Read off the multiplication table."""
        return _enumerate(self.generators).inverses.to(g.device)[g]

    def __str__(self) -> str:
        numbers = [[[int(x) if x.is_integer() else x for x in row] for row in m] for m in self.generators]
        return "Matrices" + json.dumps(numbers, separators=(",", ":"))


@dataclass(frozen=True, init=False)
class Cube(Matrices):
    """The 24 rotations of the cube, or all of its 48 isometries: what permutes the voxels of a cubic volume.

    Args:
        full: Whether reflections belong to it.

    Example:
        >>> Cube().order, Cube(full=True).order
        (24, 48)
    """

    full: bool = False

    def __init__(self, *, full: bool = False) -> None:
        object.__setattr__(self, "full", full)
        quarter_turns = ([[0, -1, 0], [1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, -1], [0, 1, 0]])
        inversion = [[[-1, 0, 0], [0, -1, 0], [0, 0, -1]]] if full else []
        object.__setattr__(self, "generators", [*quarter_turns, *inversion])
        self.__post_init__()

    def label(self, g: Tensor) -> str:
        """The angle in degrees, marked with "m" where there is a reflection, and the element's number."""
        return f"{Orthogonal(3).label(self.matrices()[int(g)])} #{int(g)}"

    def __str__(self) -> str:
        return "FullCube" if self.full else "Cube"


class _Listing(NamedTuple):
    matrices: Tensor
    table: Tensor
    inverses: Tensor


def _check(generators: tuple[Matrix, ...]) -> None:
    if not generators:
        raise GroupError("Expected at least one generator matrix but got none.")
    d = len(generators[0])
    for number, matrix in enumerate(generators):
        if d == 0 or len(matrix) != d or any(len(row) != d for row in matrix):
            raise GroupError(f"Expected square generators of one size, {d} x {d}, but generator {number} is not.")
        m = torch.tensor(matrix, dtype=torch.float64)
        error = (m @ m.T - torch.eye(d, dtype=torch.float64)).abs().max().item()
        if not error < TOLERANCE:
            raise GroupError(
                f"Expected orthogonal generators but generator {number} has |m mᵀ - 1| = {error:.2g}; "
                "change to a basis in which the group acts by rotations and reflections."
            )


@lru_cache(maxsize=32)
def _enumerate(generators: tuple[Matrix, ...]) -> _Listing:
    steps = torch.tensor(generators, dtype=torch.float64)
    found = torch.eye(steps.shape[-1], dtype=torch.float64)[None]
    fresh = found
    while len(fresh):
        products = (steps[:, None] @ fresh[None]).flatten(0, 1)
        fresh = _new_rows(products, found)
        found = torch.cat([found, fresh])
        if len(found) > ORDER_LIMIT:
            raise GroupError(
                f"Expected a group of at most {ORDER_LIMIT} elements but the generators give more; "
                "check that they generate a finite group."
            )
    flat = found.flatten(1)
    table = torch.stack([_number((g @ found).flatten(1), flat) for g in found])
    return _Listing(found, table, table.eq(0).int().argmax(dim=1))


def _new_rows(candidates: Tensor, found: Tensor) -> Tensor:
    kept: list[Tensor] = []
    for matrix in candidates:
        seen = torch.cat([found, torch.stack(kept)]) if kept else found
        if (seen - matrix).abs().amax(dim=(1, 2)).min() > 10 * TOLERANCE:
            kept.append(matrix)
    return torch.stack(kept) if kept else found[:0]


def _number(products: Tensor, flat: Tensor) -> Tensor:
    distance, index = torch.cdist(products, flat, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1)
    if distance.max() > 1e-3:
        raise GroupError("Expected the generators' products to close into a group but a product is missing.")
    return index
