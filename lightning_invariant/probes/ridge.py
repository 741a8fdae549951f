"""Ridge regression in closed form: a linear probe, its penalty, and its predictions for samples left out of the fit.

With x = (X - m) s for mean m and scale s of all N rows, mu = N lambda, G = x'x + mu I and W = G^-1 x'(Y - Ybar), row i
has the residual r_i = y_i - Ybar - x_i'W. For the rows S of one group,

    H_SS = 1/N + x_S G^-1 x_S',    t_S = (I - H_SS)^-1 r_S

are the residuals that the fit WITHOUT S has on S, and that fit predicts Ybar + q'W - (1/N + q'G^-1 x_S') t_S for a
query q. Where features are about as many as rows or more, the same comes from the N x N matrix K = x x': with
B = (K + mu I + c 11'/N)^-1 for any c > 0, q'G^-1 x_i is (x q)'B_i and t_S = (B_SS - 1/(N (mu + c)))^-1 (B y)_S, in
which nothing cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.probes.linear import LinearModel, inverse_deviation
from lightning_invariant.probes.samples import (
    checked_features,
    checked_groups,
    checked_targets,
    full_precision,
    row_norms,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jaxtyping import Float, Int, Shaped

ALPHAS = tuple(10.0**power for power in range(-6, 2))
"""Penalties that are tried, relative to the mean eigenvalue of X'X / N."""
FIRST = 5
"""Where among them the search starts."""
SINGLE, POWERS = 2e-3, 8
"""Largest relative error of systems that are solved in float32, and steps of the estimate of their condition."""
DUAL = 0.75
"""Features a row from which on the N x N system is solved: near N = K, 1 - H_SS of the K x K system cancels."""
JUDGED = 128
"""Rows on which a penalty is judged."""
BLOCK = 1024
"""Rows that are standardised, and queries that are predicted, at one time."""


@dataclass(frozen=True)
class LeftOut:
    """What `ridge_leave_out` predicts.

    Args:
        bank: For each row of the bank without its own group, shape (N, T).
        queries: For each set of queries, each without the group of its own row, shape (M, T).
        classes: The class that each column stands for, shape (T,); None for values.
        alpha: Penalty relative to the mean eigenvalue.
    """

    bank: Float[Tensor, "N T"]
    queries: list[Float[Tensor, "M T"]]
    classes: Int[Tensor, "T"] | None
    alpha: float


@full_precision
def ridge_fit(
    features: Float[Tensor, "N K"],
    targets: Shaped[Tensor, "N *T"],
    *,
    alpha: float | None = None,
    groups: Int[Tensor, "N"] | None = None,
) -> LinearModel:
    """Fit a linear map by penalised least squares, min_W |Y - X W|^2 / N + lambda |W|^2.

    X and Y are centred and X is scaled to unit variance. lambda is ``alpha`` times the mean eigenvalue of X^T X / N, so
    that one value suits any number of samples and features. Classes are fitted as indicator columns.

    Args:
        features: Shape (N, K).
        targets: int classes (N,), or float values (N,) or (N, T).
        alpha: Penalty relative to the mean eigenvalue, above 0; the best of several by leave-one-out error if None.
        groups: Group of each row, int64 (N,): rows of one group are left out together when the penalty is chosen.

    Returns:
        The model. With a single class or constant features it predicts the class or the mean.

    Raises:
        ValueError: For empty, mismatched or not finite input, or alpha not above 0.

    Example:
        >>> model = ridge_fit(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([1.0, 3.0, 5.0]), alpha=1e-9)
        >>> model.predict(torch.tensor([[3.0]])).round(decimals=3)
        tensor([7.])
    """
    features = checked_features(features, "features")
    targets = checked_targets(targets, len(features))
    columns, classes = _columns(targets)
    target_mean = columns.mean(0)
    groups = checked_groups(groups, len(features), features.device)
    fit = _chosen(features, columns - target_mean, _checked(alpha), groups, torch.float64)
    weight = fit.weight()
    bias = target_mean - fit.samples.mean @ weight
    return LinearModel(
        weight.to(features.dtype),
        bias.to(features.dtype),
        classes,
        flat=classes is None and targets.ndim == 1,
        alpha=fit.alpha,
    )


@full_precision
def ridge_leave_out(
    bank: Float[Tensor, "N K"],
    targets: Shaped[Tensor, "N *T"],
    queries: Sequence[Float[Tensor, "M K"]] = (),
    own: Sequence[Int[Tensor, "M"]] = (),
    *,
    groups: Int[Tensor, "N"] | None = None,
    alpha: float | None = None,
) -> LeftOut:
    """Predict each sample from a ridge fit on all others, in closed form: no refits.

    The fits are those of `ridge_fit` with the mean, scale and penalty of the whole bank.

    Args:
        bank: Features with known targets, shape (N, K).
        targets: int classes (N,), or float values (N,) or (N, T).
        queries: Sets of features, each of shape (M, K): samples of the bank in another form.
        own: For each set the rows of the bank that its queries belong to, int64 (M,).
        groups: Group of each row, int64 (N,): left out together. Every row is its own group if None.
        alpha: Penalty relative to the mean eigenvalue, above 0; the best of several by leave-one-out error if None.

    Returns:
        Scores for each class, or values, in float64. They are computed in float64 for float64 features; for others in
        float32 where the penalty keeps the system well conditioned.

    Raises:
        ValueError: For empty, mismatched or not finite input, alpha not above 0, or one group that holds every row.
    """
    bank = checked_features(bank, "bank")
    queries = [checked_features(rows, "queries", bank.shape[1]) for rows in queries]
    targets = checked_targets(targets, len(bank))
    groups = checked_groups(groups, len(bank), bank.device, several=True)
    if [len(rows) for rows in queries] != [len(rows) for rows in own]:
        raise ValueError(
            f"Expected the bank's row of each query but got sets of {[len(rows) for rows in queries]} queries and "
            f"{[len(rows) for rows in own]} rows; give one int64 tensor a set."
        )
    columns, classes = _columns(targets)
    target_mean = columns.mean(0)
    columns = columns - target_mean
    fit = _chosen(bank, columns, _checked(alpha), groups, bank.dtype)
    residuals = torch.empty_like(fit.samples.columns)
    for rows, values in fit.left_out(_batches(groups)):
        residuals[rows] = values
    alone = len(groups.unique()) == len(groups)
    predictions = []
    for features, rows_of in zip(queries, own, strict=True):
        parts = []
        for part, rows in zip(features.split(BLOCK), rows_of.to(bank.device).split(BLOCK), strict=True):
            same = None if alone else groups[rows][:, None] == groups
            parts.append(fit.predict(fit.samples.standard(part), rows, same, residuals))
        predictions.append(target_mean + torch.cat(parts))
    return LeftOut(target_mean + columns - residuals, predictions, classes, fit.alpha)


class _Samples:
    """Rows that are standardised when they are used, and centred targets, in one precision."""

    def __init__(self, features: Tensor, columns: Tensor, dtype: torch.dtype) -> None:
        self.features, self.columns, self.dtype = features, columns.to(dtype), dtype
        self.mean = features.mean(0, dtype=torch.float64)
        squares = torch.zeros_like(self.mean)
        for block in features.split(BLOCK):
            squares += row_norms((block - self.mean.to(features.dtype)).T).double().square()
        scale = inverse_deviation(squares / len(features), self.mean)
        self.scale, self.shift, self.factor = scale, self.mean.to(dtype), scale.to(dtype)

    def standard(self, rows: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        return (rows.to(self.dtype) - self.shift).mul_(self.factor)

    def __len__(self) -> int:
        return len(self.features)


class _Primal:
    """The system in K features, for more rows."""

    def __init__(self, samples: _Samples) -> None:
        self.samples, size = samples, samples.features.shape[1]
        self.gram = samples.columns.new_zeros(size, size)
        self.moment = samples.columns.new_zeros(size, samples.columns.shape[1])
        for block, y in zip(samples.features.split(BLOCK), samples.columns.split(BLOCK), strict=True):
            x = samples.standard(block)
            self.gram.addmm_(x.T, x)
            self.moment.addmm_(x.T, y)
        self.unit = float(self.gram.trace()) / size or 1.0
        self.condition = _largest(self.gram) / self.unit

    def fit(self, alpha: float) -> _PrimalFit:
        return _PrimalFit(self, alpha)


class _PrimalFit:
    def __init__(self, system: _Primal, alpha: float) -> None:
        self.samples, self.alpha = system.samples, alpha
        self.factor = _factor(system.gram, alpha * system.unit)
        self.solution = torch.cholesky_solve(system.moment, self.factor)
        self._inverse: Tensor | None = None

    def weight(self) -> Float[Tensor, "K T"]:
        return self.samples.scale[:, None] * self.solution.double()

    def left_out(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Float[Tensor, "b s T"]]]:
        samples, share = self.samples, 1 / len(self.samples)
        for rows in (part for batch in batches for part in batch.split(max(1, BLOCK // batch.shape[1]))):
            x = samples.standard(samples.features[rows.flatten()])
            residual = samples.columns[rows] - (x @ self.solution).unflatten(0, rows.shape)
            u = torch.linalg.solve_triangular(self.factor, x.T, upper=False).T.unflatten(0, rows.shape)
            if rows.shape[1] == 1:
                yield rows, residual / (1 - share - u.square().sum(2, keepdim=True))
            else:
                inner = torch.eye(rows.shape[1]).to(x) - u @ u.mT - share
                yield rows, torch.linalg.solve(inner, residual)

    def predict(self, q: Tensor, own: Tensor, same: Tensor | None, residuals: Tensor) -> Float[Tensor, "M T"]:
        samples, share, p = self.samples, 1 / len(self.samples), self._solved(q)
        if same is None:
            x = samples.standard(samples.features[own])
            correction = ((x * p).sum(1, keepdim=True) + share) * residuals[own]
        else:
            couplings = torch.cat([p @ samples.standard(block).T for block in samples.features.split(BLOCK)], dim=1)
            correction = torch.where(same, couplings + share, 0.0) @ residuals
        return q @ self.solution - correction

    def _solved(self, x: Float[Tensor, "B K"]) -> Float[Tensor, "B K"]:
        """Rows G^-1 x."""
        if self._inverse is None:
            self._inverse = torch.cholesky_inverse(self.factor)
        return x @ self._inverse


class _Dual:
    """The system in N rows, for more features than rows."""

    def __init__(self, samples: _Samples) -> None:
        self.samples, self.x = samples, samples.standard(samples.features)
        self.kernel = self.x @ self.x.T
        self.unit = float(self.kernel.trace()) / self.x.shape[1] or 1.0
        self.condition = _largest(self.kernel) / self.unit
        # c of the module's text: of the size of the largest eigenvalues, so that ones don't disturb the others.
        self.ones = float(self.kernel.diagonal().mean()) or 1.0

    def fit(self, alpha: float) -> _DualFit:
        return _DualFit(self, alpha)


class _DualFit:
    def __init__(self, system: _Dual, alpha: float) -> None:
        self.samples, self.x, self.alpha, count = system.samples, system.x, alpha, len(system.kernel)
        shift = alpha * system.unit
        self.least = 1 / (count * (shift + system.ones))
        self.factor = _factor(system.kernel + system.ones / count, shift)
        self.solution = torch.cholesky_solve(self.samples.columns, self.factor)
        self._inverse: Tensor | None = None

    def weight(self) -> Float[Tensor, "K T"]:
        return self.samples.scale[:, None] * (self.x.T @ self.solution).double()

    def left_out(self, batches: list[Tensor]) -> Iterator[tuple[Tensor, Float[Tensor, "b s T"]]]:
        rows, count = torch.cat([batch.flatten() for batch in batches]), len(self.factor)
        places = torch.arange(count, device=rows.device)
        if len(rows) == count:
            columns = self._whole_inverse()
        else:
            columns = self.factor.new_zeros(count, len(rows))
            columns[rows, places[: len(rows)]] = 1
            columns = torch.cholesky_solve(columns, self.factor)
            places = torch.empty_like(places).scatter_(0, rows, places[: len(rows)])
        for batch in batches:
            inner = columns[batch[:, :, None], places[batch][:, None, :]] - self.least
            yield batch, torch.linalg.solve(inner, self.solution[batch])

    def predict(self, q: Tensor, own: Tensor, same: Tensor | None, residuals: Tensor) -> Float[Tensor, "M T"]:
        products, count = q @ self.x.T, len(self.factor)
        inverse = self._whole_inverse()
        if same is None:
            correction = ((products * inverse[own]).sum(1, keepdim=True) + 1 / count) * residuals[own]
        else:
            correction = torch.where(same, products @ inverse + 1 / count, 0.0) @ residuals
        return products @ self.solution - correction

    def _whole_inverse(self) -> Tensor:
        if self._inverse is None:
            self._inverse = torch.cholesky_inverse(self.factor)
        return self._inverse


def _system(features: Tensor, columns: Tensor, dtype: torch.dtype) -> _Primal | _Dual:
    dual = features.shape[1] > DUAL * len(features)
    return (_Dual if dual else _Primal)(_Samples(features, columns, dtype))


def _chosen(
    features: Tensor, columns: Tensor, alpha: float | None, groups: Tensor, dtype: torch.dtype
) -> _PrimalFit | _DualFit:
    """The fit with the given penalty, or with the one of the smallest leave-one-out error, found by going downhill."""
    systems = _Systems(features, columns, dtype)
    batches = _batches(groups, JUDGED)
    if alpha is not None or not batches:
        return systems.fit(ALPHAS[FIRST] if alpha is None else alpha)
    power = columns.square().sum(0)
    weights = torch.where(power > 0, power, 1.0)
    fits: dict[int, tuple[float, _PrimalFit | _DualFit]] = {}

    def error(place: int) -> float:
        if not 0 <= place < len(ALPHAS):
            return float("inf")
        if place not in fits:
            fit = systems.fit(ALPHAS[place])
            fits[place] = (
                float(sum((v.double().square().sum((0, 1)) / weights).sum() for _, v in fit.left_out(batches))),
                fit,
            )
        return fits[place][0]

    best, step = FIRST, 1 if error(FIRST + 1) < error(FIRST) else -1
    while error(best + step) < error(best):
        best += step
    return fits[best][1]


class _Systems:
    """The system in single precision for penalties at which that leaves it three digits, else in double precision."""

    def __init__(self, features: Tensor, columns: Tensor, dtype: torch.dtype) -> None:
        self.features, self.columns = features, columns
        self.single = _system(features, columns, dtype) if dtype == torch.float32 else None
        self.double: _Primal | _Dual | None = None

    def fit(self, alpha: float) -> _PrimalFit | _DualFit:
        if self.single is not None and torch.finfo(torch.float32).eps * self.single.condition / alpha <= SINGLE:
            return self.single.fit(alpha)
        if self.double is None:
            self.double = _system(self.features, self.columns, torch.float64)
        return self.double.fit(alpha)


def _largest(matrix: Float[Tensor, "n n"]) -> float:
    """Largest eigenvalue, from below, by powers of a vector."""
    vector = matrix.diagonal().sqrt()
    for _ in range(POWERS):
        norm = vector.norm()
        vector = matrix @ (vector / torch.where(norm > 0, norm, 1))
    return float(vector.norm())


def _batches(groups: Int[Tensor, "N"], limit: int | None = None) -> list[Int[Tensor, "b s"]]:
    """Rows of each group, groups of one size together; with a limit, of as many groups as hold so many rows.

    A group that holds every row is left out.
    """
    order = groups.argsort(stable=True)
    sizes = groups[order].unique_consecutive(return_counts=True)[1]
    starts = sizes.cumsum(0) - sizes
    if limit is not None:
        spread = torch.arange(0, len(sizes), max(1, -(-len(groups) // limit)), device=sizes.device)
        sizes, starts = sizes[spread], starts[spread]
    found = [size for size in sizes.unique().tolist() if size < len(groups)]
    return [order[starts[sizes == size][:, None] + torch.arange(size, device=order.device)] for size in found]


def _factor(matrix: Tensor, shift: float) -> Tensor:
    matrix = matrix.clone()
    matrix.diagonal().add_(shift)
    factor, info = torch.linalg.cholesky_ex(matrix)
    if int(info):
        raise ValueError(
            f"Expected a positive definite system but rounding broke it at column {int(info)}; raise alpha."
        )
    return factor


def _checked(alpha: float | None) -> float | None:
    if alpha is not None and not alpha > 0:
        raise ValueError(f"Expected alpha above 0 but got {alpha}; leave it out to have it chosen.")
    return alpha


def _columns(targets: Tensor) -> tuple[Float[Tensor, "N T"], Tensor | None]:
    if targets.is_floating_point():
        return targets.reshape(len(targets), -1).double(), None
    classes, inverse = targets.unique(return_inverse=True)
    return torch.nn.functional.one_hot(inverse, len(classes)).double(), classes
