"""Masks of ragged sets: which points exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import LatentError

if TYPE_CHECKING:
    from torch import Tensor


def require_mask(mask: Tensor, batch: int, n: int, *, ragged: bool, name: str) -> None:
    """Refuse a mask that does not fit.

    Args:
        mask: Should be boolean of shape (batch, n), True at points that exist.
        batch: Number of sets.
        n: Most points of a set.
        ragged: Whether the projection takes masks.
        name: Of the projection.

    Raises:
        LatentError: Another dtype or shape, or a set without a point; the last is looked for on the CPU outside of
            graphs only.
        ValueError: The projection takes no masks.
    """
    if not ragged:
        raise ValueError(f"Expected no mask but got one; build {name} with ragged=True for sets of unlike size.")
    if mask.dtype != torch.bool or mask.shape != (batch, n):
        raise LatentError(
            f"Expected a boolean mask of shape ({batch}, {n}) but got {mask.dtype} {tuple(mask.shape)}; "
            "give True at points that exist."
        )
    # On an accelerator the answer would have to be waited for.
    if not torch.compiler.is_compiling() and mask.device.type == "cpu" and not bool(mask.any(dim=1).all()):
        hidden = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise LatentError(f"Expected a visible point in each set but got none in {hidden}; leave those sets out.")
