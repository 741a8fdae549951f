"""A fitted linear probe, and the standardisation that linear probes share.

Features are centred and scaled to unit variance before the penalty acts, so that a probe's score does not change when a
network scales a feature; the scaling is folded back into the weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.probes.samples import checked_features, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped
    from torch import Tensor

NOISE = 1e-6
"""A feature whose deviation is below this share of its mean is constant up to float32 rounding."""


@dataclass(frozen=True)
class LinearModel:
    """Scores ``features @ weight + bias``.

    Args:
        weight: Shape (K, T), for features as they come, not standardised.
        bias: Shape (T,).
        classes: The class that each column stands for, shape (T,); None for values.
        flat: Whether targets were values of shape (N,), so that predictions are too.
        converged: Whether the fit reached its tolerance; a closed form always does.
        iterations: Number of iterations that the fit took.
        alpha: Penalty of a ridge fit, relative to the mean eigenvalue; None for other fits.
    """

    weight: Float[Tensor, "K T"]
    bias: Float[Tensor, "T"]
    classes: Int[Tensor, "T"] | None = None
    flat: bool = False
    converged: bool = True
    iterations: int = 0
    alpha: float | None = None

    @full_precision
    def scores(self, features: Float[Tensor, "M K"]) -> Float[Tensor, "M T"]:
        """Return linear scores: logits for classes, values otherwise.

        Raises:
            ValueError: For empty, not finite or wrongly sized features.
        """
        features = checked_features(features, "features", len(self.weight))
        return torch.addmm(self.bias.to(features.dtype), features, self.weight.to(features.dtype))

    def predict(self, features: Float[Tensor, "M K"]) -> Shaped[Tensor, "M *T"]:
        """Return the likeliest class (M,), or values of the shape that the targets had.

        Raises:
            ValueError: For empty, not finite or wrongly sized features.
        """
        scores = self.scores(features)
        if self.classes is not None:
            return self.classes[scores.argmax(1)]
        return scores[:, 0] if self.flat else scores


def inverse_deviation(variance: Float[Tensor, "K"], mean: Float[Tensor, "K"]) -> Float[Tensor, "K"]:
    """Return factors that give centred features unit variance, zero for a constant one."""
    deviation = variance.sqrt()
    constant = deviation <= NOISE * mean.abs()
    return torch.where(constant, 0.0, 1 / torch.where(constant, 1.0, deviation))
