"""Real spherical harmonics and the matrices by which rotations act on them.

The basis is the one of e3nn: degree l has 2l + 1 functions, and degree 1 is (x, y, z).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def spherical_harmonics(degree: int, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n M"]:
    """Orthonormal real spherical harmonics of one degree, with y as the polar axis.

    Args:
        degree: l, at least 0.
        points: Unit vectors (x, y, z).

    Returns:
        The 2l + 1 values at each point, orders -l to l.

    Source:
        Associated Legendre recursion without the Condon-Shortley phase, DLMF 14.10.3.
    """
    x, y, z = points.unbind(dim=-1)
    powers = [torch.complex(torch.ones_like(x), torch.zeros_like(x))]
    for _ in range(degree):
        powers.append(powers[-1] * torch.complex(z, x))
    values = [torch.zeros_like(x)] * (2 * degree + 1)
    for order in range(degree + 1):
        scale = math.sqrt((2 * degree + 1) / (4 * math.pi) * math.factorial(degree - order))
        scale /= math.sqrt(math.factorial(degree + order))
        legendre = scale * _legendre(degree, order, y)
        if order == 0:
            values[degree] = legendre
        else:
            values[degree + order] = math.sqrt(2) * legendre * powers[order].real
            values[degree - order] = math.sqrt(2) * legendre * powers[order].imag
    return torch.stack(values, dim=-1)


def rotation_matrices(degree: int, rotations: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n M M"]:
    """Wigner matrices D of rotations, so that Y(R x) = D(R) Y(x).

    Args:
        degree: l, at least 0.
        rotations: Matrices of determinant 1, float64.

    Returns:
        Orthogonal matrices of size 2l + 1, float64, exact to about 1e-13.
    """
    if degree == 0:
        return torch.ones(len(rotations), 1, 1, dtype=rotations.dtype, device=rotations.device)
    if degree == 1:
        return rotations
    points, inverse = _sampling(degree)
    points, inverse = points.to(rotations), inverse.to(rotations)
    moved = spherical_harmonics(degree, torch.einsum("nij,pj->npi", rotations, points))
    return torch.einsum("npi,jp->nij", moved, inverse)


def _legendre(degree: int, order: int, y: Tensor) -> Tensor:
    value, before = torch.full_like(y, float(math.prod(range(1, 2 * order, 2)))), torch.zeros_like(y)
    for step in range(order + 1, degree + 1):
        value, before = ((2 * step - 1) * y * value - (step + order - 1) * before) / (step - order), value
    return value


@lru_cache(maxsize=32)
def _sampling(degree: int) -> tuple[Tensor, Tensor]:
    count = 4 * (2 * degree + 1)
    index = torch.arange(count, dtype=torch.float64) + 0.5
    y, angle = 1 - 2 * index / count, index * math.pi * (1 + math.sqrt(5))
    ring = (1 - y**2).sqrt()
    points = torch.stack([ring * angle.cos(), y, ring * angle.sin()], dim=-1)
    return points, torch.linalg.pinv(spherical_harmonics(degree, points))
