"""Invariant views of points from frames: products of what the points carry with vectors taken from the points."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep, Vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block


class Field(NamedTuple):
    """What a point carries.

    Attributes:
        degree: 0 for a number, 1 for a vector, 2 for a symmetric traceless matrix.
        parity: 1 or -1, by what the inversion of space (a mirror of the plane) multiplies it.
    """

    degree: int
    parity: int


class Seen(NamedTuple):
    """What frames see of n points; frames are numbered by their points, i and j in space, i alone in the plane.

    A number that does not depend on one of them has size 1 there, so that nothing is computed twice.

    Attributes:
        straight: Numbers that a mirror image leaves alone, (B, n or 1, n or 1, n, copies) each.
        mirrored: Numbers whose sign it changes, likewise.
        frame: Products of the frame's own vectors, (B, n, n or 1, frame_size).
    """

    straight: list[Tensor]
    mirrored: list[Tensor]
    frame: Tensor


def field_of(block: Block) -> Field | None:
    """What a block of O(d) or SO(d) is, None where frames cannot show it (degrees and frequencies above those)."""
    if isinstance(block, Trivial):
        return Field(0, 1)
    if isinstance(block, Flip):
        return Field(0, -1)
    if isinstance(block, FrequencyIrrep):
        return Field(block.frequency, 1) if block.frequency <= 1 else None
    if isinstance(block, Vectors):
        return Field(1, -1 if block.dim == 3 else 1)
    if isinstance(block, DegreeIrrep) and block.degree <= 2:
        return Field(block.degree, block.parity or (-1) ** block.degree)
    return None


class Views(nn.Module):
    """From fields on points to what each frame sees of each point.

    Args:
        fields: What the points carry.
        copies: How many copies of each.
        d: Dimension of space, 2 or 3.
        seed: Seed of the combinations that make one vector of several.
    """

    combinations: Tensor

    def __init__(self, fields: Sequence[Field], copies: Sequence[int], d: int, seed: int) -> None:
        super().__init__()
        self.fields, self.d = tuple(fields), d
        parities = [field.parity for field in fields if field.degree == 1]
        # Polar vectors are taken where there are both: axial ones are often products of them.
        self.parity = min(parities, default=0)
        self.anchors = tuple(i for i, field in enumerate(fields) if field == (1, self.parity))
        many = sum(copies[i] for i in self.anchors)
        drawn = torch.randn(d - 1, many, generator=torch.Generator().manual_seed(seed + 1)) / max(1, many) ** 0.5
        self.register_buffer("combinations", drawn if many > 1 else torch.ones(d - 1, many))
        kinds = self._kinds()
        self.straight_size = sum(copies[i] for i, parity in kinds if parity == 1)
        self.mirrored_size = sum(copies[i] for i, parity in kinds if parity == -1)
        self.size, self.frame_size = self.straight_size + self.mirrored_size, 3 if d == 3 else 1

    def forward(self, fields: Sequence[Float[Tensor, "B n m dim"]]) -> Seen:
        """Views of every point from every frame."""
        own = torch.cat([fields[i] for i in self.anchors], dim=2)
        vectors = torch.einsum("am,bnmd->abnd", self.combinations.to(own.dtype), own)
        frame = self._frame(vectors)
        views = [view for field, kind in zip(fields, self.fields, strict=True) for view in _seen(field, kind, frame)]
        parities = [parity for _, parity in self._kinds()]
        own = torch.broadcast_tensors(*frame[: self.d - 1])
        products = [(a * b).sum(dim=-1) for i, a in enumerate(own) for b in own[i:]]
        return Seen(
            [view for view, parity in zip(views, parities, strict=True) if parity == 1],
            [view for view, parity in zip(views, parities, strict=True) if parity == -1],
            torch.stack(products, dim=-1),
        )

    def _frame(self, vectors: Tensor) -> list[Tensor]:
        """The vectors of each frame, (B, n or 1, n or 1, d): u, w, u x w in space, u and u turned in the plane."""
        u = vectors[0][:, :, None]
        if self.d == 2:
            return [u, torch.stack([-u[..., 1], u[..., 0]], dim=-1)]
        w = vectors[1][:, None]
        return [u, w, torch.linalg.cross(*torch.broadcast_tensors(u, w))]

    def _kinds(self) -> list[tuple[int, int]]:
        """For every view, in the order of `_seen`, which field it shows and its parity."""
        parities = [self.parity, self.parity, 1] if self.d == 3 else [1, -1]
        kinds = []
        for i, field in enumerate(self.fields):
            factors = [1] if field.degree == 0 else parities
            if field.degree == 2:
                factors = [parities[a] * parities[b] for a, b in PAIRS]
            kinds += [(i, factor * field.parity) for factor in factors]
        return kinds


PAIRS = ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2))
"""Pairs of frame vectors whose symmetric traceless products span all five dimensions if u and w are independent."""


def _seen(field: Tensor, kind: Field, frame: list[Tensor]) -> list[Tensor]:
    """Numbers (B, n or 1, n or 1, n, copies), one tensor a product with the frame."""
    if kind.degree == 0:
        return [field[:, None, None, :, :, 0]]
    vectors = frame if kind.degree == 1 else [symmetric_product(frame[a], frame[b]) for a, b in PAIRS]
    return [torch.einsum("bijd,bkmd->bijkm", vector, field) for vector in vectors]


def symmetric_product(a: Float[Tensor, "*n 3"], b: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 5"]:
    """The symmetric traceless part of two vectors' product, in the basis of degree 2 (that of `harmonics`).

    On the diagonal it is proportional to the spherical harmonics of degree 2.
    """
    x, y, z = a.unbind(dim=-1)
    p, q, r = b.unbind(dim=-1)
    root = 3**0.5
    parts = [root * (x * r + z * p), root * (x * q + y * p), 2 * y * q - x * p - z * r, root * (y * r + z * q)]
    return torch.stack([*parts, root * (z * r - x * p)], dim=-1) / 2
