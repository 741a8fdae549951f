"""Multinomial logistic regression by L-BFGS with analytic gradients, preconditioned by a bound on the Hessian.

The Hessian of the mean cross-entropy is at most (I - 11^T / C) / 2 (x) X^T X / N everywhere. The inverse of this bound,
one Cholesky factor of size K, is where L-BFGS starts from: correlated features then don't slow the fit down.
Source: Böhning 1992, Multinomial logistic regression algorithm.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.probes.linear import LinearModel, inverse_deviation
from lightning_invariant.probes.samples import checked_features, checked_targets, full_precision

if TYPE_CHECKING:
    from jaxtyping import Float, Int

MEMORY = 10
"""Pairs of steps and gradient changes that are kept."""
SHRINKS = 30
"""Halvings of a step before the line search gives up: what is left is rounding."""
SUFFICIENT = 1e-4
"""Share of the linear decrease that a step must reach. Source: Nocedal and Wright 2006, equation 3.4."""


@full_precision
def logistic_fit(
    features: Float[Tensor, "N K"],
    targets: Int[Tensor, "N"],
    *,
    penalty: float = 1e-4,
    max_iterations: int = 1000,
    tolerance: float = 1e-4,
) -> LinearModel:
    """Fit class probabilities softmax(X W + b), minimising mean cross-entropy + penalty / 2 |W|^2.

    X is centred and scaled to unit variance; the bias carries no penalty. The optimum is unique up to a
    constant added to the bias, which starts and stays centred.

    Args:
        features: Shape (N, K).
        targets: int classes (N,).
        penalty: Weight of the squared norm; 1 / (N C) in scikit-learn's terms.
        max_iterations: Most iterations.
        tolerance: Largest relative excess of the objective over its minimum at which the fit has converged.

    Returns:
        The model, with ``converged`` and ``iterations``. A single class is predicted always.

    Raises:
        ValueError: For empty, mismatched, not finite or negative input, float targets, or a penalty not above 0.
    """
    if not penalty > 0 or max_iterations < 1:
        raise ValueError(
            f"Expected penalty above 0 and max_iterations >= 1 but got {penalty} and {max_iterations}; "
            "separable classes have no optimum without a penalty."
        )
    features = checked_features(features, "features")
    targets = checked_targets(targets, len(features))
    if targets.is_floating_point():
        raise ValueError("Expected integer classes but got floating targets; use ridge_fit for values and multi-label.")
    classes, inverse = targets.unique(return_inverse=True)
    mean = features.mean(0, dtype=torch.float64)
    # Double precision, for the gradient has to become small where classes are separable.
    x = features.double() - mean
    scale = inverse_deviation(x.square().mean(0), mean)[:, None]
    x *= scale.T
    # Weights outside the span of the rows only cost: where features outnumber rows, the rows' own basis is enough.
    basis = None
    if x.shape[1] > len(x):
        basis, triangle = torch.linalg.qr(x.T)
        x = triangle.T.contiguous()
    curvature = x.T @ x / (2 * len(x))
    curvature.diagonal().add_(penalty)
    objective = _CrossEntropy(x, inverse, len(classes), penalty)
    solution, converged, iterations = _minimise(objective, torch.linalg.cholesky(curvature), max_iterations, tolerance)
    weight = scale * (solution[:-1] if basis is None else basis @ solution[:-1])
    bias = solution[-1] - mean @ weight
    dtype = features.dtype
    return LinearModel(weight.to(dtype), bias.to(dtype), classes, converged=converged, iterations=iterations)


class _CrossEntropy:
    """The penalised loss and its gradient at parameters (K + 1, C), whose last row is the bias."""

    def __init__(self, x: Tensor, classes: Tensor, count: int, penalty: float) -> None:
        self.x, self.classes, self.count, self.penalty = x, classes[:, None], count, penalty

    def __call__(self, parameters: Float[Tensor, "K1 C"]) -> tuple[float, Float[Tensor, "K1 C"]]:
        weight, bias = parameters[:-1], parameters[-1]
        logits = torch.addmm(bias, self.x, weight)
        log_shares = logits.log_softmax(1)
        loss = -float(log_shares.gather(1, self.classes).mean())
        error = log_shares.exp_()
        error.scatter_add_(1, self.classes, error.new_full((), -1.0).expand(self.classes.shape))
        error /= len(self.x)
        gradient = torch.cat([self.x.T @ error + self.penalty * weight, error.sum(0, keepdim=True)])
        return loss + self.penalty / 2 * float(weight.square().sum()), gradient

    def excess(self, gradient: Float[Tensor, "K1 C"]) -> float:
        """Bound on the loss over its minimum: the penalty makes it strongly convex in the weights."""
        return float(gradient.square().sum()) / (2 * self.penalty)


def _minimise(
    objective: _CrossEntropy, factor: Tensor, max_iterations: int, tolerance: float
) -> tuple[Float[Tensor, "K1 C"], bool, int]:
    point = factor.new_zeros((len(factor) + 1, objective.count))
    loss, gradient = objective(point)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    for iteration in range(max_iterations):
        if objective.excess(gradient) <= tolerance * loss:
            return point, True, iteration
        direction = -_inverse_hessian(gradient, pairs, factor)
        slope, step = float((direction * gradient).sum()), 1.0
        for _ in range(SHRINKS):
            candidate = point + step * direction
            new_loss, new_gradient = objective(candidate)
            if new_loss <= loss + SUFFICIENT * step * slope:
                break
            step /= 2
        else:
            return point, False, iteration
        moved, change = candidate - point, new_gradient - gradient
        if float((moved * change).sum()) > 0:
            pairs.append((moved, change))
        point, loss, gradient = candidate, new_loss, new_gradient
    return point, objective.excess(gradient) <= tolerance * loss, max_iterations


def _inverse_hessian(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]], factor: Tensor) -> Tensor:
    """Two-loop recursion. Source: Nocedal and Wright 2006, algorithm 7.4, started from the bound's inverse."""
    shares = []
    for moved, change in reversed(pairs):
        share = (moved * gradient).sum() / (moved * change).sum()
        gradient = gradient - share * change
        shares.append(share)
    result = _precondition(gradient, factor)
    if pairs:
        moved, change = pairs[-1]
        result = result * ((moved * change).sum() / (change * _precondition(change, factor)).sum())
    for (moved, change), share in zip(pairs, reversed(shares), strict=True):
        result = result + (share - (change * result).sum() / (moved * change).sum()) * moved
    return result


def _precondition(gradient: Tensor, factor: Tensor) -> Tensor:
    """Apply the inverse of the bound; the bias has mean feature zero, so that its bound is 1/2."""
    return torch.cat([torch.cholesky_solve(gradient[:-1], factor), 2 * gradient[-1:]])
