"""Whether a smooth invariant map tells generic orbits apart up to finitely many, by the rank of its Jacobian."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

RANK_TOLERANCE = 1e-9
"""Singular values below this share of the largest count as zero; float64 leaves about 1e-14."""


def jacobian_rank(project: Callable[[Tensor], Tensor], point: Float[Tensor, " D"]) -> int:
    """Rank of the Jacobian of a map of single latents.

    Where the rank at one latent is D minus the dimension of its orbit, it is so at almost all latents, for a map that
    is algebraic; then almost every latent shares its features with finitely many orbits at most.

    Args:
        project: Map from (B, D) to (B, K).
        point: Where to differentiate, float64.

    Returns:
        Between 0 and min(D, K).
    """
    jacobian = torch.func.jacrev(lambda z: project(z[None])[0])(point)
    values = torch.linalg.svdvals(jacobian)
    return int((values > RANK_TOLERANCE * values.max()).sum()) if values.numel() else 0
