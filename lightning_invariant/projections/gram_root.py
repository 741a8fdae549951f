"""Root of the Gram matrix: the bi-Lipschitz invariant of vectors that rotations and reflections turn together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.homogeneous import direction_and_norm
from lightning_invariant.projections.pseudoscalars import pseudoscalars
from lightning_invariant.projections.vectors import _VectorInvariants

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class GramRoot(_VectorInvariants):
    """f = upper triangle of (X X^T)^(1/2) for n vectors, the rows of X (n, d), with the matrix's Frobenius norm.

    Under SO(d) with n >= d, d (n - d) + 1 determinants of random combinations follow, divided by |X|^(d - 1).

    Guarantee:
        O(d), and SO(d) with n < d: sqrt(2)-Lipschitz, and never shorter than the orbit distance, so the distortion is
        at most sqrt(2); one vector gives its norm, which is isometric. SO(d) with n >= d: injective for almost all
        templates and Lipschitz, but near configurations of rank d - 2 mirror images come too close for a bound.
        Not differentiable where X has rank below min(n, d); the gradient returned there is finite. Second derivatives
        are not given.

    Args:
        representation: Of O(d) or SO(d) on vectors, "O3: 12 vectors", "SO3: 12x1"; trivial terms may stand beside
            them and are kept.
        seed: Seed of the determinants' templates.

    Raises:
        GroupError: Another representation.

    Note:
        The singular value decomposition waits for the device on CUDA.

    Source:
        Cahill, Iverson and Mixon 2024 (2409.06829).

    Example:
        >>> import torch
        >>> GramRoot("O2: 2 vectors")(torch.tensor([[[0.0, 2.0], [3.0, 0.0]]]).double()).round(decimals=3).tolist()
        [[2.0, 0.0, 3.0]]
    """

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation, seed)
        mirrored = len(self.templates) > 0
        bound = None if mirrored else 1.0 if self.n == 1 else math.sqrt(2)
        bounded = Separation.ISOMETRIC if self.n == 1 else Separation.BILIPSCHITZ
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.INJECTIVE if mirrored else bounded,
            lipschitz=bound,
            distortion=bound,
            differentiable="where the vectors span as much as they can",
            source="2409.06829",
            note="Lipschitz; for almost all templates." if mirrored else "",
        )

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """The root, then scaled determinants."""
        x = torch.cat(parts, dim=1)
        unit, norm = direction_and_norm(x, dims=(1, 2))
        return torch.cat([self.triangle(gram_root(x)), pseudoscalars(unit, self.templates) * norm[:, 0]], dim=1)


def gram_root(x: Float[Tensor, "B n d"]) -> Float[Tensor, "B n n"]:
    """(X X^T)^(1/2), with gradients that stay finite where singular values vanish or coincide.

    With X = U S W^T and N = U^T X W, the root P solves P dP + dP P = d(X X^T), hence
    U^T dP U = (N_ij s_j + N_ji s_i) / (s_i + s_j) at dX in the place of X. P is homogeneous of degree 1, so the same
    formula at X itself gives P: the factors U, S, W are held constant and the value and its gradient are both exact.

    Args:
        x: Vectors as rows. Rows of the batch that are not finite give NaN.

    Returns:
        Symmetric positive semidefinite matrices.
    """
    fine = x.detach().isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    x = torch.where(fine, x, torch.zeros_like(x))
    u, s, wt = torch.linalg.svd(x.detach(), full_matrices=False)
    moved = x @ wt.mT
    inner = u.mT @ moved
    total = s[:, :, None] + s[:, None, :]
    share = torch.where(total > 0, s[:, None, :] / torch.where(total > 0, total, torch.ones_like(total)), 0.0)
    seen = (s > s[:, :1] * torch.finfo(s.dtype).eps * max(x.shape[1:])).to(x)
    half = (u @ (share * inner) + (moved - u @ inner) * seen[:, None, :]) @ u.mT
    return torch.where(fine, half + half.mT, torch.nan)
