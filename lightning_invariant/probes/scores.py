"""How well predictions fit, and how far a score may be off by chance."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.probes.samples import full_precision

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
    from torch import Tensor


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@full_precision
def accuracy(predictions: Int[Tensor, "M"], targets: Int[Tensor, "M"]) -> float:
    """Return the share of predictions that equal their target; one that no row of the bank had counts as an error.

    Raises:
        ValueError: For empty or mismatched input.

    Example:
        >>> accuracy(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]))
        0.6666666666666666
    """
    _matched(predictions, targets, (1,))
    return float((predictions == targets).double().mean())


@full_precision
def r2(predictions: Float[Tensor, "M *T"], targets: Float[Tensor, "M *T"]) -> float:
    """Return the coefficient of determination, the mean over T columns; at most 1, and 0 for predicting the mean.

    A constant column scores 1 if it is met exactly, else 0.

    Raises:
        ValueError: For empty or mismatched input.
    """
    _matched(predictions, targets, (1, 2))
    predictions, targets = predictions.double(), targets.double()
    residual = (targets - predictions).square().sum(0)
    total = (targets - targets.mean(0)).square().sum(0)
    constant = (targets == targets[:1]).all(0)
    score = torch.where(constant, (residual == 0).double(), 1 - residual / torch.where(constant, 1.0, total))
    return float(score.mean())


@full_precision
def mae(predictions: Float[Tensor, "M *T"], targets: Float[Tensor, "M *T"]) -> float:
    """Return the mean absolute error, in the unit of the targets.

    Raises:
        ValueError: For empty or mismatched input.
    """
    _matched(predictions, targets, (1, 2))
    return float((predictions.double() - targets.double()).abs().mean())


@full_precision
def mean_average_precision(scores: Float[Tensor, "M T"], targets: Shaped[Tensor, "M T"]) -> float:
    """Return the average precision of multi-label scores, the mean over the labels that occur.

    For each label sum_n (R_n - R_{n-1}) P_n over distinct thresholds, without interpolation.

    Args:
        scores: Higher means more likely, any scale, shape (M, T).
        targets: 0 or 1, shape (M, T).

    Returns:
        In [0, 1]; chance is about the mean share of positives.

    Raises:
        ValueError: For empty or mismatched input, targets other than 0 and 1, or if no label occurs.
    """
    _matched(scores, targets, (2,))
    truth = targets.double()
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError(
            "Expected multi-label targets of 0 and 1 but got other values; threshold or binarise them first."
        )
    occurring = truth.sum(0) > 0
    if not occurring.any():
        raise ValueError(
            "Expected at least one positive target but got none; precision has no value without positives."
        )
    ranked, order = scores[:, occurring].double().sort(dim=0, descending=True)
    hits = truth[:, occurring].gather(0, order).cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1, dtype=hits.dtype, device=hits.device)[:, None]
    # Equal scores share one threshold: only the last of a run is a point of the curve.
    last = torch.ones_like(ranked, dtype=torch.bool)
    last[:-1] = ranked[:-1] != ranked[1:]
    recall = torch.where(last, hits / hits[-1], 0.0).cummax(0).values
    steps = recall.diff(dim=0, prepend=torch.zeros_like(recall[:1]))
    return float((steps * precision).sum(0).mean())


def accuracy_interval(correct: Bool[Tensor, "M"], *, confidence: float = 0.95) -> Interval:
    """Return a confidence interval of an accuracy, never outside [0, 1] and never of zero width.

    Args:
        correct: Whether each prediction was right, shape (M,).
        confidence: Share of such intervals that hold the true accuracy.

    Returns:
        The two ends.

    Raises:
        ValueError: For an empty or not boolean tensor, or a confidence outside (0, 1).

    References:
        Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference.
    """
    _matched(correct, correct, (1,), boolean=True)
    return _wilson(int(correct.sum()), len(correct), _quantile(confidence))


def paired_gap_interval(
    correct_a: Bool[Tensor, "M"],
    correct_b: Bool[Tensor, "M"],
    *,
    confidence: float = 0.95,
    worth: float = 1.0,
    quantile: float | None = None,
) -> Interval:
    """Return a confidence interval of accuracy a minus accuracy b, both measured on the same queries.

    Queries that both get right or both get wrong carry no doubt about the difference, so that the interval is narrower
    than that of two separate samples.

    Args:
        correct_a: Whether each prediction of a was right, shape (M,).
        correct_b: The same of b, in the same order.
        confidence: Share of such intervals that hold the true difference.
        worth: How many independent queries each query stands for, below 1 where some are alike.
        quantile: Number of standard deviations in place of the normal distribution's for that confidence.

    Returns:
        The two ends, in [-1, 1].

    Raises:
        ValueError: For empty, mismatched or not boolean tensors, or a confidence outside (0, 1).

    References:
        Newcombe 1998, Improved confidence intervals for the difference between binomial proportions based on paired
        data, method 10.
    """
    _matched(correct_a, correct_b, (1,), boolean=True)
    z, total = _quantile(confidence) if quantile is None else quantile, len(correct_a) * worth
    both, only_a = int((correct_a & correct_b).sum()) * worth, int((correct_a & ~correct_b).sum()) * worth
    only_b = int((~correct_a & correct_b).sum()) * worth
    neither = max(0.0, total - both - only_a - only_b)
    phi = _phi(both, only_a, only_b, neither, total)
    a, b = (both + only_a) / total, (both + only_b) / total
    (low_a, high_a), (low_b, high_b) = _wilson(both + only_a, total, z), _wilson(both + only_b, total, z)
    below, above = _paired_width(a - low_a, high_b - b, phi), _paired_width(high_a - a, b - low_b, phi)
    return Interval(a - b - below, a - b + above)


def _paired_width(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))


def _phi(both: float, only_a: float, only_b: float, neither: float, total: float) -> float:
    """Correlation of the two tables' margins, with Newcombe's continuity correction where it is positive."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if margins == 0:
        return 0.0
    product = both * neither - only_a * only_b
    if product > 0:
        product = max(product - total / 2, 0.0)
    return product / math.sqrt(margins)


def _wilson(successes: float, total: float, z: float) -> Interval:
    share, spread = successes / total, z**2 / total
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4)
    centre = share + spread / 2
    return Interval(max(0.0, (centre - half) / (1 + spread)), min(1.0, (centre + half) / (1 + spread)))


def _quantile(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"Expected a confidence between 0 and 1 but got {confidence}; 0.95 is usual.")
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _matched(one: Tensor, other: Tensor, dims: tuple[int, ...], *, boolean: bool = False) -> None:
    if one.shape != other.shape or one.ndim not in dims or one.numel() == 0:
        raise ValueError(
            f"Expected two equal shapes with {' or '.join(map(str, dims))} dimensions and at least one entry but got "
            f"{tuple(one.shape)} and {tuple(other.shape)}; give one row a query."
        )
    if boolean and not (one.dtype == other.dtype == torch.bool):
        raise ValueError(
            f"Expected boolean tensors but got {one.dtype} and {other.dtype}; give predictions == targets."
        )
