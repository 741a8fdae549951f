"""The largest value of each channel: the pooling that equivariant networks usually end in, a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.finite_blocks import Points, Regular
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.single_term import is_trivial

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class ChannelMax(Projection):
    """Maximum over the group in each regular field, or over the points in each feature; trivial numbers are kept.

    Guarantee:
        1-Lipschitz: each maximum is, in its own channel. Lossy: it quotients by one group element for EACH channel, so
        latents whose channels were moved apart are merged, and of each channel only one number is left.

    Args:
        representation: Of regular, points and trivial terms.

    Raises:
        GroupError: Another term.

    Example:
        >>> ChannelMax("C3: 2 regular")(torch.tensor([[1.0, 3.0, 2.0, 6.0, 5.0, 4.0]])).tolist()
        [[3.0, 6.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        if any(not isinstance(block, (Regular, Points)) and not is_trivial(block) for block in self.representation):
            raise GroupError(
                f"Expected regular, points and trivial terms but got '{self.representation}'; "
                "use ChannelNorm for a baseline, or a projection of the joint latent (see choose)."
            )
        self.out_features = sum(block.copies for block in self.representation)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            lipschitz=1.0,
            differentiable="where one value attains each maximum",
            source="proof in the docstring of ChannelMax",
            note="Merges latents whose channels were moved apart.",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The maxima."""
        blocks = zip(self.representation, self.representation.split(z), strict=True)
        parts = [part.amax(dim=1 if block.copies_last else 2) for block, part in blocks]
        return torch.cat(parts, dim=1)
