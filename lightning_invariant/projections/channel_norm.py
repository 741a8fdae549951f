"""The norm of each copy: the usual pooling of irreps, a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Sampled
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.single_term import is_trivial

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class ChannelNorm(Projection):
    """Norm of each copy of each term (of each feature over the points); trivial numbers are kept.

    Guarantee:
        1-Lipschitz: each norm is, in its own copy. Lossy: it quotients by one rotation for EACH copy, so latents whose
        copies were rotated apart are merged.

    Args:
        representation: Of any group that acts on the latents by matrices.

    Raises:
        GroupError: The transforms are known by samples only.

    Example:
        >>> ChannelNorm("SO2: 1x0 + 2x1")(torch.tensor([[-1.0, 3.0, 4.0, 0.0, 2.0]])).tolist()
        [[-1.0, 5.0, 2.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        if isinstance(self.representation.group, Sampled):
            raise GroupError(f"Expected a group of matrices but got '{self.representation}'; use SampledMean.")
        self.out_features = sum(block.copies for block in self.representation)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            lipschitz=1.0,
            differentiable="where no norm is zero",
            source="proof in the docstring of ChannelNorm",
            note="Merges latents whose copies were rotated apart.",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The norms; their gradients at zero are zero."""
        parts = []
        for block, part in zip(self.representation, self.representation.split(z), strict=True):
            dim = 1 if block.copies_last else 2
            parts.append(part.flatten(1) if is_trivial(block) else torch.linalg.vector_norm(part, dim=dim))
        return torch.cat(parts, dim=1)
