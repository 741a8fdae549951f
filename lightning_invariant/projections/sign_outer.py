"""v v^T / |v|: numbers that share a sign."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.finite_blocks import SignPattern
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.homogeneous import direction_and_norm
from lightning_invariant.projections.joint import _JointInvariants
from lightning_invariant.projections.upper_triangle import UpperTriangle

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class SignOuter(_JointInvariants):
    """f = upper triangle of v v^T / |v| for the numbers v (m) that share a sign, for each sign, Frobenius norm kept.

    Guarantee:
        With c = |<v, w>| / (|v| |w|) in [0, 1] the squared orbit distance is |v|^2 + |w|^2 - 2 |v| |w| c, that of the
        features has c^2 for c; so features are never closer, and the ratio is largest for |v| = |w|, where its square
        is 1 + c <= 2. Signs act apart from each other, so the bounds hold for the sum: distortion at most sqrt(2). One
        number a sign gives |v|, which is isometric.

    Args:
        representation: Of Z2^n on signs, "Z2: 16 signs" or "Z2^5: 4 signs"; trivial terms may stand beside them and
            are kept.

    Raises:
        GroupError: Another representation.

    Source:
        The outer product after Lim et al. 2022 (2202.13013), the division by the norm and the proof above.

    Example:
        >>> import torch
        >>> SignOuter("Z2: 2 signs")(torch.tensor([[3.0, -4.0]]).double()).round(decimals=3).tolist()
        [[1.8, -3.394, 3.2]]
    """

    expected = "signs, such as 'Z2: 16 signs'"
    remedy = "use MaxFilter or SortedCoorbits for other finite groups"

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        self.signs = self.moving[0][1].dim
        self.m = sum(block.copies for _, block in self.moving)
        self.triangle = UpperTriangle(self.m)
        self.out_features = self.signs * self.triangle.size + self.fixed_size
        bound = 1.0 if self.m == 1 else math.sqrt(2)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC if self.m == 1 else Separation.BILIPSCHITZ,
            lipschitz=bound,
            distortion=bound,
            differentiable="where no v is zero",
            source="proof in the docstring of SignOuter; Lim et al. 2022, 2202.13013",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        return isinstance(block, SignPattern)

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Outer products, sign by sign."""
        v = torch.cat(parts, dim=1).mT
        unit, norm = direction_and_norm(v)
        return (self.triangle(unit[..., :, None] * unit[..., None, :]) * norm).flatten(1)
