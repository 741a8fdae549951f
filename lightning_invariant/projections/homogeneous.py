"""Polynomial invariants made homogeneous of degree 1: f(z) = |z| p(z / |z|).

A quadratic or cubic invariant grows with a power of the latent, which swamps the others and breaks every Lipschitz
bound. Divided by powers of the norm it scales like the latent, is Lipschitz (it is smooth on the unit sphere), and
loses nothing as long as the norm itself can be read off the features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def direction_and_norm(z: Tensor, dims: tuple[int, ...] = (-1,)) -> tuple[Tensor, Tensor]:
    """Split z into its direction and its norm over some dimensions.

    Args:
        z: Any shape.
        dims: Dimensions that the norm runs over.

    Returns:
        z / |z|, zero where z is zero, and |z| with those dimensions kept; gradients are finite everywhere.
    """
    # Squares of float32 underflow below 1e-19, so the scale is taken out first; it carries no gradient.
    scale = z.detach().abs().amax(dim=dims, keepdim=True)
    # Compared with zero rather than ordered, so that NaN passes through.
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    scaled = z / scale
    square = scaled.square().sum(dim=dims, keepdim=True)
    norm = torch.where(square == 0, torch.ones_like(square), square).sqrt()
    return scaled / norm, torch.where(square == 0, torch.zeros_like(norm), norm) * scale
