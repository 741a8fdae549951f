"""Ridge regression in closed form: the linear probe that costs one pass over the features."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.probes.linear import LinearModel, standardisation
from lightning_invariant.probes.samples import checked_features, checked_targets, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped

ROWS = 2048
"""Rows standardised at one time; the copy stays in cache, and sums over blocks are taken in float64."""


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
    mean, inverse_deviation = standardisation(features)
    columns, classes = _columns(targets, features.dtype)
    target_mean = columns.double().mean(0)
    blocks = _Blocks(features, columns, mean, inverse_deviation, target_mean)
    solve = _dual if features.shape[1] > len(features) else _primal
    weight = inverse_deviation[:, None] * solve(blocks, alpha)
    bias = target_mean - mean @ weight
    return LinearModel(
        weight.to(features.dtype), bias.to(features.dtype), classes, flat=classes is None and targets.ndim == 1
    )


def gram(features: Float[Tensor, "N K"], mean: Float[Tensor, "K"], inverse_deviation: Float[Tensor, "K"]) -> Tensor:
    """Correlation matrix X^T X / N of the standardised features, float64, shape (K, K)."""
    empty = features[:, :0]
    return _Blocks(features, empty, mean, inverse_deviation, mean[:0]).products()[0]


class _Blocks:
    """Standardised features and centred targets, a block of rows at a time."""

    def __init__(self, features: Tensor, columns: Tensor, mean: Tensor, inverse_deviation: Tensor, target_mean: Tensor):
        self.features, self.columns = features, columns
        self.mean, self.inverse_deviation = mean.to(features.dtype), inverse_deviation.to(features.dtype)
        self.target_mean = target_mean.to(columns.dtype)

    def rows(self) -> Tensor:
        return (self.features - self.mean).mul_(self.inverse_deviation)

    def products(self) -> tuple[Tensor, Tensor]:
        """X^T X / N and X^T Y / N in float64."""
        size, count = self.features.shape[1], len(self.features)
        total = self.features.new_zeros((size, size + self.columns.shape[1]), dtype=torch.float64)
        for block, columns in zip(self.features.split(ROWS), self.columns.split(ROWS), strict=True):
            x = (block - self.mean).mul_(self.inverse_deviation)
            total[:, :size] += x.T @ x
            if self.columns.shape[1]:
                total[:, size:] += x.T @ (columns - self.target_mean)
        total /= count
        return total[:, :size], total[:, size:]


def _primal(blocks: _Blocks, alpha: float) -> Float[Tensor, "K T"]:
    """Solve (X^T X / N + lambda) W = X^T Y / N."""
    covariance, moment = blocks.products()
    return _solve(covariance, moment, alpha * (float(covariance.trace()) / len(covariance) or 1.0))


def _dual(blocks: _Blocks, alpha: float) -> Float[Tensor, "K T"]:
    """W = X^T (X X^T + N lambda)^-1 Y, where features outnumber samples."""
    x = blocks.rows()
    kernel = (x @ x.T).double()
    mean_eigenvalue = float(kernel.trace()) / x.shape[1]
    centred = (blocks.columns - blocks.target_mean).double()
    return x.double().T @ _solve(kernel, centred, alpha * (mean_eigenvalue or 1.0))


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
