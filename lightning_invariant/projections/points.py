"""The base of maps on sets of points, ragged sets among them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.projections.ragged import _RaggedInvariants

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class _PointInvariants(_RaggedInvariants):
    """n points with d numbers each from all "points" blocks, then unmoved numbers, then the share if sets are ragged.

    Args:
        representation: Of S_n on point features.
        out_features: All features together; `_default_size` and what stands beside if None.
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of the templates.
    """

    expected = "points of a symmetric group, such as 'S9: 9 points x 16'"
    remedy = "use SortedCoorbits or MaxFilter for other finite groups"

    def __init__(
        self, representation: Representation | str, out_features: int | None, *, ragged: bool, seed: int
    ) -> None:
        super().__init__(representation, ragged=ragged, seed=seed)
        self.n, self.d = self.moving[0][1].dim, sum(block.copies for _, block in self.moving)
        beside = self.fixed_size + ragged
        self.out_features = self._default_size() + beside if out_features is None else out_features
        self.kept = self.out_features - beside
        if self.kept < 1:
            raise ValueError(f"Expected at least {beside + 1} features but got {out_features}.")

    @staticmethod
    def _fits(block: Block) -> bool:
        return isinstance(block, Points)

    @abstractmethod
    def _default_size(self) -> int: ...

    @abstractmethod
    def _embed(self, points: Float[Tensor, "B n d"]) -> Float[Tensor, "B K"]:
        """Features of whole sets."""

    @abstractmethod
    def _embed_masked(self, points: Float[Tensor, "B n d"], mask: Bool[Tensor, "B n"]) -> Float[Tensor, "B K"]:
        """Features of sets whose hidden points are zero."""

    def _masked(self, z: Tensor, mask: Tensor) -> Tensor:
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        parts = [work[:, where].reshape(-1, *block.shape) for where, block in self.moving]
        points = torch.where(mask[..., None], torch.cat(parts, dim=-1), 0.0)
        count = mask.sum(dim=1, keepdim=True)
        features = torch.where(count > 0, self._embed_masked(points, mask), torch.nan)
        kept = [work[:, where] for where in self.fixed]
        return torch.cat([features, *kept, count.to(work.dtype) / self.n], dim=1).to(z.dtype)

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of whole sets, then unmoved numbers, then the share 1 if sets may be ragged."""
        features = super().project(z)
        return torch.cat([features, torch.ones_like(features[:, :1])], dim=1) if self.ragged else features

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Features of whole sets."""
        return self._embed(torch.cat(parts, dim=-1))


def sort_visible(columns: Float[Tensor, "B K n"], mask: Bool[Tensor, "B n"]) -> Float[Tensor, "B K n"]:
    """Ascending values of visible points, then infinity for hidden ones."""
    return torch.where(mask[:, None, :], columns, torch.inf).sort(dim=-1).values
