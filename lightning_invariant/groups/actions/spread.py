"""The scale against which errors are measured: the mean distance between different samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ALL_PAIRS = 256
"""Up to this many rows every pair is measured; beyond it each row is paired with 64 others."""


def mean_distance(x: Float[Tensor, "B *shape"]) -> float:
    """Mean Euclidean distance between different rows.

    An error divided by it has no unit, and a network that maps everything to one point cannot look good.

    Args:
        x: At least 2 samples in any layout.

    Returns:
        The mean over all pairs; for more than 256 rows over the pairs that stand 1 to 64 strides apart.

    Raises:
        ValueError: Fewer than 2 samples.

    Example:
        >>> mean_distance(torch.tensor([[0.0], [1.0], [2.0]]))
        1.33...
    """
    rows = x.reshape(len(x), -1).to(torch.promote_types(x.dtype, torch.float32))
    if len(rows) < 2:
        raise ValueError(f"Expected at least 2 samples to measure distances between but got {len(rows)}.")
    if len(rows) <= ALL_PAIRS:
        return torch.nn.functional.pdist(rows).mean().item()
    stride = len(rows) // 65
    gaps = [(rows - rows.roll(step * stride, dims=0)).norm(dim=1).mean() for step in range(1, 65)]
    return torch.stack(gaps).mean().item()
