"""Rows of the Gram root: points that carry vectors, under permutations and rotations together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.projections.base.templates import tight_frame
from lightning_invariant.projections.space.clouds import _CloudInvariants
from lightning_invariant.projections.space.gram import gram_root

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


MIRRORED = "mirror images"


class GramRows(_CloudInvariants):
    """f = sort(R A), column by column; row i of R is what point i is to itself and, sorted, to all other points.

    S = (X X^T)^(1/2) holds what n points with m vectors each, the rows of X, are to each other: an m x m block for each
    pair, invariant under O(d) and moved along with the points. Row i holds block (i, i), the unmoved numbers of point
    i, and the blocks (i, j) for all j but i, multiplied with random directions and sorted, column by column. Irreps
    of another degree or parity have a Gram root of their own, whose blocks stand beside. Points that a mask hides
    lie at the origin and carry 0 where others carry 1.

    Args:
        representation: Of S_n x O(d) or S_n x SO(d): "S9 x O3: 1 points*vectors", "S9 x SO3: 8 points*0 + 4 points*1";
            "trivial*trivial" may stand beside it and is kept.
        out_features: Number K of features, kept numbers included; twice the latent's size beside those if None. The
            last column is cut where n does not divide K.
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of all directions.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for a feature.

    Note:
        sqrt(2)-Lipschitz: the root is, sorting and orthonormal directions add nothing. O(d) with vectors of one kind:
        almost every set is told apart from all others, since entries (i, j) and (j, i) of S agree and are found
        again in the rows of both points. Under SO(d) mirror images are merged, with irreps of several kinds those that
        are turned against each other: lossy. PointFrames beside it (see Joined) sees both.

        The singular value decomposition waits for the device on CUDA.

    References:
        Derksen 2024 (2409.06829) for the root; Hordan et al. 2023 (2301.13821) for rows of Gram
        matrices.

    Example:
        >>> import torch
        >>> P, X = GramRows("S4 x O3: 1 points*vectors"), torch.arange(12.0).sin().reshape(1, 4, 3)
        >>> P(X.flatten(1)).shape, torch.allclose(P(X.flatten(1)), P(-X.flip(1).roll(1, dims=2).flatten(1)), atol=1e-5)
        (torch.Size([1, 24]), True)
    """

    columns: Tensor
    elsewhere: Tensor

    def __init__(
        self,
        representation: Representation | str,
        out_features: int | None = None,
        *,
        ragged: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(representation, ragged=ragged, seed=seed)
        kinds = [_kind(block) for block in self.carried]
        self.still = tuple(i for i, kind in enumerate(kinds) if kind is None)
        found = dict.fromkeys(kind for kind in kinds if kind is not None)
        self.turned = [[i for i, kind in enumerate(kinds) if kind == one] for one in found]
        if not self.turned:
            raise GroupError(f"Expected {self.expected} but got '{self.representation}'; {self.remedy}.")
        self.out_features = 2 * self.n * self.numbers + self.fixed_size if out_features is None else out_features
        self.kept = self.out_features - self.fixed_size
        if self.kept < 1:
            raise ValueError(f"Expected at least {self.fixed_size + 1} features but got {out_features}.")
        copies = [sum(self.copies[i] for i in group) for group in self.turned]
        # One direction is enough for one number a pair; more keep more of the distances between blocks.
        widths = [2 * m - 1 for m in copies]
        for number, (m, width) in enumerate(zip(copies, widths, strict=True)):
            self.register_buffer(f"directions{number}", tight_frame(m * m, width, seed + number))
        length = sum(m * m + (self.n - 1) * width for m, width in zip(copies, widths, strict=True))
        length += sum(self.copies[i] for i in self.still) + ragged
        place = torch.arange(self.n * self.n).reshape(self.n, self.n)
        self.register_buffer("elsewhere", place[~torch.eye(self.n, dtype=torch.bool)], persistent=False)
        self.register_buffer("columns", tight_frame(length, -(-self.kept // self.n), seed + len(copies)))
        self.guarantee = self._promised()

    def _invariants(self, fields: list[Tensor], mask: Tensor) -> Tensor:
        own, others = [], []
        for number, group in enumerate(self.turned):
            x = torch.cat([fields[i] for i in group], dim=2)
            m = x.shape[2]
            blocks = gram_root(x.flatten(1, 2)).unflatten(2, (self.n, m)).unflatten(1, (self.n, m))
            blocks = blocks.transpose(2, 3).flatten(3)
            own.append(torch.diagonal(blocks, dim1=1, dim2=2).mT)
            others.append((blocks @ self.get_buffer(f"directions{number}").to(x.dtype)).flatten(1, 2))
        rest = torch.cat(others, dim=2)[:, self.elsewhere].unflatten(1, (self.n, self.n - 1))
        own += [fields[i].flatten(2) for i in self.still]
        if self.ragged:
            own.append(mask[:, :, None].to(rest.dtype))
        rows = torch.cat([*own, rest.sort(dim=2).values.flatten(2)], dim=2)
        return (rows @ self.columns.to(rows.dtype)).mT.sort(dim=2).values.flatten(1)[:, : self.kept]

    def _promised(self) -> Guarantee:
        vectors = self.n * sum(self.copies[i] for i in self.turned[0])
        note = ""
        if len(self.turned) > 1 or self.carried[self.turned[0][0]].dim > self.space.d:
            note = "Merges irreps that are turned against each other."
        elif self.space.special and vectors >= self.space.d:
            self.merges = MIRRORED
            note = "Merges mirror images."
        return Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY if note else Separation.GENERIC,
            lipschitz=2**0.5,
            differentiable="where sorted values differ and the vectors span the space",
            source="Derksen 2024, 2409.06829; Hordan et al. 2023, 2301.13821",
            note=note,
        )


def _kind(block: Block) -> tuple[int, int, int | None] | None:
    """Blocks of one kind share a Gram root; None for numbers that rotations and reflections leave alone."""
    if is_trivial(block):
        return None
    if isinstance(block, DegreeIrrep):
        return block.dim, block.degree, block.parity
    if isinstance(block, FrequencyIrrep):
        return block.dim, block.frequency, None
    # Vectors are irreps of (odd) degree 1 in space and of frequency 1 in the plane.
    odd = -1 if block.dim == 3 and not block.group.special else None  # type: ignore[attr-defined]
    return (block.dim, 0 if isinstance(block, Flip) else 1, odd)
