"""Blocks of discrete groups: regular fields, features of points and of pairs, sign patterns, irreps of C_n and D_n."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_invariant.groups.block import Block
from lightning_invariant.groups.cyclic import Cyclic
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.group import FiniteGroup
from lightning_invariant.groups.planar import planar_matrices
from lightning_invariant.groups.signs import Signs
from lightning_invariant.groups.symmetric import Symmetric

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Regular(Block):
    """Functions on a finite group: (rho(g) z)[h] = z[g^-1 h]; for C_n each copy is rolled by g places."""

    group: FiniteGroup

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, FiniteGroup):
            raise ValueError(f"Expected a finite group for regular fields but got {self.group}.")

    @property
    def dim(self) -> int:
        """The order of the group."""
        return self.group.order

    def matrices(self, g: Tensor) -> Tensor:
        """Permutation matrices."""
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[self.group.translation(g)]

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Permute the entries of each copy."""
        index = self.group.translation(g).to(z.device)
        return z.gather(-1, index[:, None, :].expand_as(z))

    def __str__(self) -> str:
        return f"{self.copies} regular"


@dataclass(frozen=True)
class Points(Block):
    """Features of n points or nodes, laid out (n, copies); S_n moves the rows."""

    group: Symmetric
    copies_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Symmetric):
            raise ValueError(f"Expected a symmetric group for points but got {self.group}.")

    @property
    def dim(self) -> int:
        """The number of points."""
        return self.group.n

    def matrices(self, g: Tensor) -> Tensor:
        """Permutation matrices."""
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[g.argsort(dim=-1)]

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Permute the rows."""
        index = g.argsort(dim=-1).to(z.device)
        return z.gather(-2, index[:, :, None].expand_as(z))

    def __str__(self) -> str:
        return f"{self.dim} points x {self.copies}"


@dataclass(frozen=True)
class Pairs(Block):
    """Features of ordered pairs of n points, such as adjacency, laid out (n * n, copies) or (n, n, copies).

    S_n moves rows and columns together: z'[p[i], p[j]] = z[i, j].
    """

    group: Symmetric
    copies_last: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Symmetric):
            raise ValueError(f"Expected a symmetric group for pairs but got {self.group}.")

    @property
    def dim(self) -> int:
        """The number of ordered pairs, those of a point with itself among them."""
        return self.group.n**2

    @property
    def axes(self) -> tuple[int, ...]:
        """Rows, columns and copies apart."""
        return (self.group.n, self.group.n, self.copies)

    def matrices(self, g: Tensor) -> Tensor:
        """Permutation matrices of the pairs."""
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[self._origins(g)]

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Permute rows and columns."""
        index = self._origins(g).to(z.device)
        return z.gather(-2, index[:, :, None].expand_as(z))

    def _origins(self, g: Tensor) -> Tensor:
        """For each pair where it came from, (n, dim)."""
        place = g.argsort(dim=-1)
        return (place[:, :, None] * self.group.n + place[:, None, :]).flatten(1)

    def __str__(self) -> str:
        return f"{self.copies} pairs"


@dataclass(frozen=True)
class SignPattern(Block):
    """Numbers with independent signs, laid out (copies, n); copies of a number share its sign."""

    group: Signs

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Signs):
            raise ValueError(f"Expected a sign group such as Z2^5 but got {self.group}.")

    @property
    def dim(self) -> int:
        """The number of signs."""
        return self.group.n

    def matrices(self, g: Tensor) -> Tensor:
        """Diagonal matrices."""
        return torch.diag_embed(g.double())

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Multiply by the signs."""
        return z * g.to(z)[:, None, :]

    def __str__(self) -> str:
        return "signs" if self.copies == 1 else f"{self.copies} signs"


@dataclass(frozen=True)
class PlanarIrrep(Block):
    """The irrep of frequency k of C_n or D_n: rotations of the plane by k times the angle; one number where k = n/2."""

    group: Cyclic | Dihedral
    frequency: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, (Cyclic, Dihedral)):
            raise ValueError(f"Expected C_n or D_n but got {self.group}.")
        top = self.group.n // 2 if isinstance(self.group, Cyclic) else (self.group.n - 1) // 2
        if not 0 <= self.frequency <= top:
            raise ValueError(f"Expected a frequency from 0 to {top} for {self.group} but got {self.frequency}.")

    @property
    def dim(self) -> int:
        """1 for frequency 0 and n/2, otherwise 2."""
        return 1 if self.frequency in (0, self.group.n / 2) else 2

    def matrices(self, g: Tensor) -> Tensor:
        """Rotations, after a reflection of the second axis where there is one."""
        r, f = self.group.parts(g) if isinstance(self.group, Dihedral) else (g, torch.zeros_like(g))
        angle = 2 * math.pi / self.group.n * self.frequency * r.double()
        if self.dim == 1:
            return angle.cos().round()[:, None, None]
        return planar_matrices(angle, f)

    def __str__(self) -> str:
        return f"{self.copies}x{self.frequency}"


@dataclass(frozen=True)
class Determinant(Block):
    """The sign representation of D_n: reflections change the sign."""

    group: Dihedral

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Dihedral):
            raise ValueError(f"Expected D_n but got {self.group}.")

    @property
    def dim(self) -> int:
        """One number."""
        return 1

    def matrices(self, g: Tensor) -> Tensor:
        """1 or -1."""
        return (1.0 - 2.0 * self.group.parts(g)[1].double())[:, None, None]

    def __str__(self) -> str:
        return f"{self.copies} det"
