"""Absolute values: the isometric cross section of independent signs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.finite_blocks import SignPattern
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.joint import single_term
from lightning_invariant.projections.base.projection import Projection

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Absolute(Projection):
    """|z|, number by number.

    Args:
        representation: Of Z2^n on n numbers, "Z2^5: signs"; trivial terms may stand beside it and are kept.

    Raises:
        GroupError: Another representation, such as several numbers that share a sign.

    Note:
        Isometric: each sign is free, so min over signs of |z - s w| is | |z| - |w| | in every number by itself.

    References:
        The two lines under Note.

    Example:
        >>> import torch
        >>> Absolute("Z2^3: signs")(torch.tensor([[2.0, -3.0, -1.0]])).tolist()
        [[2.0, 3.0, 1.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        self.term = single_term(
            self.representation,
            lambda block: isinstance(block, SignPattern) and block.copies == 1,
            expected="one number a sign, such as 'Z2^5: signs'",
            remedy="use MaxFilter or SortedCoorbits where numbers share a sign",
        )
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable="where no number is zero",
            source="proof in the docstring of Absolute",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Absolute values."""
        where = self.representation.slices[self.term]
        return torch.cat([z[:, : where.start], z[:, where].abs(), z[:, where.stop :]], dim=1)
