"""Probes of values, fitted on features of a bank and asked about features of queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.probes import knn_predict, ridge_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

ALPHAS = (1e-8, 1e-6, 1e-4, 1e-2)
"""Penalties of the ridge, of which the best on a fifth of the bank is taken."""
WIDTHS, PENALTIES, JUDGED = (1.0, 3.0, 10.0), (1e-8, 1e-6, 1e-4, 1e-2), 1000
"""Widths of the kernel, over the median distance of the bank, and penalties; the best pair is chosen on so many rows,
a fifth of them left out."""
NEIGHBOURS, TREES = 5, 100


def ridge_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N *T"], queries: Sequence[Float[Tensor, "M K"]]
) -> list[Float[Tensor, "M *T"]]:
    """Ridge regression with a penalty chosen inside the bank for each target, in float64."""
    bank, targets = bank.double(), y.double().reshape(len(y), -1)
    held, found = len(bank) // 5, [targets.new_empty(len(rows), targets.shape[1]) for rows in queries]
    models = (ridge_fit(bank[held:], targets[held:], alpha=alpha) for alpha in ALPHAS)
    errors = torch.stack([(model.predict(bank[:held]) - targets[:held]).abs().mean(dim=0) for model in models])
    for choice in errors.argmin(dim=0).unique().tolist():
        columns = errors.argmin(dim=0) == choice
        model = ridge_fit(bank, targets[:, columns], alpha=ALPHAS[choice])
        for values, rows in zip(found, queries, strict=True):
            values[:, columns] = model.predict(rows.double())
    return [values.reshape(-1, *y.shape[1:]) for values in found]


def kernel_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N T"], queries: Float[Tensor, "M K"]
) -> Float[Tensor, "M T"]:
    """Kernel ridge regression, exp(-|x - x'|^2 / (2 w^2)), width and penalty chosen inside the bank, in float64.

    Args:
        bank: Features that are scaled alike.
        y: Targets.
        queries: Features of others.
    """
    bank, y, queries = bank.double(), y.double(), queries.double()
    mean, some = y.mean(dim=0), min(JUDGED, len(bank))
    held = some // 5
    apart, asked = (torch.cdist(rows, bank).square() for rows in (bank, queries))
    unit = apart[:some, :some].median()
    settings, errors = [(width, penalty) for width in WIDTHS for penalty in PENALTIES], []
    for width, penalty in settings:
        kernel = (-apart[:some, held:some] / (2 * width**2 * unit)).exp()
        weights = _solved(kernel[held:], y[held:some] - mean, penalty)
        errors.append((kernel[:held] @ weights + mean - y[:held]).abs().mean(dim=0))
    best, found = torch.stack(errors).argmin(dim=0), torch.empty(len(queries), y.shape[1], dtype=y.dtype)
    for choice in best.unique().tolist():
        (width, penalty), columns = settings[choice], best == choice
        weights = _solved((-apart / (2 * width**2 * unit)).exp(), (y - mean)[:, columns], penalty)
        found[:, columns] = (-asked / (2 * width**2 * unit)).exp() @ weights + mean[columns]
    return found


def _solved(kernel: Float[Tensor, "N N"], y: Float[Tensor, "N T"], penalty: float) -> Float[Tensor, "N T"]:
    return torch.cholesky_solve(y, torch.linalg.cholesky(kernel + penalty * torch.eye(len(kernel), dtype=kernel.dtype)))


def knn_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]]
) -> list[Float[Tensor, "M"]]:
    """Means of the 5 nearest neighbours."""
    return [knn_predict(bank, y, rows, k=NEIGHBOURS) for rows in queries]


def forest_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]], seed: int
) -> list[Float[Tensor, "M"]]:
    """A random forest of 100 trees."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(TREES, random_state=seed, n_jobs=1, min_samples_leaf=2, max_features=0.5)
    model.fit(bank.double().numpy(), y.double().numpy())
    return [torch.as_tensor(model.predict(rows.double().numpy())) for rows in queries]
