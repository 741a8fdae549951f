"""What no order of points moves, such as a global vector beside a cloud, given to every point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups import Product, Representation, Symmetric
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.projections.base.read_as import _ReadAs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block
    from lightning_invariant.projections.base.projection import Projection


class Spread(_ReadAs):
    """A projection of points, of which each carries the same copy of what belongs to all of them.

    Args:
        representation: Of a product such as S_n x O(3): terms of points beside terms that no order moves, such as
            "S7 x O3: 4 points*vectors + 1 trivial*vectors".
        projection: A projection of `spread(representation)`, or its `config()`.

    Raises:
        ValueError: The projection is for another representation.

    Note:
        Copies are divided by the root of n, so that distances between orbits stay what they are. What the projection
        tells apart of all latents, and its bounds, hold here too. What it tells apart of latents in general position
        is not claimed, since points that all carry the same are not in general position.

    Example:
        >>> from lightning_invariant.projections import GramRows
        >>> text = "S4 x O3: 1 points*vectors + 1 trivial*vectors"
        >>> Spread(text, GramRows(spread(Representation.parse(text)))).representation.size
        15
    """

    def __init__(self, representation: Representation | str, projection: Projection | Mapping[str, Any]) -> None:
        super().__init__(representation, projection)
        held = self.guarantee
        if held.separation < Separation.INJECTIVE:
            note = f"{held.note} Not claimed of latents in general position, since points share numbers.".strip()
            self.guarantee = replace(held, separation=Separation.LOSSY, note=note)

    @staticmethod
    def target(representation: Representation) -> Representation:
        """Return `spread(representation)`."""
        return spread(representation)

    def _read(self, z: Float[Tensor, "B D"], *beside: Tensor) -> Float[Tensor, "B E"]:
        parts = []
        for block, part in zip(self.representation, self.representation.split(z), strict=True):
            if _is_shared(block):
                n = block.group.factors[0].n  # type: ignore[attr-defined]
                part = (part[:, :, None] / n**0.5).expand(-1, -1, n, -1)
            parts.append(part.flatten(1))
        return torch.cat(parts, dim=1)


def spread(representation: Representation) -> Representation:
    """Return the representation in which every point carries what no order moves; the same if nothing is shared.

    Example:
        >>> str(spread(Representation.parse("S7 x O3: 1 points*vectors + 2 trivial*1o")))
        'S7 x O3: 1 points*vectors + 2 points*1o'
    """
    group = representation.group
    of_points = any(isinstance(block, Outer) and isinstance(block.parts[0], Points) for block in representation)
    if not isinstance(group, Product) or not isinstance(group.factors[0], Symmetric) or not of_points:
        return representation
    first = group.factors[0]
    blocks = [
        replace(block, parts=(Points(first, 1), *block.parts[1:])) if _is_shared(block) else block  # type: ignore[call-arg]
        for block in representation
    ]
    return Representation(group, tuple(blocks))


def _is_shared(block: Block) -> bool:
    """Whether other factors than the order of points move a term."""
    return isinstance(block, Outer) and is_trivial(block.parts[0]) and not is_trivial(block)
