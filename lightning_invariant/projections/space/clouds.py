"""The base of maps on points that carry numbers and vectors, ordered and turned by S_n x O(d) or S_n x SO(d)."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Orthogonal
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.projections.sets.points import _RaggedInvariants

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class _CloudInvariants(_RaggedInvariants):
    """n points with fields (n, copies, dim) from all "points*..." blocks, then the numbers that nothing moves.

    Args:
        representation: Of S_n x O(d) or S_n x SO(d).
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of the weights.
    """

    expected = "points that carry vectors or irreps of O(d) or SO(d), such as 'S9 x O3: 1 points*vectors'"
    remedy = "use PointSort for points without vectors and GramRoot for vectors that keep their order"

    def __init__(self, representation: Representation | str, *, ragged: bool, seed: int) -> None:
        super().__init__(representation, ragged=ragged, seed=seed)
        blocks = [block for _, block in self.moving if isinstance(block, Outer)]
        self.n = blocks[0].parts[0].dim
        self.carried = tuple(block.parts[1] for block in blocks)
        self.copies = tuple(block.copies for block in blocks)
        self.numbers = sum(copies * block.dim for copies, block in zip(self.copies, self.carried, strict=True))

    @staticmethod
    def _fits(block: Block) -> bool:
        if not isinstance(block, Outer) or len(block.parts) != 2:
            return False
        points, carried = block.parts
        return isinstance(points, Points) and isinstance(carried.group, Orthogonal)

    @property
    def space(self) -> Orthogonal:
        """The group that turns the points."""
        group = self.carried[0].group
        assert isinstance(group, Orthogonal)
        return group

    @abstractmethod
    def _invariants(self, fields: list[Tensor], mask: Tensor) -> Tensor:
        """Features (B, K) of fields (B, n, copies, dim) that are zero at hidden points."""

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of whole sets, then what nothing moves."""
        return self._masked(z, torch.ones(z.shape[0], self.n, dtype=torch.bool, device=z.device))

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Features of whole sets."""
        whole = torch.ones(parts[0].shape[0], self.n, dtype=torch.bool, device=parts[0].device)
        return self._invariants(self._fields(parts, whole), whole)

    def _masked(self, z: Tensor, mask: Tensor) -> Tensor:
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        parts = [work[:, where].reshape(-1, *block.shape) for where, block in self.moving]
        kept = [work[:, where] for where in self.fixed]
        features = self._invariants(self._fields(parts, mask), mask)
        features = torch.where(mask.any(dim=1, keepdim=True), features, torch.nan)
        return torch.cat([features, *kept], dim=1).to(z.dtype)

    def _fields(self, parts: list[Tensor], mask: Tensor) -> list[Tensor]:
        points = [part.unflatten(2, (self.n, -1)).transpose(1, 2) for part in parts]
        return [torch.where(mask[:, :, None, None], field, 0.0) for field in points]
