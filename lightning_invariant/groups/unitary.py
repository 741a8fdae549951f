"""Unitary matrices on complex vectors: U(n) and SU(2), elements as real matrices of twice the size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.orthogonal import MatrixGroup

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class Unitary(MatrixGroup):
    """U(n), or SU(2) if special; an element is a real 2n x 2n matrix in float64, for numbers (n, 2) of C^n.

    The real part of each number comes first, then its imaginary part, as in `torch.view_as_real`.

    Args:
        n: Number of complex coordinates.
        special: Whether the determinant is 1.

    Raises:
        ValueError: n is below 1, or SU(n) for another n than 2.

    Example:
        >>> group = Unitary(2, special=True)
        >>> str(group), group.sample(5).shape
        ('SU2', torch.Size([5, 4, 4]))
    """

    n: int
    special: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"Expected at least 1 complex coordinate but got {self.n}.")
        if self.special and self.n != 2:
            raise ValueError(f"Expected SU2 or U{self.n} but got SU{self.n}; of special groups only SU2 is known.")

    @property
    def d(self) -> int:  # type: ignore[override]
        """Real dimension of the space."""
        return 2 * self.n

    @property
    def units(self) -> Float[Tensor, "k d d"]:
        """The identity and the imaginary units that commute with every element: i, and j and k as well for SU(2).

        As SU(2) is the quaternions of length 1 on pairs of complex numbers, j takes (a, b) to (-conj(b), conj(a)).
        """
        return _units(self.n, self.special).clone()

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Haar-distributed matrices, shape (n, d, d).

        Source: Mezzadri 2007 (math-ph/0609050): QR of a Gaussian matrix with the phases of R divided out.
        """
        if self.special:
            a = torch.randn(n, 2, dtype=torch.complex128, generator=generator)
            return quaternion_matrices(a / a.norm(dim=1, keepdim=True))
        q, r = torch.linalg.qr(torch.randn(n, self.n, self.n, dtype=torch.complex128, generator=generator))
        return real_matrices(q * r.diagonal(dim1=-2, dim2=-1).sgn()[:, None, :])

    def skew(self, matrix: Float[Tensor, "*B d d"]) -> Float[Tensor, "*B d d"]:
        """The part of a real matrix that generates elements: skew, and commuting with the units."""
        units = self.units.to(matrix)
        turned = units @ ((matrix - matrix.mT) / 2)[..., None, :, :] @ units.mT
        return turned.mean(dim=-3)

    def label(self, g: Tensor) -> str:
        """The phase of the determinant in degrees, or for SU(2) the angle by which every vector turns."""
        m = complex_matrices(g)
        if self.special:
            return f"{float((m.diagonal().sum().real / 2).clamp(-1, 1).acos().rad2deg()):.0f}°"
        return f"det {float(torch.linalg.det(m).angle().rad2deg()):.0f}°"

    def __str__(self) -> str:
        return f"{'SU' if self.special else 'U'}{self.n}"


def real_matrices(m: Tensor) -> Float[Tensor, "*B d d"]:
    """Real matrices (..., 2n, 2n) that do to real and imaginary parts what complex ones (..., n, n) do to numbers."""
    rows = torch.stack([torch.stack([m.real, -m.imag], dim=-1), torch.stack([m.imag, m.real], dim=-1)], dim=-2)
    return rows.movedim(-2, -3).flatten(-2).flatten(-3, -2)


def complex_matrices(g: Float[Tensor, "*B d d"]) -> Tensor:
    """The complex matrices (..., n, n) of elements."""
    return torch.complex(g[..., ::2, ::2].contiguous(), g[..., 1::2, ::2].contiguous())


def quaternion_matrices(column: Tensor) -> Float[Tensor, "*B 4 4"]:
    """The elements of SU(2) with a first column (..., 2), complex and of norm 1."""
    a, b = column.unbind(dim=-1)
    return real_matrices(torch.stack([torch.stack([a, -b.conj()], dim=-1), torch.stack([b, a.conj()], dim=-1)], dim=-2))


@lru_cache(maxsize=64)
def _units(n: int, quaternionic: bool) -> Tensor:
    one = torch.eye(2 * n, dtype=torch.float64)
    i = real_matrices(1j * torch.eye(n, dtype=torch.complex128))
    if not quaternionic:
        return torch.stack([one, i])
    j = torch.tensor([[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]], dtype=torch.float64)
    return torch.stack([one, i, j, i @ j])
