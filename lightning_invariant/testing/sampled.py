"""What a map of sampled transforms can be held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GuaranteeError

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.projections import Projection

INPUTS, FEW, MANY = 64, 8, 128
"""Inputs, and transforms of each: few, and so many that the features must have come closer to their limit."""
DRAWS = 4.0
"""Two draws may differ by this many standard errors in the mean over inputs; independent ones do by sqrt(2)."""
CLOSER = 0.9
"""Sixteen times as many transforms bring means four times closer, and maxima of bell-shaped noise to about 0.7."""


def check_sampled(projection: Projection, generator: torch.Generator) -> None:
    """Refute a false claim of a projection from latents (B, K, D) of K sampled transforms.

    The transforms are independent Gaussian noise around latents of their own, so everything is known about them.

    Raises:
        GuaranteeError: A claim is false.
    """
    claim = projection.guarantee
    if claim.invariance != "sampled":
        raise GuaranteeError(
            f"Expected a map of sampled transforms to claim sampled invariance but it claims {claim.invariance}: "
            "another draw gives other features."
        )
    centres = projection.representation.random(INPUTS, generator).double()
    with torch.no_grad():
        _check_order(projection, _draw(centres, FEW, generator))
        few, many = (_gap(projection, centres, count, generator) for count in (FEW, MANY))
    if not many < CLOSER * few:
        raise GuaranteeError(
            f"Expected features of two draws to come together with more transforms but they differ by {few:.3g} for "
            f"{FEW} and {many:.3g} for {MANY}."
        )
    z = _draw(centres, FEW, generator).requires_grad_()
    (gradient,) = torch.autograd.grad(projection(z).sum(), z)
    if not gradient.isfinite().all():
        raise GuaranteeError("Expected finite gradients but got NaN or infinity.")


def _draw(centres: Tensor, count: int, generator: torch.Generator) -> Tensor:
    noise = torch.randn(len(centres), count, centres.shape[1], dtype=centres.dtype, generator=generator)
    return centres[:, None] + 0.3 * noise


def _check_order(projection: Projection, z: Tensor) -> None:
    features = projection(z)
    if features.shape != (INPUTS, projection.out_features) or not features.isfinite().all():
        raise GuaranteeError(
            f"Expected finite features ({INPUTS}, {projection.out_features}) but got {tuple(features.shape)}."
        )
    change = (projection(z.flip(1)) - features).abs().max().item()
    if change > 1e-9 * features.abs().max().item():
        raise GuaranteeError(f"Expected the order of the transforms not to matter but features change by {change:.3g}.")


def _gap(projection: Projection, centres: Tensor, count: int, generator: torch.Generator) -> float:
    """Mean distance of the features of two draws, held against the residual that the projection states."""
    one, other = (_draw(centres, count, generator) for _ in range(2))
    gap = (projection(one) - projection(other)).norm(dim=1).mean().item()
    residual = getattr(projection, "residual", None)
    if residual is not None:
        stated = residual(one).mean().item()
        if not gap <= DRAWS * stated:
            raise GuaranteeError(
                f"Expected two draws of {count} transforms to agree within {DRAWS:g} residuals of {stated:.3g} but "
                f"their features differ by {gap:.3g}."
            )
    return gap
