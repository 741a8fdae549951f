"""v v^T / |v|: numbers that share a sign, and every action that is one by signs in some basis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Sampled
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.tables import ExactTables, UpperTriangle

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

PROBES = 256
"""Elements of large groups that are looked at."""
LARGEST = 128
"""Largest copy of a term that is brought to a basis of signs."""
TOLERANCE = 1e-9


class SignOuter(ExactTables, Projection):
    """f = upper triangle of v v^T / |v| for the numbers v that share a sign, for each sign, Frobenius norm kept.

    Which numbers share a sign is found from the matrices of the action, after a change of basis where one is needed:
    C_2 on regular copies, determinants, and odd scalars of O(3) act by signs too.

    Args:
        representation: Of any group that acts by signs that are independent of each other, "Z2: 16 signs", "Z2^5: 4
            signs", "C2: 8 regular", "O3: 4x0o"; what it leaves alone is kept.

    Raises:
        GroupError: Another representation.

    Note:
        With c = |<v, w>| / (|v| |w|) in [0, 1] the squared orbit distance is |v|^2 + |w|^2 - 2 |v| |w| c,
        that of the features has c^2 for c; so features are never closer, and the ratio is largest for |v| = |w|, where
        its square is 1 + c <= 2. Signs act apart from each other, so the bounds hold for the sum: distortion at most
        sqrt(2). One number a sign gives |v|, which is isometric.

    References:
        The outer product after Lim et al. 2022 (2202.13013), the division by the norm and the proof above.

    Example:
        >>> import torch
        >>> SignOuter("Z2: 2 signs")(torch.tensor([[3.0, -4.0]]).double()).round(decimals=3).tolist()
        [[1.8, -3.394, 3.2]]
    """

    kept: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        groups, kept, bases = _shared_signs(self.representation)
        for i, basis in enumerate(bases):
            self.register_buffer(f"table_basis{i}", basis)
        for i, places in enumerate(groups):
            self.register_buffer(f"places{i}", places)
        self.register_buffer("kept", kept)
        self.triangles = nn.ModuleList(UpperTriangle(len(places)) for places in groups)
        self.out_features = sum(n * (n + 1) // 2 for n in map(len, groups)) + len(kept)
        largest = max(map(len, groups))
        bound = 1.0 if largest == 1 else math.sqrt(2)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC if largest == 1 else Separation.BILIPSCHITZ,
            lipschitz=bound,
            distortion=bound,
            differentiable="where no v is zero",
            source="proof in the docstring of SignOuter; Lim et al. 2022, 2202.13013",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Outer products, sign by sign, then what stays."""
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        parts = []
        for i, (block, part) in enumerate(zip(self.representation, self.representation.split(work), strict=True)):
            copies = part.mT if block.copies_last else part
            basis = self.get_buffer(f"table_basis{i}")
            parts.append((copies @ basis.to(work.dtype) if basis.numel() else copies).flatten(1))
        numbers, features = torch.cat(parts, dim=1), []
        for i, triangle in enumerate(self.triangles):
            unit, norm = direction_and_norm(numbers[:, self.get_buffer(f"places{i}")])
            features.append(triangle(unit[:, :, None] * unit[:, None, :]) * norm)
        return torch.cat([*features, numbers[:, self.kept]], dim=1).to(z.dtype)


def _shared_signs(representation: Representation) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Places of the numbers that share each sign, places that stay, and a basis for each term (empty for its own)."""
    group = representation.group
    if isinstance(group, Sampled) or any(block.dim > LARGEST for block in representation):
        raise _refusal(representation)
    elements = group.probe_elements(PROBES, torch.Generator().manual_seed(0))
    bases, columns = [], []
    for block in representation:
        basis, signs = _signs_of(block, elements, representation)
        bases.append(basis)
        columns.append(signs.repeat(1, block.copies))
    characters = torch.cat(columns, dim=1).mT
    every, which = characters.unique(dim=0, return_inverse=True)
    moving = [i for i, row in enumerate(every.tolist()) if min(row) < 0]
    if not moving or rank_over_two(every[moving] < 0) < len(moving):
        raise _refusal(representation)
    first = sorted(moving, key=lambda i: int((which == i).nonzero()[0]))
    places = [(which == i).nonzero().flatten() for i in first]
    stays = torch.tensor([i not in moving for i in range(len(every))])[which].nonzero().flatten()
    return places, stays, bases


def _signs_of(block: Block, elements: Tensor, representation: Representation) -> tuple[Tensor, Tensor]:
    """A basis of one copy in which the action is diagonal, and its diagonals (elements, dim), each 1 or -1."""
    rho = block.matrices(elements)
    eye = torch.eye(block.dim, dtype=torch.float64)
    diagonal = rho.diagonal(dim1=1, dim2=2)
    if (rho - torch.diag_embed(diagonal)).abs().max() < TOLERANCE:
        basis, signs = torch.zeros(0, dtype=torch.float64), diagonal
    else:
        if (rho @ rho - eye).abs().max() > TOLERANCE:
            raise _refusal(representation)
        weights = torch.randn(len(rho), dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        basis = torch.linalg.eigh(torch.einsum("n,nij->ij", weights, (rho + rho.mT) / 2))[1]
        rotated = basis.mT @ rho @ basis
        signs = rotated.diagonal(dim1=1, dim2=2)
        if (rotated - torch.diag_embed(signs)).abs().max() > TOLERANCE:
            raise _refusal(representation)
    if (signs.abs() - 1).abs().max() > TOLERANCE:
        raise _refusal(representation)
    return basis, signs.round()


def rank_over_two(rows: Tensor) -> int:
    """Return the rank of a boolean matrix over the field of two elements."""
    left, rank = [int("".join("1" if bit else "0" for bit in row), 2) for row in rows.tolist()], 0
    while left:
        pivot = left.pop()
        if pivot:
            rank, lowest = rank + 1, pivot & -pivot
            left = [row ^ pivot if row & lowest else row for row in left]
    return rank


def _refusal(representation: Representation) -> GroupError:
    return GroupError(
        f"Expected an action by independent signs, such as 'Z2: 16 signs', but got '{representation}'; "
        "use MaxFilter or SortedCoorbits for other finite groups."
    )
