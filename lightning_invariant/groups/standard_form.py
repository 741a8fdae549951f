"""The standard form of a representation: the same orbits, without mixed fields, one term of each kind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups.fields import Fields
from lightning_invariant.groups.representation import Representation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block


class StandardForm(NamedTuple):
    """A representation without mixed fields and with one term of each kind, and how latents get there.

    Attributes:
        representation: With the same orbits.
        bases: For each term of the original one what its copies (copies, dim) are multiplied by from the right; None
            for nothing.
        order: Which numbers are taken then; None for all as they are.
    """

    representation: Representation
    bases: tuple[Tensor | None, ...]
    order: Tensor | None

    def change(self, declared: Representation, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Return flat latents of the declared representation in standard form."""
        if any(basis is not None for basis in self.bases):
            parts = zip(declared.split(z), self.bases, strict=True)
            z = torch.cat([(p if q is None else p @ q.to(p)).flatten(1) for p, q in parts], dim=1)
        return z if self.order is None else z[:, self.order.to(z.device)]


def standard_form(representation: Representation) -> StandardForm:
    """Split mixed fields into their parts, and merge terms of one kind wherever they stand.

    Example:
        >>> [str(standard_form(Representation.parse(text)).representation) for text in (
        ...     "SO2: 6 (1x0 + 2x1)", "SO3: 4x0 + 4x1 + 4x0")]
        ['SO2: 6x0 + 12x1', 'SO3: 8x0 + 4x1']
    """
    bases = tuple(
        torch.tensor(block.basis, dtype=torch.float64) if isinstance(block, Fields) and block.basis else None
        for block in representation
    )
    merged: dict[Block, list[tuple[Block, Tensor]]] = {}
    for where, block in zip(representation.slices, representation, strict=True):
        for part, numbers in _parts(block, torch.arange(where.start, where.stop)):
            alone = replace(part, copies=1) if not part.copies_last else part
            known = merged.setdefault(alone, [])
            known.append((part, numbers))
    blocks: list[Block] = []
    orders: list[Tensor] = []
    for found in merged.values():
        if found[0][0].copies_last:
            blocks += [part for part, _ in found]
        else:
            blocks.append(replace(found[0][0], copies=sum(part.copies for part, _ in found)))
        orders += [numbers for _, numbers in found]
    order = torch.cat(orders)
    same = torch.equal(order, torch.arange(representation.size))
    return StandardForm(Representation(representation.group, tuple(blocks)), bases, None if same else order)


def _parts(block: Block, numbers: Tensor) -> Iterator[tuple[Block, Tensor]]:
    """Blocks that are no mixed fields, with the numbers of the latent that they take."""
    if not isinstance(block, Fields):
        yield block, numbers
        return
    rows, start = numbers.reshape(block.copies, block.dim), 0
    for part in block.parts:
        some = rows[:, start : start + part.size].reshape(block.copies, *part.shape)
        if part.copies_last:
            some = some.movedim(0, 1)
        yield from _parts(replace(part, copies=block.copies * part.copies), some.flatten())
        start += part.size
