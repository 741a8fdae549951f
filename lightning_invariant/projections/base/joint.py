"""Which terms of a representation move, and the base of maps that treat all of them together."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.euclidean import Turned
from lightning_invariant.groups.field_maps import FieldMap
from lightning_invariant.groups.fields import Fields
from lightning_invariant.groups.finite_blocks import PlanarIrrep, Quotient
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Outer
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.tables import ExactTables

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


def single_term(representation: Representation, fits: Callable[[Block], bool], *, expected: str, remedy: str) -> int:
    """Index of the one term that is not trivial.

    Args:
        representation: What acts on the latents.
        fits: Whether that term is of the right kind.
        expected: The right kind in words, with an example.
        remedy: What to use for other representations.

    Raises:
        GroupError: None or several terms move, or the one that does is of another kind.
    """
    moving = [i for i, block in enumerate(representation) if not is_trivial(block)]
    if len(moving) != 1 or not fits(representation.blocks[moving[0]]):
        raise GroupError(f"Expected {expected}, beside trivial terms at most, but got '{representation}'; {remedy}.")
    return moving[0]


def is_trivial(block: Block) -> bool:
    """Whether the group leaves every number of the block alone."""
    if isinstance(block, (FrequencyIrrep, PlanarIrrep)):
        return block.frequency == 0
    if isinstance(block, DegreeIrrep):
        return block.degree == 0 and block.parity != -1
    if isinstance(block, (Outer, Fields)):
        return all(map(is_trivial, block.parts))
    if isinstance(block, Quotient):
        return block.dim == 1
    if isinstance(block, Turned):
        return is_trivial(block.kind)
    if isinstance(block, FieldMap):
        return block.height == block.width == 1 and is_trivial(block.field)
    return isinstance(block, Trivial)


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
