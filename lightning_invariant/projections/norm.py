"""The norm: the isometric cross section of one vector under rotations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.single_term import single_term

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class Norm(Projection):
    """|z| of one vector.

    Guarantee:
        Isometric: the group moves a vector to every direction, so the nearest point of an orbit lies on the same ray.

    Args:
        representation: Of O(d) or SO(d) on one vector: "O3: 1 vectors", "SO3: 1x1", "SO2: 1x3"; trivial terms
            may stand beside it and are kept.

    Raises:
        GroupError: Another representation.

    Source:
        The two lines under Guarantee.

    Example:
        >>> import torch
        >>> Norm("SO2: 1x1")(torch.tensor([[3.0, 4.0]])).tolist()
        [[5.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        self.term = single_term(
            self.representation,
            _reaches_every_direction,
            expected="one vector, such as 'O3: 1 vectors'",
            remedy="use GramRoot for several vectors, PhaseInvariants or SphericalBispectrum for irreps",
        )
        self.out_features = self.representation.size - self.representation.blocks[self.term].size + 1
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable="except at zero",
            source="proof in the docstring of Norm",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The norm; its gradient at zero is zero."""
        where = self.representation.slices[self.term]
        norm = torch.linalg.vector_norm(z[:, where], dim=-1, keepdim=True)
        return torch.cat([z[:, : where.start], norm, z[:, where.stop :]], dim=1)


def _reaches_every_direction(block: Block) -> bool:
    if block.copies != 1:
        return False
    if isinstance(block, Vectors):
        return isinstance(block.group, Orthogonal)
    return (isinstance(block, FrequencyIrrep) and block.frequency > 0) or (
        isinstance(block, DegreeIrrep) and block.degree == 1
    )
