"""Positions of points by UMAP, for who asks for it."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

NEIGHBOURS = 15


def require_umap() -> None:
    """Check that umap-learn is installed, without the seconds that importing it takes.

    Raises:
        InvariantError: It is not installed.
    """
    if sys.modules.get("umap", "") is None or importlib.util.find_spec("umap") is None:
        raise InvariantError(
            'Expected umap-learn for this figure but it is not installed; pip install "lightning-invariant[umap]".'
        )


def umap_positions(points: Float[Tensor, "N D"], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return two coordinates a point, the same for one seed; global random states and torch's threads are left alone.

    Args:
        points: Shape (N, D).
        seed: Seed of the layout.

    Returns:
        Coordinates (n, 2) of the finite rows, and which rows (N,) were finite.

    Raises:
        InvariantError: If umap-learn is not installed.

    Source:
        McInnes, Healy and Melville 2018 (arXiv 1802.03426).
    """
    require_umap()
    from umap import UMAP  # pyright: ignore[reportMissingImports]

    values = points.detach().float().cpu()
    finite = torch.isfinite(values).all(dim=1)
    rows = values[finite].numpy()
    if len(rows) <= 3:  # too few for a graph of neighbours
        return np.pad(rows[:, :2], ((0, 0), (0, max(0, 2 - rows.shape[1])))), finite.numpy()
    state, threads = np.random.get_state(), torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a seed leaves one thread only, and that copies make zero distances
            layout = UMAP(n_neighbors=min(NEIGHBOURS, len(rows) - 1), random_state=seed, init="random", n_jobs=1)
            return np.asarray(layout.fit_transform(rows)), finite.numpy()
    finally:
        np.random.set_state(state)
        # numba has given OpenMP, and so torch, as many threads as there are cores.
        torch.set_num_threads(threads)
