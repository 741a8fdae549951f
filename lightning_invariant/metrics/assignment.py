"""Matching points to points so that the sum of their products is largest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def best_orders(products: Tensor) -> Tensor:
    """The permutation of each table (P, n, n) that collects the largest sum.

    Returns:
        Elements of S_n, (P, n) on the CPU: the point of the columns' side at place j moves to place `order[j]`.

    Raises:
        ImportError: SciPy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError(
            'Expected SciPy, to match points to points; pip install "lightning-invariant[checks]".'
        ) from error
    columns = [linear_sum_assignment(table, maximize=True)[1] for table in products.cpu().numpy()]
    return torch.stack([torch.from_numpy(c) for c in columns]).argsort(dim=1) if columns else torch.empty(0, 0).long()
