"""Probes of values, fitted on features of a bank and asked about features of queries."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import torch

from lightning_invariant.probes import knn_predict, ridge_fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

ALPHAS = (1e-8, 1e-6, 1e-4, 1e-2)
"""Penalties of the ridge, of which the best on a fifth of the bank is taken."""
NEIGHBOURS, HIDDEN, EPOCHS, TREES = 5, 128, 40, 100


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


def mlp_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]], seed: int
) -> list[Float[Tensor, "M"]]:
    """One hidden layer of 128 units on features that are centred and divided by one number, so that angles stay.

    Scaling each column by itself would blow up those that hardly vary.
    """
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor
    from sklearn.preprocessing import StandardScaler

    centre = bank.mean(dim=0)
    spread = (bank - centre).std().clamp_min(torch.finfo(bank.dtype).tiny)
    network = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,), batch_size=min(128, len(bank)), max_iter=EPOCHS, random_state=seed
    )
    model = TransformedTargetRegressor(network, transformer=StandardScaler())
    with warnings.catch_warnings():
        # The number of epochs is fixed, so that all maps are given the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(((bank - centre) / spread).numpy(), y.double().numpy())
    return [torch.as_tensor(model.predict(((rows - centre) / spread).numpy())) for rows in queries]


def forest_predictions(
    bank: Float[Tensor, "N K"], y: Float[Tensor, "N"], queries: Sequence[Float[Tensor, "M K"]], seed: int
) -> list[Float[Tensor, "M"]]:
    """A random forest of 100 trees."""
    from sklearn.ensemble import RandomForestRegressor

    model = RandomForestRegressor(TREES, random_state=seed, n_jobs=1, min_samples_leaf=2, max_features=0.5)
    model.fit(bank.double().numpy(), y.double().numpy())
    return [torch.as_tensor(model.predict(rows.double().numpy())) for rows in queries]
