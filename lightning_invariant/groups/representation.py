"""Representations: how a group moves latents, as an immutable value that parses, prints, adds, slices and compares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import LatentError, ParseError
from lightning_invariant.groups.block import Block
from lightning_invariant.groups.grammar import parse_terms
from lightning_invariant.groups.group import Group

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


LARGEST = 2**24
"""Most numbers in a latent."""


@dataclass(frozen=True)
class Representation:
    """A direct sum of blocks that ONE group element moves together.

    A latent is the concatenation of its blocks, each flattened. "C8: 16 regular" is laid out (16, 8): the eight
    numbers of a field stand side by side, as in escnn. "S9: 9 points x 16" is laid out (9, 16).

    Args:
        group: What acts.
        blocks: The terms, in the order of the latent.

    Raises:
        ValueError: No block, blocks of another group, or more than 2^24 numbers.

    Example:
        >>> rep = Representation.parse("C4: 2 trivial + 3 regular")
        >>> rep.size, str(rep[1])
        (14, 'C4: 3 regular')
    """

    group: Group
    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        if not self.blocks or any(block.group != self.group for block in self.blocks):
            raise ValueError(
                f"Expected at least one block, each of {self.group}, but got {list(map(str, self.blocks))}."
            )
        if self.size > LARGEST:
            raise ValueError(f"Expected latents of at most {LARGEST} numbers but got {self.size:.3g}.")

    @classmethod
    def parse(cls, text: str | Representation) -> Representation:
        """Read a representation; one that is already read passes through.

        Args:
            text: Such as "C8: 16 regular" (the notation stands in `lightning_invariant.groups.grammar`).

        Raises:
            ParseError: The text cannot be read; the message points at the first character that does not fit.
        """
        if isinstance(text, Representation):
            return text
        try:
            return cls(*parse_terms(text))
        except ParseError:
            raise
        except ValueError as error:
            raise ParseError(str(error), text, 0) from error

    @cached_property
    def size(self) -> int:
        """Numbers in a latent."""
        return sum(block.size for block in self.blocks)

    @property
    def shape(self) -> tuple[int, ...]:
        """Layout of a latent: the block's own if there is one block, otherwise flat."""
        return self.blocks[0].shape if len(self.blocks) == 1 else (self.size,)

    @cached_property
    def slices(self) -> tuple[slice, ...]:
        """Where each block stands in the flat latent."""
        ends = accumulate(block.size for block in self.blocks)
        return tuple(slice(end - block.size, end) for end, block in zip(ends, self.blocks, strict=True))

    def flatten(self, z: Float[Tensor, "B *shape"]) -> Float[Tensor, "B D"]:
        """The latent as rows of `size` numbers.

        Args:
            z: Shape (B, D) or (B, *shape), singleton dimensions allowed anywhere behind B. Pairs alone may also come as
                (B, n, n, copies), and one term of a product of groups as (B, copies, *dims).

        Raises:
            LatentError: The shape does not fit.
        """
        inner = [n for n in z.shape[1:] if n != 1]
        if z.dim() < 1 or inner not in [[n for n in layout if n != 1] for layout in self._layouts]:
            raise LatentError(self._misfit(tuple(z.shape)))
        return z.reshape(z.shape[0], self.size)

    def split(self, flat: Float[Tensor, "B D"]) -> list[Tensor]:
        """The blocks of flat latents, each of shape (B, *block.shape)."""
        return [flat[:, where].reshape(-1, *block.shape) for where, block in zip(self.slices, self.blocks, strict=True)]

    def transform(self, z: Float[Tensor, "B *shape"], g: Tensor) -> Float[Tensor, "B *shape"]:
        """Act on latents: rho(g) z.

        Args:
            z: Latents in any layout that `flatten` takes.
            g: One element, or one for each latent (B, *element_shape).

        Returns:
            The transformed latents; shape, dtype and device of z.

        Raises:
            LatentError: The shape of z does not fit, or g is not one element or B of them.
        """
        flat, shape = self.flatten(z), self.group.element_shape
        # The dimension first: comparing the batch with an element's size would fix it in a traced graph.
        expected = shape if g.dim() == len(shape) else (flat.shape[0], *shape)
        if g.dim() != len(expected) or g.shape != expected:
            raise LatentError(f"Expected one element {shape} or {len(flat)} of them but got shape {tuple(g.shape)}.")
        g = g.expand(flat.shape[0], *shape)
        parts = [block.transform(part, g).flatten(1) for block, part in zip(self.blocks, self.split(flat), strict=True)]
        return torch.cat(parts, dim=1).reshape(z.shape)

    def matrices(self, g: Tensor) -> Float[Tensor, "n D D"]:
        """rho(g) on flat latents for a batch of elements, float64."""
        out = torch.zeros(len(g), self.size, self.size, dtype=torch.float64, device=g.device)
        for where, block in zip(self.slices, self.blocks, strict=True):
            eye = torch.eye(block.copies, dtype=torch.float64, device=g.device)
            rho = block.matrices(g)
            pattern = "nij,kl->nikjl" if block.copies_last else "nij,kl->nkilj"
            out[:, where, where] = torch.einsum(pattern, rho, eye).reshape(len(g), block.size, block.size)
        return out

    def join(self, parts: Sequence[Float[Tensor, "B *shape"]]) -> Float[Tensor, "B D"]:
        """Flat latents from one tensor a block, the inverse of `split`.

        Args:
            parts: Each in any layout that its block has alone: node features (B, n, c) and adjacency (B, n, n), say.

        Raises:
            LatentError: Another number of parts, or a shape that does not fit its block.

        Example:
            >>> rep = Representation.parse("S3: 3 points x 2 + 1 pairs")
            >>> rep.join([torch.zeros(5, 3, 2), torch.zeros(5, 3, 3)]).shape
            torch.Size([5, 15])
        """
        if len(parts) != len(self):
            raise LatentError(f"Expected {len(self)} parts, one a block of {self}, but got {len(parts)}.")
        return torch.cat([self[i].flatten(part) for i, part in enumerate(parts)], dim=1)

    def random(self, n: int, generator: torch.Generator | None = None) -> Float[Tensor, "n D"]:
        """Gaussian latents, flat, float32; the distribution is the same for every orthogonal action."""
        return torch.randn(n, self.size, generator=generator)

    def __getitem__(self, index: int | slice) -> Representation:
        blocks = self.blocks[index]
        return Representation(self.group, blocks if isinstance(blocks, tuple) else (blocks,))

    def __add__(self, other: Representation) -> Representation:
        return Representation(self.group, self.blocks + other.blocks)

    def __iter__(self) -> Iterator[Block]:
        return iter(self.blocks)

    def __len__(self) -> int:
        return len(self.blocks)

    def __str__(self) -> str:
        return f"{self.group}: " + " + ".join(map(str, self.blocks))

    @property
    def _layouts(self) -> list[tuple[int, ...]]:
        return [(self.size,), self.shape, *(block.axes for block in self.blocks if len(self.blocks) == 1)]

    def _misfit(self, shape: tuple[int, ...]) -> str:
        layouts = " or ".join(dict.fromkeys(str(("B", *s)).replace("'", "") for s in self._layouts))
        return f"Expected latents of shape {layouts} for {self} but got {shape}{_remedy(self, shape)}"


def _remedy(representation: Representation, shape: tuple[int, ...]) -> str:
    inner, layout = shape[1:], representation.shape
    positions = len(inner) - len(layout)
    if inner[:1] == (representation.size,) or (positions > 0 and layout in (inner[:-positions], inner[positions:])):
        return "; pool the positions of this feature map first (pool='mean' in the callback)."
    if len(layout) == 2 and inner == layout[::-1]:
        return "; the two axes are swapped: transpose the latent."
    if len(representation) == 1 and len(inner) == 3 and (*inner[1:], inner[0]) == representation.blocks[0].axes:
        return "; the channels stand first: bring them last with z.movedim(1, -1)."
    parts = tuple(part.dim for part in getattr(representation.blocks[0], "parts", ()))
    axes = (representation.blocks[0].copies, *parts)
    if parts and len(representation) == 1 and inner != axes and sorted(inner) == sorted(axes):
        return f"; its axes are in another order: bring them to {('B', *axes)}.".replace("'", "")
    if inner and math.prod(inner) == representation.size:
        return "; reshape the latent to one of these layouts."
    order = representation.group.order
    if order and inner and math.prod(inner) % order == 0 and len(representation) == 1:
        return f"; {math.prod(inner)} numbers would be '{representation.group}: {math.prod(inner) // order} regular'."
    return "; give the representation of the tapped layer."
