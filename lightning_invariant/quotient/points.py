"""S_n on points: a linear assignment of the points of one set to those of the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.quotient.found import Found, Masks, exactly, moved_parts, visible_matches

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation


def assign_points(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None) -> Found:
    """Return the best permutation for paired rows (P, D); numbers, one a point, are sorted."""
    x, y = (torch.cat(moved_parts(representation, side), dim=-1) for side in (z, w))
    if x.shape[-1] == 1 and masks is None:
        place = torch.empty(x.shape[:2], dtype=torch.int64, device=x.device)
        place.scatter_(1, y[..., 0].argsort(dim=1), x[..., 0].argsort(dim=1))
        return exactly(place)
    return exactly(best_orders(x @ y.mT + visible_matches(masks)))


def best_orders(products: Tensor) -> Tensor:
    """Return the permutation of each table (P, n, n) that collects the largest sum.

    Returns:
        Elements of S_n, (P, n): the point of the columns' side at place j moves to place `order[j]`.

    Raises:
        ImportError: SciPy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError(
            'Expected SciPy, to match points to points; pip install "lightning-invariant[checks]".'
        ) from error
    tables = products.cpu().numpy()
    columns = [torch.from_numpy(linear_sum_assignment(table, maximize=True)[1]) for table in tables]
    found = torch.stack(columns) if columns else torch.zeros(products.shape[:2], dtype=torch.int64)
    return found.argsort(dim=1).to(products.device)
