"""Real Clebsch-Gordan tensors: the one invariant product of three irreps of SO(3)."""

from __future__ import annotations

from functools import lru_cache
from math import factorial, sqrt
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Complex, Float
    from torch import Tensor


def clebsch_gordan(a: int, b: int, c: int) -> Float[Tensor, "A B C"]:
    """The tensor T of Frobenius norm 1 with sum_ijk T_ijk x_i y_j z_k invariant under SO(3).

    Wigner's 3j symbols, taken from complex to real harmonics. The basis is that of
    `lightning_invariant.groups.harmonics`, which is e3nn's; the sign is a convention.

    Args:
        a: Degree of x, at least 0.
        b: Degree of y.
        c: Degree of z.

    Returns:
        Shape (2a + 1, 2b + 1, 2c + 1), float64.

    Raises:
        ValueError: The degrees violate |a - b| <= c <= a + b, so there is no such product.

    References:
        Racah's formula, DLMF 34.2.4.

    Example:
        >>> (clebsch_gordan(1, 1, 0)[:, :, 0] * 3**0.5).round(decimals=3).abs().tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    if min(a, b, c) < 0 or not abs(a - b) <= c <= a + b:
        raise ValueError(f"Expected degrees with |a - b| <= c <= a + b but got {(a, b, c)}.")
    # A copy: a buffer that a state_dict is loaded into shall not change the table of all others.
    return _table(a, b, c).clone()


@lru_cache(maxsize=512)
def _table(a: int, b: int, c: int) -> Float[Tensor, "A B C"]:
    symbols = torch.zeros(2 * a + 1, 2 * b + 1, 2 * c + 1, dtype=torch.complex128)
    for i in range(-a, a + 1):
        for j in range(max(-b, -c - i), min(b, c - i) + 1):
            symbols[a + i, b + j, c - i - j] = _symbol(a, b, c, i, j)
    real = torch.einsum("ijk,ix,jy,kz->xyz", symbols, _real_basis(a), _real_basis(b), _real_basis(c))
    # The product is real where a + b + c is even and imaginary where it is odd.
    return (real.real if (a + b + c) % 2 == 0 else real.imag).contiguous()


def _symbol(a: int, b: int, c: int, i: int, j: int) -> float:
    """Wigner's 3j symbol (a b c; i j -i-j), exact integers up to the last step."""
    k = -i - j
    triangle = factorial(a + b - c) * factorial(a - b + c) * factorial(b + c - a) / factorial(a + b + c + 1)
    orders = 1
    for degree, order in ((a, i), (b, j), (c, k)):
        orders *= factorial(degree + order) * factorial(degree - order)
    total, common = 0, factorial(a + b + c)
    for t in range(max(0, b - c - i, a - c + j), min(a + b - c, a - i, b + j) + 1):
        below = factorial(t) * factorial(a + b - c - t) * factorial(a - i - t) * factorial(b + j - t)
        below *= factorial(c - b + i + t) * factorial(c - a - j + t)
        # Six factors with sum a + b + c divide its factorial: a multinomial coefficient.
        total += (-1) ** t * (common // below)
    return (-1) ** (a - b - k) * sqrt(triangle) * sqrt(orders) * (total / common)


def _real_basis(degree: int) -> Complex[Tensor, "M M"]:
    """Complex harmonics in terms of the real ones, orders -l to l, with the Condon-Shortley phase."""
    real, imaginary = torch.zeros(2, 2 * degree + 1, 2 * degree + 1, dtype=torch.float64)
    real[degree, degree] = 1
    for m in range(1, degree + 1):
        real[degree + m, degree + m] = imaginary[degree + m, degree - m] = (-1) ** m / sqrt(2)
        real[degree - m, degree + m], imaginary[degree - m, degree - m] = 1 / sqrt(2), -1 / sqrt(2)
    return torch.complex(real, imaginary)
