"""Representations: how a group moves latents, as an immutable value that parses, prints, adds, slices and compares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError, LatentError, ParseError
from lightning_invariant.groups.block import Block, joint_matrices
from lightning_invariant.groups.field_maps import FieldMap, exact_subgroup
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.grammar import parse_terms
from lightning_invariant.groups.group import Group
from lightning_invariant.groups.matrix_blocks import Outer

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


LARGEST = 2**24
"""Most numbers in a latent."""
GUESTS = "lightning_invariant.guests"
"""Reads representations off objects of other libraries; loaded for the first of them, since it builds on this room."""


@dataclass(frozen=True)
class Representation:
    """A direct sum of blocks that ONE group element moves together.

    A latent is the concatenation of its blocks, each flattened. "C8: 16 regular" is laid out (16, 8): the eight
    numbers of a field stand side by side, as in escnn. "S9: 9 points x 16" is laid out (9, 16). Where all terms are of
    points, the latent may also come point by point, (n, numbers of a point), as in e3nn and PyTorch Geometric.
    "C4: 16 regular on 7x7" is a feature map (64, 7, 7).

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
        _ = self.slices, self.points  # kept now: torch.compile cannot enter the lock of a cached property

    @classmethod
    def parse(cls, text: str | Representation | Any) -> Representation:
        """Read a representation; one that is already read passes through.

        Args:
            text: Such as "C8: 16 regular" (the notation stands in `lightning_invariant.groups.grammar`), what YAML
                makes of it without quotes ({"C8": "16 regular"}), or what `of` takes.

        Raises:
            ParseError: The text cannot be read; the message points at the first character that does not fit.
            GroupError: As `of`.
        """
        if isinstance(text, Representation):
            return text
        if isinstance(text, dict) and len(text) == 1:
            text = ": ".join(map(str, *text.items()))
        if not isinstance(text, str):
            return cls.of(text)
        try:
            return cls(*parse_terms(text))
        except ParseError:
            raise
        except ValueError as error:
            raise ParseError(str(error), text, 0) from error

    @classmethod
    def of(cls, source: Any) -> Representation:
        """Read the representation off what states it: a field type, irreps, or a layer of escnn or e3nn.

        Args:
            source: escnn's FieldType or GeometricTensor, e3nn's Irreps, or a module with `out_type` or `irreps_out`.

        Raises:
            GroupError: It states nothing, or something for which there is no notation.
        """
        found = import_module(GUESTS).read_representation(source)
        if found is None:
            raise GroupError(
                "Expected what states a representation, such as escnn's FieldType, e3nn's Irreps or a layer with "
                f"out_type or irreps_out, but got {type(source).__name__}; write it down, such as 'C4: 16 regular'."
            )
        return found

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

    @cached_property
    def points(self) -> tuple[int, int] | None:
        """How many points there are, and the numbers of each; None where not all terms are of points.

        Example:
            >>> Representation.parse("S7 x O3: 7 points (8x0e + 4x1o)").points
            (7, 20)
        """
        widths = [_point_width(block) for block in self.blocks]
        if any(width is None for width in widths):
            return None
        width = sum(width for width in widths if width is not None)
        return self.size // width, width

    def flatten(self, z: Float[Tensor, "B *shape"]) -> Float[Tensor, "B D"]:
        """The latent as rows of `size` numbers.

        Args:
            z: Shape (B, D) or (B, *shape), singleton dimensions allowed anywhere behind B. Pairs alone may also come as
                (B, n, n, copies), one term of a product of groups as (B, copies, *dims), points point by point,
                as (B, n, numbers of a point), and feature maps as (B, channels, H, W).

        Raises:
            LatentError: The shape does not fit.
        """
        if self._is_by_points(z):
            return self._by_terms(z)
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
        out = torch.cat(parts, dim=1)
        return self.by_points(out) if self._is_by_points(z) else out.reshape(z.shape)

    def matrices(self, g: Tensor) -> Float[Tensor, "n D D"]:
        """rho(g) on flat latents for a batch of elements, float64."""
        return joint_matrices(self.blocks, g)

    def by_points(self, flat: Float[Tensor, "B D"]) -> Float[Tensor, "B n width"]:
        """Flat latents of points, point by point; `flatten` takes them back.

        Args:
            flat: Latents of a representation whose terms are all of points.
        """
        assert self.points is not None
        n = self.points[0]
        parts = [
            part if block.copies_last else part.unflatten(2, (n, -1)).transpose(1, 2).flatten(2)
            for block, part in zip(self.blocks, self.split(flat), strict=True)
        ]
        return torch.cat(parts, dim=2)

    def _is_by_points(self, z: Tensor) -> bool:
        return self.points is not None and z.dim() == 3 and tuple(z.shape[1:]) == self.points

    def _by_terms(self, z: Tensor) -> Tensor:
        """Latents point by point as flat ones, term by term."""
        widths = [_point_width(block) or 0 for block in self.blocks]
        parts = [
            part.flatten(1) if block.copies_last else part.unflatten(2, (block.copies, -1)).transpose(1, 2).flatten(1)
            for block, part in zip(self.blocks, z.split(widths, dim=2), strict=True)
        ]
        return torch.cat(parts, dim=1)

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
        alone = [block.axes for block in self.blocks if len(self.blocks) == 1]
        maps = [block for block in self.blocks if isinstance(block, FieldMap)]
        if len(maps) == len(self) and len({block.axes[2:] for block in maps}) == 1:
            alone.insert(0, (sum(block.channels for block in maps), *maps[0].axes[2:]))
        return [(self.size,), self.shape, *alone, *([] if self.points is None else [self.points])]

    def _misfit(self, shape: tuple[int, ...]) -> str:
        layouts = " or ".join(dict.fromkeys(str(("B", *s)).replace("'", "") for s in self._layouts))
        return f"Expected latents of shape {layouts} for {self} but got {shape}{_remedy(self, shape)}"


def _point_width(block: Block) -> int | None:
    """Numbers of one point in a block of points that S_n orders, alone or before another group; else None."""
    if isinstance(block, Points):
        return block.copies
    if isinstance(block, Outer) and isinstance(block.parts[0], Points):
        return block.size // block.parts[0].dim
    return None


def _remedy(representation: Representation, shape: tuple[int, ...]) -> str:
    inner, layout = shape[1:], representation.shape
    positions = len(inner) - len(layout)
    if inner[:1] == (representation.size,) or (positions > 0 and layout in (inner[:-positions], inner[positions:])):
        kept = ""
        if len(inner) == 3 and inner[0] == representation.size:
            exact = exact_subgroup(representation.group, square=inner[1] == inner[2]) == str(representation.group)
            kept = f", or keep them: '{representation} on {inner[1]}x{inner[2]}'" if exact else ""
        nodes = ""
        if len(inner) == 2 and inner[1] == representation.size:
            nodes = ", or, where each node has a latent of its own, read out its features (pool='readout sum')"
        return f"; pool the positions of this feature map first (pool='mean' in the callback){kept or nodes}."
    maps = [axes for axes in representation._layouts[2:3] if isinstance(representation.blocks[0], FieldMap)]
    if maps and len(inner) == 3:
        if (inner[2], *inner[:2]) == maps[0]:
            return "; the channels stand last: bring them first with z.movedim(-1, 1)."
        if inner[0] == maps[0][0]:
            return f"; the map has {inner[1]}x{inner[2]} pixels: declare it 'on {inner[1]}x{inner[2]}'."
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
