"""Blocks of matrix groups: vectors, irreps of SO(2), O(2), SO(3) and O(3), and tensor products of factors."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.block import Block
from lightning_invariant.groups.harmonics import rotation_matrices
from lightning_invariant.groups.matrices import Matrices
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.planar import planar_matrices
from lightning_invariant.groups.product import Product
from lightning_invariant.groups.unitary import Unitary

if TYPE_CHECKING:
    from torch import Tensor


LARGEST_DEGREE = 32
"""Highest degree of an irrep of space; factorials of higher ones leave the range of float64."""


@dataclass(frozen=True)
class Vectors(Block):
    """Vectors of the space that a matrix group acts on, laid out (copies, d); complex ones (copies, n, 2)."""

    group: Orthogonal | Unitary | Matrices

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, (Orthogonal, Unitary, Matrices)):
            raise ValueError(f"Expected a group of matrices, such as O3, for vectors but got {self.group}.")

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.group.d

    @property
    def axes(self) -> tuple[int, ...]:
        """Real and imaginary parts have an axis of their own."""
        return (self.copies, self.group.n, 2) if isinstance(self.group, Unitary) else self.shape

    def matrices(self, g: Tensor) -> Tensor:
        """The elements themselves."""
        return self.group.matrices().to(g.device)[g] if isinstance(self.group, Matrices) else g

    def __str__(self) -> str:
        return f"{self.copies} vectors"


@dataclass(frozen=True)
class FrequencyIrrep(Block):
    """The irrep of frequency k of SO(2) or O(2); frequency 0 is one unmoved number."""

    group: Orthogonal
    frequency: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.group, Orthogonal) and self.group.d == 2):
            raise ValueError(f"Expected SO2 or O2 but got {self.group}.")
        if self.frequency < 0:
            raise ValueError(f"Expected a frequency of at least 0 but got {self.frequency}.")

    @property
    def dim(self) -> int:
        """1 for frequency 0, otherwise 2."""
        return 1 if self.frequency == 0 else 2

    def matrices(self, g: Tensor) -> Tensor:
        """Rotations by k times the angle, after diag(1, -1) for what is a reflection about the group's axis."""
        if self.frequency == 0:
            return torch.ones(len(g), 1, 1, dtype=torch.float64, device=g.device)
        flip = (torch.linalg.det(g) < 0).long()
        angle = torch.atan2(g[:, 1, 0], g[:, 0, 0]) - math.radians(2 * self.group.axis) * flip.double()
        return planar_matrices(self.frequency * angle, flip)

    def __str__(self) -> str:
        return f"{self.copies}x{self.frequency}"


@dataclass(frozen=True)
class DegreeIrrep(Block):
    """The irrep of degree l of SO(3), or of degree l and parity of O(3), in the basis of e3nn.

    Args:
        degree: l, from 0 to 32.
        parity: 1 (even) or -1 (odd) for O(3); None for SO(3).
    """

    group: Orthogonal
    degree: int
    parity: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.group, Orthogonal) and self.group.d == 3):
            raise ValueError(f"Expected SO3 or O3 but got {self.group}.")
        if self.group.special != (self.parity is None):
            raise ValueError(
                f"Expected {'no parity' if self.group.special else 'a parity, as in 4x1o,'} for {self.group}."
            )
        if self.degree < 0:
            raise ValueError(f"Expected a degree of at least 0 but got {self.degree}.")
        if self.degree > LARGEST_DEGREE:
            raise ValueError(f"Expected a degree of at most {LARGEST_DEGREE} but got {self.degree}.")

    @property
    def dim(self) -> int:
        """2l + 1."""
        return 2 * self.degree + 1

    def matrices(self, g: Tensor) -> Tensor:
        """Wigner matrices, times the parity for reflections."""
        sign = torch.linalg.det(g).sign()[:, None, None]
        matrices = rotation_matrices(self.degree, g * sign)
        return matrices * sign if self.parity == -1 else matrices

    def __str__(self) -> str:
        return f"{self.copies}x{self.degree}" + {1: "e", -1: "o", None: ""}[self.parity]


@dataclass(frozen=True)
class Flip(Block):
    """Numbers that reflections of O(d) change the sign of."""

    group: Orthogonal

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Orthogonal) or self.group.special:
            raise ValueError(f"Expected O(d) but got {self.group}.")

    @property
    def dim(self) -> int:
        """One number."""
        return 1

    def matrices(self, g: Tensor) -> Tensor:
        """The determinant."""
        return torch.linalg.det(g).sign()[:, None, None]

    def __str__(self) -> str:
        return f"{self.copies} det"


@dataclass(frozen=True)
class Outer(Block):
    """Tensor product of one block for each factor of a product group, laid out (copies, dim1 * dim2 * ...).

    Args:
        parts: One block of one copy for each factor, in the factors' order.
    """

    group: Product
    parts: tuple[Block, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Product) or tuple(part.group for part in self.parts) != self.group.factors:
            raise ValueError(f"Expected one part for each factor of {self.group}.")
        if any(part.copies != 1 for part in self.parts):
            raise ValueError("Expected parts of one copy each; give the number of copies to the product.")
        if self.translated and sum(not part.permutes for part in self.parts) > 1:
            raise ValueError(f"Expected positions times what permutes them, such as points, but got {self}.")

    @property
    def translated(self) -> bool:
        """Whether one of the parts is."""
        return any(part.translated for part in self.parts)

    @property
    def dim(self) -> int:
        """The product of the parts' dimensions."""
        return math.prod(part.dim for part in self.parts)

    @property
    def axes(self) -> tuple[int, ...]:
        """Copies, then one axis for each factor."""
        return (self.copies, *(part.dim for part in self.parts))

    def matrices(self, g: Tensor) -> Tensor:
        """Kronecker products."""
        total = torch.ones(len(g), 1, 1, dtype=torch.float64, device=g.device)
        for part, element in zip(self.parts, self.group.split(g), strict=True):
            rho = part.matrices(element)
            total = torch.einsum("nij,nkl->nikjl", total, rho).reshape(
                len(g), total.shape[1] * rho.shape[1], total.shape[2] * rho.shape[2]
            )
        return total

    def characters(self, g: Tensor) -> Tensor:
        """The products of the factors' traces."""
        pairs = zip(self.parts, self.group.split(g), strict=True)
        return math.prod(part.characters(element) for part, element in pairs)  # type: ignore[return-value]

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Factor by factor, without the Kronecker product."""
        copies = z.shape[1]
        z = z.reshape(len(z), copies, *(part.dim for part in self.parts))
        for axis, (part, element) in enumerate(zip(self.parts, self.group.split(g), strict=True), start=2):
            last = z.movedim(axis, -1)
            rows = last.reshape(len(z), copies * self.dim // part.dim, part.dim)
            moved = part.transform(rows.mT, element).mT if part.copies_last else part.transform(rows, element)
            z = moved.reshape(last.shape).movedim(-1, axis)
        return z.reshape(len(z), copies, self.dim)

    def __str__(self) -> str:
        return f"{self.copies} " + "*".join(_kind(part) for part in self.parts)


def _kind(part: Block) -> str:
    text = str(part)
    return text.split(" x ")[0].split(" ", 1)[1] if " " in text else text.split("x")[-1]
