"""Repeated mixed fields, such as the Fourier fields of escnn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.block import Block, joint_matrices

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 1e-6
"""Largest entry by which a basis may differ from an orthogonal one."""


@dataclass(frozen=True)
class Fields(Block):
    """Copies of a sum of blocks: "6 (1x0 + 1x1)" is laid out field by field, (6, 3).

    Args:
        parts: What one field is a sum of, in the order of its numbers.
        basis: Orthogonal matrix Q, where a field is Q times its standard form; None where it is its standard form.

    Raises:
        ValueError: No parts, parts of another group, or a basis that is not orthogonal or of another size.

    Example:
        >>> from lightning_invariant import Representation
        >>> str(Representation.parse("SO2: 6 (1x0 + 1x1 + 1x2)").blocks[0]), Representation.parse("SO2: 2 (0 + 1)").size
        ('6 (1x0 + 1x1 + 1x2)', 6)
    """

    parts: tuple[Block, ...]
    basis: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.parts or any(part.group != self.group for part in self.parts):
            raise ValueError(f"Expected at least one part, each of {self.group}, but got {list(map(str, self.parts))}.")
        if any(part.translated for part in self.parts):
            raise ValueError(f"Expected positions as a term of their own, not in brackets, but got ({self._sum}).")
        if self.basis is None:
            return
        plain = tuple(tuple(float(x) for x in row) for row in self.basis)
        object.__setattr__(self, "basis", plain)
        if len(plain) != self.dim or any(len(row) != self.dim for row in plain):
            raise ValueError(f"Expected a basis of {self.dim} x {self.dim} numbers for ({self._sum}).")
        q = torch.tensor(plain, dtype=torch.float64)
        error = (q @ q.mT - torch.eye(self.dim, dtype=torch.float64)).abs().max().item()
        if not error < TOLERANCE:
            raise ValueError(f"Expected an orthogonal basis Q but got |Q Qᵀ - 1| = {error:.2g}.")

    @property
    def dim(self) -> int:
        """Numbers in one field."""
        return sum(part.size for part in self.parts)

    def matrices(self, g: Tensor) -> Tensor:
        """Block-diagonal matrices, in the basis of the field."""
        rho = joint_matrices(self.parts, g)
        if self.basis is None:
            return rho
        q = torch.tensor(self.basis, dtype=torch.float64, device=g.device)
        return q @ rho @ q.mT

    @property
    def _sum(self) -> str:
        return " + ".join(map(str, self.parts))

    def __str__(self) -> str:
        if self.basis is None:
            return f"{self.copies} ({self._sum})"
        numbers = [[int(x) if x.is_integer() else x for x in row] for row in self.basis]
        return f"{self.copies} ({self._sum}) in {json.dumps(numbers, separators=(',', ':'))}"
