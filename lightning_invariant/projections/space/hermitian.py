"""The root of the Hermitian Gram matrix: complex vectors that unitary matrices move together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.matrix_blocks import Vectors
from lightning_invariant.groups.unitary import Unitary
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.space.gram import gram_root

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class HermitianRoot(_JointInvariants):
    """f = upper triangle of (Z Z*)^(1/2) for m complex vectors, the rows of Z (m, n), with the matrix's Frobenius norm.

    Under SU(2), Z is a column of m quaternions and the matrix one of quaternions.

    Args:
        representation: Of U(n) or SU(2) on vectors, "U3: 8 vectors", "SU2: 4 vectors"; trivial terms may stand beside
            them and are kept.

    Raises:
        GroupError: Another representation.

    Note:
        sqrt(2)-Lipschitz, and never shorter than the orbit distance, as GramRoot is for O(d): as real vectors, beside
        their products with the units that commute with the group, Z becomes X with k rows for each, k = 2 or 4. Then
        (X X^T)^(1/2) has the entries of the features, each k times, and the cross product of two such X commutes with
        the units, so that the best orthogonal matrix is one of the group: features and orbit distances of O(d) are
        sqrt(k) times those here. One vector gives its norm, which is isometric.
        Derivatives are those of GramRoot: right where Z has its full rank, finite elsewhere.

    References:
        Derksen 2024 (2409.06829).

    Example:
        >>> import torch
        >>> z = torch.tensor([[[3.0, 0.0], [0.0, 4.0]]]).double()
        >>> HermitianRoot("U1: 2 vectors")(z).round(decimals=3).tolist()
        [[1.8, 0.0, 3.2, -3.394]]
    """

    expected = "vectors of U(n) or SU(2), such as 'U3: 8 vectors'"
    remedy = "use GramRoot for vectors of O(d) and SO(d)"

    entries: Tensor
    table_weight: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        group = self.representation.group
        self.quaternionic = isinstance(group, Unitary) and group.special
        m, k = sum(block.copies for _, block in self.moving), 4 if self.quaternionic else 2
        rows, columns = torch.triu_indices(m, m)
        above, start = rows < columns, (rows * m * k + columns) * k
        # Parts along the imaginary units follow the real ones; those of the diagonal are zero.
        entries = torch.cat([start, *(start[above] + unit for unit in range(1, k))])
        self.register_buffer("entries", entries)
        weight = (1.0 + above.double()).sqrt()
        self.register_buffer("table_weight", torch.cat([weight, weight[above].repeat(k - 1)]))
        self.out_features = len(entries) + self.fixed_size
        bound = 1.0 if m == 1 else math.sqrt(2)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC if m == 1 else Separation.BILIPSCHITZ,
            lipschitz=bound,
            distortion=bound,
            differentiable="where the vectors span as much as they can",
            source="Derksen 2024, 2409.06829",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        return isinstance(block, Vectors) and isinstance(block.group, Unitary)

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Real parts, then imaginary ones."""
        z = torch.cat(parts, dim=1)
        numbers = z.unflatten(2, (-1, 2))
        multiples = [numbers, _times_i(numbers)]
        if self.quaternionic:
            # j takes (a, b) to (-conj(b), conj(a)); the real part of each number comes first.
            signs = torch.tensor([[-1.0, 1.0], [1.0, -1.0]], dtype=z.dtype, device=z.device)
            j = numbers.flip(2) * signs
            multiples += [j, _times_i(j)]
        rows = torch.stack(multiples, dim=2).flatten(3).flatten(1, 2)
        return gram_root(rows).flatten(1).index_select(1, self.entries) * self.table_weight.to(z.dtype)


def _times_i(numbers: Tensor) -> Tensor:
    return torch.stack([-numbers[..., 1], numbers[..., 0]], dim=-1)
