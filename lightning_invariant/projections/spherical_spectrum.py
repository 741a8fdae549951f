"""Spherical power spectrum: products of the channels of each degree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.homogeneous import direction_and_norm
from lightning_invariant.projections.joint import _JointInvariants
from lightning_invariant.projections.upper_triangle import UpperTriangle

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

Irrep = tuple[int, int]
"""Degree, and parity under the reflection of all axes: 1 or -1, always 1 for SO(3)."""


class SphericalPowerSpectrum(_JointInvariants):
    """f = <z_i, z_j> / |z| for all pairs of channels of the same degree and parity, |z| over all moving blocks.

    Guarantee:
        Lossy: each degree may be turned by a rotation of its own. Unlike norms of each channel it sees channels of
        one degree that are turned apart. Continuous, and Lipschitz as it is homogeneous.

    Args:
        representation: Of SO(3) or O(3) on irreps, "SO3: 8x0 + 4x1 + 2x2", vectors and "det"; trivial terms may stand
            beside them and are kept.

    Raises:
        GroupError: Another representation.

    Source:
        Kazhdan, Funkhouser and Rusinkiewicz 2003 for one channel; with all pairs it is a Gram matrix for each degree.

    Example:
        >>> import torch
        >>> P = SphericalPowerSpectrum("SO3: 1x1 + 1x2")
        >>> P(torch.tensor([[3.0, 0, 0, 0, 4, 0, 0, 0]]).double()).round(decimals=3).tolist()
        [[1.8, 3.2]]
    """

    expected = "irreps of SO3 or O3, such as 'SO3: 8x0 + 4x1 + 2x2'"
    remedy = "use PhaseInvariants for irreps of SO2 and O2, GramRoot for vectors in other dimensions"

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        counts: dict[Irrep, int] = {}
        for _, block in self.moving:
            counts[_irrep(block)] = counts.get(_irrep(block), 0) + block.copies
        self.counts = dict(sorted(counts.items()))
        self.triangles = nn.ModuleList(UpperTriangle(m) for m in self.counts.values())
        self.out_features = sum(m * (m + 1) // 2 for m in counts.values()) + self.fixed_size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            differentiable="except at zero",
            source="Gram matrix of each degree",
            note="Merges latents whose degrees are turned by rotations of their own.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        spatial = isinstance(block.group, Orthogonal) and block.group.d == 3
        return spatial and isinstance(block, (DegreeIrrep, Vectors, Flip))

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Products, divided by the norm."""
        fields, norm = self._fields(parts)
        return torch.cat(self._grams(fields), dim=1) * norm

    def _grams(self, fields: dict[Irrep, Tensor]) -> list[Tensor]:
        return [triangle(z @ z.mT) for triangle, z in zip(self.triangles, fields.values(), strict=True)]

    def _fields(self, parts: list[Tensor]) -> tuple[dict[Irrep, Tensor], Tensor]:
        """Channels (B, m, 2l + 1) of each irrep, divided by the norm of all, and that norm (B, 1)."""
        unit, norm = direction_and_norm(torch.cat([part.flatten(1) for part in parts], dim=1))
        fields: dict[Irrep, list[Tensor]] = {irrep: [] for irrep in self.counts}
        start = 0
        for _, block in self.moving:
            part = unit[:, start : start + block.size].reshape(-1, block.copies, block.dim)
            fields[_irrep(block)].append(part)
            start += block.size
        return {irrep: torch.cat(pieces, dim=1) for irrep, pieces in fields.items()}, norm


def _irrep(block: Block) -> Irrep:
    if isinstance(block, DegreeIrrep):
        return block.degree, block.parity or 1
    special = isinstance(block.group, Orthogonal) and block.group.special
    return (0, -1) if isinstance(block, Flip) else (1, 1 if special else -1)
