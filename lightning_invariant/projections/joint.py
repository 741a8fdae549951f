"""The base of maps that treat all moving blocks together and hand the unmoved numbers on."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.projections.exact_tables import ExactTables
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.single_term import is_trivial

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class _JointInvariants(ExactTables, Projection):
    """Features of the moving blocks, then the numbers that the group leaves alone.

    Computes in float32 at least and returns the dtype of the latent. Subclasses set `accepts` (by `_fits`),
    `expected` and `remedy`, and implement `invariants`.

    Raises:
        GroupError: No block moves, or one of them is not accepted.
    """

    expected: ClassVar[str]
    remedy: ClassVar[str]

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        pairs = list(zip(self.representation.slices, self.representation, strict=True))
        self.moving = tuple(pair for pair in pairs if not is_trivial(pair[1]))
        self.fixed = tuple(where for where, block in pairs if is_trivial(block))
        if not self.moving or not all(self._fits(block) for _, block in self.moving):
            raise GroupError(
                f"Expected {self.expected}, beside trivial terms at most, but got '{self.representation}'; "
                f"{self.remedy}."
            )

    @property
    def fixed_size(self) -> int:
        """How many numbers the group leaves alone."""
        return sum(where.stop - where.start for where in self.fixed)

    @staticmethod
    @abstractmethod
    def _fits(block: Block) -> bool:
        """Whether a moving block can be treated."""

    @abstractmethod
    def invariants(self, parts: list[Tensor]) -> Float[Tensor, "B K"]:
        """Features of the moving blocks, each of shape (B, *block.shape)."""

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of the moving blocks, then the unmoved numbers."""
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        parts = [work[:, where].reshape(-1, *block.shape) for where, block in self.moving]
        return torch.cat([self.invariants(parts), *(work[:, where] for where in self.fixed)], dim=1).to(z.dtype)
