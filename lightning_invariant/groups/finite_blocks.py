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
    permutes: ClassVar[bool] = True

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
class Quotient(Block):
    """Functions on the cosets of a subgroup of C_n or D_n: (rho(g) z)[aH] = z[g^-1 aH], as escnn's quotient fields.

    Cosets stand in the order of their first elements.

    Args:
        turns: How many rotations the subgroup has; a divisor of n.
        mirror: Number l of a reflection in the subgroup, rotation by l steps after the reflection about the group's
            axis; None if it has none.

    Raises:
        ValueError: The group has no such subgroup.

    Example:
        >>> Quotient(Cyclic(4), 8, 2).dim, str(Quotient(Dihedral(4, 90), 8, 2, 1))
        (2, '8 regular/D2(axis=135)')
    """

    group: Cyclic | Dihedral
    turns: int
    mirror: int | None = None
    permutes: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, (Cyclic, Dihedral)):
            raise ValueError(f"Expected C_n or D_n for quotients of regular fields but got {self.group}.")
        if self.turns < 1 or self.group.n % self.turns:
            raise ValueError(f"Expected a subgroup whose rotations divide those of {self.group} but got C{self.turns}.")
        if self.mirror is not None:
            if not isinstance(self.group, Dihedral):
                raise ValueError(f"Expected a subgroup of rotations but got D{self.turns} for {self.group}.")
            object.__setattr__(self, "mirror", self.mirror % (self.group.n // self.turns))

    @classmethod
    def by(cls, group: Cyclic | Dihedral, copies: int, letter: str, turns: int, axis: float | None) -> Quotient:
        """Make it of the subgroup's letter and order, and of the angle of its line of reflection in degrees.

        Raises:
            ValueError: The group has no such subgroup.
        """
        if letter == "C":
            return cls(group, copies, turns)
        if axis is None or not isinstance(group, Dihedral):
            return cls(group, copies, turns, 0)
        step = (axis - group.axis) % 180 * group.n / 180
        if abs(step - round(step)) > 1e-6:
            lines = ", ".join(f"{(group.axis + 180 * k / group.n) % 180:g}" for k in range(min(group.n, 8)))
            raise ValueError(f"Expected a line of reflection of {group}, at {lines} degrees, but got {axis:g}.")
        return cls(group, copies, turns, round(step))

    @property
    def dim(self) -> int:
        """The number of cosets."""
        return self.group.order // (self.turns * (1 if self.mirror is None else 2))

    def matrices(self, g: Tensor) -> Tensor:
        """Permutation matrices."""
        return torch.eye(self.dim, dtype=torch.float64, device=g.device)[self._origins(g)]

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Permute the entries of each copy."""
        index = self._origins(g).to(z.device)
        return z.gather(-1, index[:, None, :].expand_as(z))

    def _origins(self, g: Tensor) -> Tensor:
        """For each coset where it came from, (n, dim)."""
        n, group = self.group.n, self.group
        inside = torch.arange(self.turns) * (n // self.turns)
        if self.mirror is not None:
            inside = torch.cat([inside, (inside + self.mirror) % n + n])
        first = group.compose(group.elements()[:, None], inside[None]).amin(dim=1)
        firsts, coset = first.unique(return_inverse=True)
        firsts, coset = firsts.to(g.device), coset.to(g.device)
        return coset[group.compose(group.inverse(g)[:, None], firsts[None])]

    def __str__(self) -> str:
        if self.mirror is None:
            return f"{self.copies} regular/C{self.turns}"
        assert isinstance(self.group, Dihedral)
        axis = (self.group.axis + 180 * self.mirror / self.group.n) % 180
        return f"{self.copies} regular/D{self.turns}" + (f"(axis={axis:.12g})" if self.mirror else "")


@dataclass(frozen=True)
class Points(Block):
    """Features of n points or nodes, laid out (n, copies); S_n moves the rows."""

    group: Symmetric
    copies_last: ClassVar[bool] = True
    permutes: ClassVar[bool] = True

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

    def characters(self, g: Tensor) -> Tensor:
        """How many pairs stay where they are."""
        return (self._origins(g) == torch.arange(self.dim, device=g.device)).sum(dim=1).double()

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
    """The irrep of frequency k of C_n or D_n: rotations of the plane by k times the angle; one number where k = n/2.

    Args:
        frequency: k, from 0 to n/2.
        odd: Whether the reflection of D_n about its axis changes the sign too; for k = n/2 only, since `Determinant` is
            that for k = 0.
    """

    group: Cyclic | Dihedral
    frequency: int
    odd: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, (Cyclic, Dihedral)):
            raise ValueError(f"Expected C_n or D_n but got {self.group}.")
        top = self.group.n // 2
        if not 0 <= self.frequency <= top:
            raise ValueError(f"Expected a frequency from 0 to {top} for {self.group} but got {self.frequency}.")
        if self.odd and not (isinstance(self.group, Dihedral) and 2 * self.frequency == self.group.n):
            raise ValueError(
                f"Expected an odd irrep for D_n with frequency n/2 only but got {self.frequency}o for {self.group}; "
                "numbers whose sign reflections change are 'det'."
            )

    @property
    def dim(self) -> int:
        """1 for frequency 0 and n/2, otherwise 2."""
        return 1 if self.frequency in (0, self.group.n / 2) else 2

    def matrices(self, g: Tensor) -> Tensor:
        """Rotations, after a reflection of the second axis where there is one."""
        r, f = self.group.parts(g) if isinstance(self.group, Dihedral) else (g, torch.zeros_like(g))
        angle = 2 * math.pi / self.group.n * self.frequency * r.double()
        if self.dim == 1:
            sign = 1.0 - 2.0 * f.double() if self.odd else 1.0
            return (angle.cos().round() * sign)[:, None, None]
        return planar_matrices(angle, f)

    def __str__(self) -> str:
        return f"{self.copies}x{self.frequency}{'o' if self.odd else ''}"


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
