"""Which term of a representation moves, where only one does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Outer

if TYPE_CHECKING:
    from collections.abc import Callable

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
    if isinstance(block, FrequencyIrrep):
        return block.frequency == 0
    if isinstance(block, DegreeIrrep):
        return block.degree == 0 and block.parity != -1
    if isinstance(block, Outer):
        return all(map(is_trivial, block.parts))
    return isinstance(block, Trivial)
