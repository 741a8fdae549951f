"""The base of maps on sets of points, of which some may be missing, as a mask says."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.base.projection import full_precision

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


def require_mask(mask: Tensor, batch: int, n: int, *, ragged: bool, name: str) -> None:
    """Refuse a mask that does not fit.

    Args:
        mask: Should be boolean of shape (batch, n), True at points that exist.
        batch: Number of sets.
        n: Most points of a set.
        ragged: Whether the projection takes masks.
        name: Of the projection.

    Raises:
        LatentError: Another dtype or shape, or a set without a point; the last is looked for on the CPU outside of
            graphs only.
        ValueError: The projection takes no masks.
    """
    if not ragged:
        raise ValueError(f"Expected no mask but got one; build {name} with ragged=True for sets of unlike size.")
    if mask.dtype != torch.bool or mask.shape != (batch, n):
        raise LatentError(
            f"Expected a boolean mask of shape ({batch}, {n}) but got {mask.dtype} {tuple(mask.shape)}; "
            "give True at points that exist."
        )
    # On an accelerator the answer would have to be waited for.
    if not torch.compiler.is_compiling() and mask.device.type == "cpu" and not bool(mask.any(dim=1).all()):
        hidden = (~mask.any(dim=1)).nonzero().flatten().tolist()
        raise LatentError(f"Expected a visible point in each set but got none in {hidden}; leave those sets out.")


class _RaggedInvariants(_JointInvariants):
    """Subclasses set `n`, the most points of a set, and implement `_masked` beside what their base asks for.

    Args:
        representation: What acts on the latents.
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of the templates.
    """

    n: int

    def __init__(self, representation: Representation | str, *, ragged: bool, seed: int) -> None:
        super().__init__(representation)
        self.ragged, self.seed = ragged, seed

    @abstractmethod
    def _masked(self, z: Tensor, mask: Tensor) -> Tensor:
        """Features (B, K) of flat latents (B, D) whose hidden points may hold anything."""

    @property
    def settings(self) -> dict[str, Any]:
        """Size, whether sets are ragged, and seed."""
        return {"out_features": self.out_features, "ragged": self.ragged, "seed": self.seed}

    def forward(self, z: Float[Tensor, "B *shape"], mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B K"]:
        """Invariant features.

        Args:
            z: Latents in any layout that fits the representation; what stands at hidden points does not matter.
            mask: True at points that exist; all of them if None.

        Returns:
            Features of shape (B, out_features), dtype and device of z.

        Raises:
            LatentError: A shape does not fit, the mask is not boolean, or it hides every point of a set. The last is
                looked for on the CPU outside of graphs only; elsewhere such sets have NaN features.
            ValueError: A mask without ragged=True.
        """
        if mask is None:
            return super().forward(z)
        flat = self.representation.flatten(z)
        require_mask(mask, flat.shape[0], self.n, ragged=self.ragged, name=type(self).__name__)
        with full_precision(flat.device):
            return self._masked(flat, mask)


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
