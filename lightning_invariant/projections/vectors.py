"""The base of maps on several vectors of one space, turned together by O(d) or SO(d)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.projections.joint import _JointInvariants
from lightning_invariant.projections.pseudoscalars import pseudoscalar_templates
from lightning_invariant.projections.upper_triangle import UpperTriangle

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class _VectorInvariants(_JointInvariants):
    """n vectors of R^d as the rows of X, from "12 vectors", irreps of frequency 1 or (odd) degree 1.

    Under SO(d) with n >= d the features end with determinants, which see mirror images; otherwise there are none.
    """

    expected = "vectors of O(d) or SO(d), such as 'O3: 12 vectors' or 'SO3: 12x1'"
    remedy = "use PhaseInvariants or SphericalBispectrum for other irreps"

    templates: Tensor

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation)
        group = self.representation.group
        self.n, self.d = sum(block.copies for _, block in self.moving), self.moving[0][1].dim
        self.seed, self.triangle = seed, UpperTriangle(self.n)
        special = isinstance(group, Orthogonal) and group.special
        chiral = pseudoscalar_templates(self.n, self.d, seed) if special else torch.zeros(0, self.n, self.d)
        self.register_buffer("templates", chiral)
        self.out_features = self.triangle.size + len(chiral) + self.fixed_size

    @staticmethod
    def _fits(block: Block) -> bool:
        if isinstance(block, Vectors):
            return isinstance(block.group, Orthogonal)
        if isinstance(block, DegreeIrrep):
            return block.degree == 1 and block.parity != 1
        return isinstance(block, FrequencyIrrep) and block.frequency == 1

    @property
    def settings(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}
