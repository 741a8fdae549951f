"""Polynomial invariants made homogeneous of degree 1: f(z) = |z| p(z / |z|).

A quadratic or cubic invariant grows with a power of the latent, which swamps the others and breaks every Lipschitz
bound. Divided by powers of the norm it scales like the latent, is Lipschitz (it is smooth on the unit sphere), and
loses nothing as long as the norm itself can be read off the features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
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


def times(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """The product a b."""
    real = a[..., 0] * b[..., 0] - a[..., 1] * b[..., 1]
    return torch.stack([real, a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]], dim=-1)


def conjugate(a: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """The imaginary part with its sign reversed."""
    return torch.stack([a[..., 0], -a[..., 1]], dim=-1)


def phase_power(z: Float[Tensor, "*n 2"], exponent: int) -> Float[Tensor, "*n 2"]:
    """|z| (z / |z|)^exponent for an exponent of at least 1: the power acts on the phase, the norm stays."""
    unit, norm = direction_and_norm(z)
    power = unit
    for _ in range(exponent - 1):
        power = times(power, unit)
    return power * norm


def relative(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """a conj(b) / |(a, b)|: the phase of a against b, zero where one is zero."""  # noqa: D403
    unit, norm = direction_and_norm(torch.cat([a, b], dim=-1))
    return times(unit[..., :2], conjugate(unit[..., 2:])) * norm


def triple(a: Float[Tensor, "*n 2"], b: Float[Tensor, "*n 2"], c: Float[Tensor, "*n 2"]) -> Float[Tensor, "*n 2"]:
    """a b c / |(a, b, c)|^2."""  # noqa: D403
    unit, norm = direction_and_norm(torch.cat([a, b, c], dim=-1))
    return times(times(unit[..., :2], unit[..., 2:4]), unit[..., 4:]) * norm
