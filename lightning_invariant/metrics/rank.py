"""How many dimensions features use, and whether they have collapsed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Spectrum(NamedTuple):
    """What the variances along the principal directions say.

    Args:
        rank: Effective rank, from 1 to min(B - 1, K); 0 if all features are equal.
        collapse: Share of the variance along the first direction; 1 if all features are equal.
    """

    rank: float
    collapse: float


def spectrum(f: Float[Tensor, "B K"]) -> Spectrum:
    """Return the effective rank and collapse of features, from one decomposition.

    Args:
        f: Features.

    Raises:
        ValueError: Fewer than 2 samples or not (B, K).
    """
    if f.dim() != 2 or len(f) < 2:
        raise ValueError(f"Expected features (B, K) of at least 2 samples but got shape {tuple(f.shape)}.")
    f = f.double()
    x = f - f.mean(dim=0)
    # The smaller Gram matrix in float64: several times faster than the singular values of x, and what the squares
    # lose is below the rounding of float32 features.
    variances = torch.linalg.eigvalsh(x @ x.mT if len(x) < x.shape[1] else x.mT @ x).clamp_min(0)
    values = variances.sqrt()
    if values[-1] <= 8 * torch.finfo(torch.float32).eps * f.norm():
        return Spectrum(0.0, 1.0)
    rank = torch.special.entr(values / values.sum()).sum().exp().item()
    return Spectrum(rank, (variances[-1] / variances.sum()).item())


def effective_rank(f: Float[Tensor, "B K"]) -> float:
    """Return exp of the entropy of singular values' shares, after centring: up to min(B - 1, K), 0 if all are equal.

    Bounded by the number of samples and features: compare only the same projection on as many samples.

    Args:
        f: Features.

    Raises:
        ValueError: Fewer than 2 samples or not (B, K).

    References:
        RankMe, Garrido et al. 2023 (2210.02885), equation 1; the centring is ours, for a common offset hides the rank.

    Example:
        >>> round(effective_rank(torch.cat([torch.eye(3), -torch.eye(3)])), 6)
        3.0
    """
    return spectrum(f).rank


def collapse(f: Float[Tensor, "B K"]) -> float:
    """Return the share of variance along one direction, after centring: 1 if all features are on a line, or equal.

    A common offset does not count. At least 1 / K; always 1 for a single feature.

    Args:
        f: Features.

    Raises:
        ValueError: Fewer than 2 samples or not (B, K).

    Example:
        >>> collapse(torch.ones(4, 3)), round(collapse(torch.cat([torch.eye(2), -torch.eye(2)]) + 100), 6)
        (1.0, 0.5)
    """
    return spectrum(f).collapse
