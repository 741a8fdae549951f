"""Rotations, reflections and translations of d-dimensional space, SE(d) and E(d), and what they move."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.block import Block
from lightning_invariant.groups.group import Group
from lightning_invariant.groups.orthogonal import Orthogonal

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Euclidean(Group):
    """E(d), or SE(d) if special: x -> R x + t; an element is the matrix [[R, t], [0, 1]] of size d + 1 in float64.

    Args:
        d: Dimension of the space, at least 2.
        special: Whether reflections are left out.

    Raises:
        ValueError: d is below 2.

    Example:
        >>> group = Euclidean(3, special=True)
        >>> str(group), group.sample(5).shape
        ('SE3', torch.Size([5, 4, 4]))
    """

    d: int
    special: bool = False

    def __post_init__(self) -> None:
        if self.d < 2:
            raise ValueError(f"Expected a dimension of at least 2 but got {self.d}.")

    @property
    def linear(self) -> Orthogonal:
        """The group without translations."""
        return Orthogonal(self.d, self.special)

    @property
    def order(self) -> None:
        """Infinitely many elements."""
        return

    @property
    def element_shape(self) -> tuple[int, ...]:
        """A square matrix with one row and column more than the space has dimensions."""
        return (self.d + 1, self.d + 1)

    @property
    def element_dtype(self) -> torch.dtype:
        """Matrices are kept in float64."""
        return torch.float64

    def identity(self) -> Tensor:
        """The identity matrix."""
        return torch.eye(self.d + 1, dtype=torch.float64)

    def compose(self, g: Tensor, h: Tensor) -> Tensor:
        """The matrix product."""
        return g @ h

    def inverse(self, g: Tensor) -> Tensor:
        """The elements x -> R^T (x - t)."""
        back = self.rotation(g).mT
        return self.element(back, -(back @ self.shift(g)[..., None])[..., 0])

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Haar-distributed rotations, and translations with independent standard normal entries."""
        rotation = self.linear.sample(n, generator)
        return self.element(rotation, torch.randn(n, self.d, dtype=torch.float64, generator=generator))

    def rotation(self, g: Tensor) -> Tensor:
        """The matrices R (..., d, d) of elements."""
        return g[..., : self.d, : self.d]

    def shift(self, g: Tensor) -> Tensor:
        """The translations t (..., d) of elements."""
        return g[..., : self.d, self.d]

    def element(self, rotation: Tensor, shift: Tensor) -> Tensor:
        """The elements x -> R x + t, of matrices (..., d, d) and translations (..., d)."""
        top = torch.cat([rotation, shift[..., None]], dim=-1)
        bottom = self.identity()[-1:].to(top).expand(*top.shape[:-2], 1, self.d + 1)
        return torch.cat([top, bottom], dim=-2)

    def label(self, g: Tensor) -> str:
        """The rotation's label and the length of the translation."""
        return f"{self.linear.label(self.rotation(g))} +{self.shift(g).norm():.2g}"

    def __str__(self) -> str:
        return f"{'SE' if self.special else 'E'}{self.d}"


@dataclass(frozen=True)
class Positions(Block):
    """Points of space, laid out (copies, d): an element rotates and translates every one of them."""

    group: Euclidean

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Euclidean):
            raise ValueError(
                f"Expected a group with translations, such as E3, for positions but got {self.group}; what turns "
                "about the origin are 'vectors'."
            )

    @property
    def dim(self) -> int:
        """Dimension of the space."""
        return self.group.d

    @property
    def translated(self) -> bool:
        """They are."""
        return True

    def matrices(self, g: Tensor) -> Tensor:
        """The rotations; translations are no matrices, `transform` has them."""
        return self.group.rotation(g)

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Rotate and translate."""
        return super().transform(z, g) + self.group.shift(g).to(z)[:, None]

    def __str__(self) -> str:
        return f"{self.copies} positions"


@dataclass(frozen=True)
class Turned(Block):
    """What E(d) moves as O(d) does, such as velocities: translations leave it alone.

    Args:
        kind: One copy, of O(d) or SO(d).
    """

    group: Euclidean
    kind: Block

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.group, Euclidean) or self.kind.group != self.group.linear or self.kind.copies != 1:
            raise ValueError(f"Expected one copy of a kind of {self.group} without translations but got {self.kind}.")

    @property
    def dim(self) -> int:
        """That of the kind."""
        return self.kind.dim

    def matrices(self, g: Tensor) -> Tensor:
        """Those of the rotations."""
        return self.kind.matrices(self.group.rotation(g))

    def __str__(self) -> str:
        return str(replace(self.kind, copies=self.copies))
