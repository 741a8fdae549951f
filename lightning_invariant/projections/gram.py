"""Gram matrix: all products of vectors that rotations and reflections turn together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.pseudoscalars import pseudoscalars
from lightning_invariant.projections.vectors import _VectorInvariants

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Gram(_VectorInvariants):
    """f = upper triangle of X X^T for n vectors, the rows of X (n, d), with the Frobenius norm of the whole matrix.

    Under SO(d) with n >= d, d (n - d) + 1 determinants of random combinations follow.

    Guarantee:
        Injective: X X^T = Y Y^T exactly when Y = X g with g in O(d). Under SO(d) a mirror image has the determinants'
        signs reversed, which some template sees for almost all templates; if n < d a reflection fixes the span, so
        mirror images are rotations. Quadratic, hence not Lipschitz, and differences near zero vectors vanish.

    Args:
        representation: Of O(d) or SO(d) on vectors, "O3: 12 vectors", "SO3: 12x1"; trivial terms may stand beside
            them and are kept.
        seed: Seed of the determinants' templates.

    Raises:
        GroupError: Another representation.

    Source:
        Cahill, Iverson and Mixon 2024 (2409.06829) for what it does to distances.

    Example:
        >>> import torch
        >>> Gram("O2: 2 vectors")(torch.tensor([[[1.0, 0.0], [3.0, 4.0]]]).double()).round(decimals=3).tolist()
        [[1.0, 4.243, 25.0]]
    """

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation, seed)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.INJECTIVE,
            source="2409.06829",
            note="Not Lipschitz." + (" For almost all templates." if len(self.templates) else ""),
        )

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Products, then determinants."""
        x = torch.cat(parts, dim=1)
        return torch.cat([self.triangle(x @ x.mT), pseudoscalars(x, self.templates)], dim=1)
