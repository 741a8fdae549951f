"""Which rows to show when there are more than a page can hold."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN_RATIO = 0.6180339887498949


def spread_rows(count: int, limit: int) -> Tensor:
    """Return at most `limit` of `count` row indices, spread evenly and always the same ones.

    Row `i` is taken when the fractional part of `i` times the golden ratio is among the smallest. A plain stride would
    follow every period in the data (classes in turn, an input and its moved copy in turn) and show one phase of it
    only; the golden ratio has no small period. No random number is drawn.

    Args:
        count: Number of rows, at least 0.
        limit: Most rows to take, at least 1.

    Returns:
        Sorted indices, shape (min(count, limit),), int64.

    Raises:
        ValueError: If `count` is negative or `limit` is less than 1.

    Source: Weyl's equidistribution of multiples of an irrational number.

    Example:
        >>> spread_rows(8, 4).tolist()
        [0, 2, 5, 7]
    """
    if count < 0 or limit < 1:
        raise ValueError(f"Expected count >= 0 and limit >= 1 but got count={count}, limit={limit}.")
    index = torch.arange(count)
    if count <= limit:
        return index
    phase = (index.double() * _GOLDEN_RATIO) % 1.0
    return torch.argsort(phase, stable=True)[:limit].sort().values
