"""The base of maps on sets of points of which some may be missing, as a mask says."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from lightning_invariant.projections.full_precision import full_precision
from lightning_invariant.projections.joint import _JointInvariants
from lightning_invariant.projections.point_masks import require_mask

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


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
