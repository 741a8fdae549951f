"""How many dimensions features use, and whether they have collapsed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def effective_rank(f: Float[Tensor, "B K"]) -> float:
    """Exp of the entropy of the singular values' shares, after centring; from 1 to min(B - 1, K), 0 if all are equal.

    Bounded by the number of samples and features: compare only the same projection on as many samples.

    Args:
        f: Features.

    Raises:
        ValueError: Fewer than 2 samples or not (B, K).

    Source:
        RankMe, Garrido et al. 2023 (2210.02885), equation 1; the centring is ours, for a common offset hides the rank.

    Example:
        >>> round(effective_rank(torch.cat([torch.eye(3), -torch.eye(3)])), 6)
        3.0
    """
    f = _checked(f)
    x = f - f.mean(dim=0)
    # The smaller Gram matrix in float64: several times faster than the singular values of x, and what the squares
    # lose is below the rounding of float32 features.
    values = torch.linalg.eigvalsh(x @ x.mT if len(x) < x.shape[1] else x.mT @ x).clamp_min(0).sqrt()
    if values[-1] <= 8 * torch.finfo(torch.float32).eps * f.norm():
        return 0.0
    shares = values / values.sum()
    return torch.special.entr(shares).sum().exp().item()


def collapse(f: Float[Tensor, "B K"]) -> float:
    """How much of the features is one common point: 1 if all are equal, 0 if they scatter about the origin.

    1 - sqrt(total variance / mean ||f||^2). Features that are never negative have a large common part by nature: watch
    the change.

    Args:
        f: Features.

    Raises:
        ValueError: Fewer than 2 samples or not (B, K).

    Example:
        >>> collapse(torch.ones(4, 3)), collapse(torch.tensor([[1.0], [-1.0]]))
        (1.0, 0.0)
    """
    f = _checked(f)
    power = f.square().sum(dim=1).mean()
    scatter = (f - f.mean(dim=0)).square().sum(dim=1).mean()
    return 1.0 - (scatter / power).sqrt().item() if power > 0 else 1.0


def _checked(f: Tensor) -> Tensor:
    if f.dim() != 2 or len(f) < 2:
        raise ValueError(f"Expected features (B, K) of at least 2 samples but got shape {tuple(f.shape)}.")
    return f.double()
