"""Sorting: the isometric cross section of one number a point under permutations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.single_term import single_term

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Sort(Projection):
    """The numbers of n points in ascending order.

    Guarantee:
        Isometric: by the rearrangement inequality sorting maximises <z, rho(g) w> over g, so
        |sort z - sort w| = min_g |z - rho(g) w|.

    Args:
        representation: Of S_n on one number a point, "S9: 9 points"; trivial terms may stand beside it and are kept.

    Raises:
        GroupError: Another representation.

    Source:
        Hardy, Littlewood and Polya 1934, theorem 368; Hansen, Calissano and Feragen 2024 (2401.12588) for a graph VAE.

    Example:
        >>> import torch
        >>> Sort("S3: 3 points")(torch.tensor([[2.0, 3.0, 1.0]])).tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        self.term = single_term(
            self.representation,
            lambda block: isinstance(block, Points) and block.copies == 1,
            expected="one number a point, such as 'S9: 9 points'",
            remedy="use PointSort where a point has several",
        )
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable="where all numbers differ",
            source="rearrangement inequality; Hansen et al. 2024, 2401.12588",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Ascending order."""
        where = self.representation.slices[self.term]
        return torch.cat([z[:, : where.start], z[:, where].sort(dim=-1).values, z[:, where.stop :]], dim=1)
