"""Random templates that a recorded seed gives back bit for bit."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float
    from torch import Tensor


_STORED: ContextVar[bool] = ContextVar("templates come from a file", default=False)


@contextmanager
def stored_templates(stored: bool = True) -> Iterator[None]:
    """Build projections whose templates are loaded afterwards: inside, none is drawn or evened out.

    Args:
        stored: False where templates are drawn all the same, since a guarantee is measured with them.
    """
    token = _STORED.set(stored)
    try:
        yield
    finally:
        _STORED.reset(token)


def templates_are_stored() -> bool:
    """Whether templates are loaded afterwards."""
    return _STORED.get()


def unit_templates(count: int, size: int, seed: int) -> Float[Tensor, "k D"]:
    """Independent uniform unit vectors; their distribution is the same in every orthonormal basis.

    Args:
        count: How many, at least 1.
        size: Numbers in each, at least 1.
        seed: Seed of a generator of their own; the global one is not touched.

    Returns:
        Float32 on the CPU, drawn in float64; zeros inside `stored_templates`.

    Raises:
        ValueError: count or size is below 1.

    Example:
        >>> unit_templates(3, 8, seed=0).norm(dim=1).round(decimals=4).tolist()
        [1.0, 1.0, 1.0]
    """
    if count < 1 or size < 1:
        raise ValueError(f"Expected at least one template of at least one number but got {count} of {size}.")
    generator = torch.Generator().manual_seed(seed)
    if templates_are_stored():
        return torch.zeros(count, size)
    templates = torch.randn(count, size, dtype=torch.float64, generator=generator)
    return (templates / templates.norm(dim=1, keepdim=True)).float()


def tight_frame(d: int, columns: int, seed: int) -> Float[Tensor, "d columns"]:
    """Random directions as columns, with operator norm 1: orthonormal rows if there are at least d, else columns.

    Args:
        d: Numbers in each, at least 1.
        columns: How many, at least 1.
        seed: Seed of a generator of their own.

    Returns:
        Float32 on the CPU, drawn in float64.

    Example:
        >>> frame = tight_frame(2, 5, seed=0)
        >>> torch.allclose(frame @ frame.mT, torch.eye(2), atol=1e-6)
        True
    """
    gaussian = torch.randn(columns, d, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if d == 1:
        return torch.full((1, columns), columns**-0.5)
    if columns < d:
        return torch.linalg.qr(gaussian.mT)[0].float()
    return torch.linalg.qr(gaussian)[0].mT.contiguous().float()
