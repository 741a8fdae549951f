"""Ridge regression in closed form: the linear probe that costs one pass over the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.probes.linear import LinearModel, centred_products, inverse_deviation
from lightning_invariant.probes.samples import checked_features, checked_targets, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


@full_precision
def ridge_fit(features: Float[Tensor, "N K"], targets: Shaped[Tensor, "N *T"], *, alpha: float = 1e-3) -> LinearModel:
    """Fit a linear map by penalised least squares, min_W |Y - X W|^2 / N + lambda |W|^2.

    X and Y are centred and X is scaled to unit variance. lambda is ``alpha`` times the mean eigenvalue of X^T X / N, so
    that one value suits any number of samples and features. Classes are fitted as indicator columns.

    Args:
        features: Shape (N, K).
        targets: int classes (N,), or float values (N,) or (N, T).
        alpha: Penalty relative to the mean eigenvalue, above 0.

    Returns:
        The model. With a single class or constant features it predicts the class or the mean.

    Raises:
        ValueError: For empty, mismatched or not finite input, or alpha not above 0.

    Example:
        >>> model = ridge_fit(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1.0, 3.0, 5.0]), alpha=1e-9)
        >>> model.predict(torch.tensor([[3.0]])).round(decimals=3)
        tensor([7.])
    """
    if not alpha > 0:
        raise ValueError(f"Expected alpha above 0 but got {alpha}; 1e-3 suits most latents.")
    features = checked_features(features, "features")
    targets = checked_targets(targets, len(features))
    columns, classes = _columns(targets, features.dtype)
    mean, target_mean = features.mean(0), columns.mean(0)
    fit = _dual if features.shape[1] > len(features) else _primal
    weight = fit(features, mean, columns - target_mean, alpha)
    bias = target_mean.double() - mean.double() @ weight
    return LinearModel(
        weight.to(features.dtype), bias.to(features.dtype), classes, flat=classes is None and targets.ndim == 1
    )


def _primal(features: Tensor, mean: Tensor, columns: Tensor, alpha: float) -> Float[Tensor, "K T"]:
    """Solve (X^T X / N + lambda) W = X^T Y / N."""
    covariance, moment = centred_products(features, mean, columns)
    scale = inverse_deviation(covariance.diagonal(), mean.double())[:, None]
    correlation = covariance * scale * scale.T
    return scale * _solve(correlation, scale * moment, alpha * (float(correlation.trace()) / len(correlation) or 1.0))


def _dual(features: Tensor, mean: Tensor, columns: Tensor, alpha: float) -> Float[Tensor, "K T"]:
    """W = X^T (X X^T + N lambda)^-1 Y, where features outnumber samples."""
    x = features - mean
    scale = inverse_deviation(x.square().mean(0).double(), mean.double())[:, None]
    x *= scale.T.to(x.dtype)
    kernel = (x @ x.T).double()
    mean_eigenvalue = float(kernel.trace()) / x.shape[1]
    return scale * (x.double().T @ _solve(kernel, columns.double(), alpha * (mean_eigenvalue or 1.0)))


def _solve(matrix: Tensor, right: Tensor, shift: float) -> Tensor:
    matrix.diagonal().add_(shift)
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info):
        raise ValueError(
            f"Expected a positive definite system but rounding broke it at column {int(info)}; "
            "raise alpha or give features in float64."
        )
    return torch.cholesky_solve(right, factor)


def _columns(targets: Tensor, dtype: torch.dtype) -> tuple[Float[Tensor, "N T"], Tensor | None]:
    if targets.is_floating_point():
        return targets.reshape(len(targets), -1).to(dtype), None
    classes, inverse = targets.unique(return_inverse=True)
    return torch.nn.functional.one_hot(inverse, len(classes)).to(dtype), classes
