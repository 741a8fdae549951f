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
NEIGHBOURS, TREES = 5, 100


def ridge_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]]
) -> list[Float[Tensor, "M"]]:
    """Ridge regression with a penalty chosen inside the bank, in float64."""
    bank, y = bank.double(), y.double()
    held = len(bank) // 5
    errors = [(ridge_fit(bank[held:], y[held:], alpha=a).predict(bank[:held]) - y[:held]).abs().mean() for a in ALPHAS]
    model = ridge_fit(bank, y, alpha=ALPHAS[int(torch.stack(errors).argmin())])
    return [model.predict(rows.double()) for rows in queries]


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
