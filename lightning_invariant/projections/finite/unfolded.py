"""Feature maps as regular fields: the same orbits, without pixels that move."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.field_maps import FieldMap
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.projections.base.read_as import _ReadAs
from lightning_invariant.projections.base.tables import ExactTables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block
    from lightning_invariant.projections.base.projection import Projection


class Unfolded(ExactTables, _ReadAs):
    """A projection of feature maps, by way of regular fields with the same orbits.

    Every map goes to regular fields by w[q, i, h] = (rho(h)^-1 z(h q))_i / sqrt|Stab q|, with one pixel q of each orbit
    of pixels; then (rho(g) z) goes to w[q, i, g^-1 h]. Regular fields on pixels are read in another order instead,
    w[q, h] = z(h q)[h] for every pixel q.

    Args:
        representation: Of terms "on HxW" and others.
        projection: A projection of `unfolded(representation)`, or its `config()`.

    Raises:
        GroupError: No term is a feature map.
        ValueError: The projection is for another representation.

    Note:
        That of the projection: the map is linear, keeps all norms, and commutes with the group, so distances between
        orbits are the same before and after it.

    References:
        Frobenius reciprocity: V tensor C[G/H] is a part of V tensor C[G], which is dim V copies of C[G].

    Example:
        >>> from lightning_invariant.projections import MaxFilter
        >>> str(unfolded("C4: 16 regular on 7x7")), str(unfolded("C4: 2 trivial on 6x6"))
        ('C4: 784 regular', 'C4: 18 regular')
    """

    order: Tensor
    table_weight: Tensor

    def __init__(self, representation: Representation | str, projection: Projection | Mapping[str, Any]) -> None:
        super().__init__(representation, projection)
        orders, weights = [], []
        for where, block in zip(self.representation.slices, self.representation, strict=True):
            order, weight = _reading(block)
            numbers = torch.arange(where.start, where.stop).reshape(block.copies, -1)
            orders.append(numbers[:, order].flatten())
            weights.append(weight.repeat(block.copies))
        self.register_buffer("order", torch.cat(orders), persistent=False)
        self.register_buffer("table_weight", torch.cat(weights))

    @staticmethod
    def target(representation: Representation) -> Representation:
        """Return `unfolded(representation)`, where that is another one."""
        wanted = unfolded(representation)
        if wanted == representation:
            raise GroupError(f"Expected a feature map such as 'C4: 16 regular on 7x7' but got '{wanted}'; use choose.")
        return wanted

    def _read(self, z: Float[Tensor, "B D"], *beside: Tensor) -> Float[Tensor, "B E"]:
        return z[:, self.order] * self.table_weight.to(z.dtype)


def unfolded(representation: Representation | str) -> Representation:
    """Return the representation of regular fields that maps are read as; other terms stay as they are."""
    representation = Representation.parse(representation)
    blocks: list[Block] = []
    for block in representation:
        if isinstance(block, FieldMap):
            fields = len(_reading(block)[0]) // block.group.order  # type: ignore[operator]
            block = Regular(block.group, block.copies * fields)  # type: ignore[arg-type]
            if blocks and isinstance(blocks[-1], Regular):
                block = Regular(block.group, block.copies + blocks.pop().copies)
        blocks.append(block)
    return Representation(representation.group, tuple(blocks))


def _reading(block: Block) -> tuple[Tensor, Tensor]:
    """Of one copy the number to read for each number of its regular fields, and what to multiply it with."""
    if not isinstance(block, FieldMap):
        return torch.arange(block.dim), torch.ones(block.dim, dtype=torch.float64)
    elements = block.group.elements()
    # The pixel h q is the one that comes from q under h, or that q comes from under h^-1.
    targets = block.origins[block.group.inverse(elements)].mT
    pixels = len(targets)
    if isinstance(block.field, Regular):
        order = elements * pixels + targets
        return order.flatten(), torch.ones(order.numel(), dtype=torch.float64)
    first = targets[targets.amin(dim=1) == torch.arange(pixels)]
    # Quarter turns and flips act on fields by signed permutations: each row of rho(h)^-1 reads one number.
    rows = block.field.matrices(block.group.inverse(elements))
    signs, reads = rows.sum(dim=2).round(), rows.abs().argmax(dim=2)
    if (rows.abs() - torch.nn.functional.one_hot(reads, block.field.dim)).abs().max() > 1e-6:
        raise GroupError(f"Expected fields that {block.group} acts on by signed permutations but got {block.field}.")
    order = reads.mT[None] * pixels + first[:, None]
    stabiliser = (first == first[:, :1]).sum(dim=1)
    weight = signs.mT[None] / stabiliser.double().sqrt()[:, None, None]
    return order.flatten(), weight.expand_as(order).flatten()
