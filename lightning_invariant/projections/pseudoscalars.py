"""Determinants of random combinations of vectors: what tells a configuration from its mirror image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def pseudoscalar_templates(n: int, d: int, seed: int) -> Float[Tensor, "k n d"]:
    """Random frames A_i (n, d) with orthonormal columns, so that det(A_i^T X) is an SO(d) invariant of X (n, d).

    X and its mirror image have determinants of opposite sign, so they agree only where all are zero. Each is one
    equation on the column space of X, a point of the Grassmannian of dimension d (n - d); with k = d (n - d) + 1
    random frames no X of rank d meets them all.

    Args:
        n: Number of vectors.
        d: Dimension of the space.
        seed: Seed of a generator of their own.

    Returns:
        Float32, drawn in float64; k is 0 if n < d, where a mirror image is a rotation.
    """
    if n < d:
        return torch.zeros(0, n, d)
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(d * (n - d) + 1, n, d, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian)[0].float()


def pseudoscalars(x: Float[Tensor, "B n d"], templates: Float[Tensor, "k n d"]) -> Float[Tensor, "B k"]:
    """det(A_i^T X) for each template, by cofactors: gradients are finite where the determinant is zero."""
    return _determinant(torch.einsum("knd,bne->bkde", templates.to(x.dtype), x))


def _determinant(m: Tensor) -> Tensor:
    if m.shape[-1] == 1:
        return m[..., 0, 0]
    if m.shape[-1] > 4:
        return torch.linalg.det(m)
    size = m.shape[-1]
    minors = [m[..., 1:, [j for j in range(size) if j != i]] for i in range(size)]
    return torch.stack([(-1) ** i * m[..., 0, i] * _determinant(minor) for i, minor in enumerate(minors)]).sum(0)
