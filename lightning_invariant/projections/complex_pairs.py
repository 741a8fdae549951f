"""Complex numbers as pairs (real, imaginary) in the last dimension; there is no complex bfloat16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.projections.homogeneous import direction_and_norm

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


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
