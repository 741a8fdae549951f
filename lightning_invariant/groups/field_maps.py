"""Feature maps: fields at every pixel, which the group moves together with what stands in them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.block import Block
from lightning_invariant.groups.cyclic import Cyclic, Translations
from lightning_invariant.groups.dihedral import Dihedral
from lightning_invariant.groups.group import Group
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.planar import axis_suffix, planar_matrices

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor


@dataclass(frozen=True)
class FieldMap(Block):
    """Copies of a field on a grid of pixels: (rho(g) z)(p) = field(g) z(g^-1 p), laid out (copies * dim, H, W).

    Quarter turns and flips move pixels onto pixels, so the action is exact; groups with other elements have none on a
    grid. A grid that is not square has half turns and flips only.

    Args:
        group: C_n or D_n whose elements move the pixels exactly: C1, C2, C4, and D1, D2, D4 about an axis of 0, 45, 90
            or 135 degrees.
        copies: How many fields.
        field: What one field is; its own number of copies does not count.
        height: Rows of the map.
        width: Columns of the map.

    Raises:
        ValueError: Another group; the message names its subgroups that are exact.

    Example:
        >>> from lightning_invariant.groups import Representation
        >>> Representation.parse("C4: 16 regular on 7x7").size
        3136
    """

    field: Block
    height: int
    width: int

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "field", replace(self.field, copies=1))
        if min(self.height, self.width) < 1:
            raise ValueError(f"Expected a map of at least 1x1 pixels but got {self.height}x{self.width}.")
        exact = exact_subgroup(self.group, square=self.height == self.width)
        if exact != str(self.group):
            part = f"its largest subgroup that does is {exact}, say how that acts, or" if exact else "in its place,"
            raise ValueError(
                f"Expected a group that moves the pixels of a {self.height}x{self.width} map onto pixels but "
                f"{self.group} does not; {part} pool the positions (pool='mean' in the callback) and declare "
                f"'{self.group}: {replace(self.field, copies=self.copies)}'."
            )
        if self.field.group != self.group or self.field.copies_last or isinstance(self.field, FieldMap):
            raise ValueError(f"Expected fields of {self.group} at each pixel but got {self.field}.")

    @property
    def dim(self) -> int:
        """Numbers of one field on all pixels."""
        return self.field.dim * self.height * self.width

    @property
    def axes(self) -> tuple[int, ...]:
        """Fields, their numbers, rows and columns apart."""
        return (self.copies, self.field.dim, self.height, self.width)

    @property
    def channels(self) -> int:
        """Channels of the map."""
        return self.copies * self.field.dim

    def transform(self, z: Tensor, g: Tensor) -> Tensor:
        """Permute the pixels, then act on the field in each."""
        count, copies, pixels = len(z), z.shape[1], self.height * self.width
        origins = self.origins.to(z.device)[g.to(z.device)]
        maps = z.reshape(count, -1, pixels)
        maps = maps.gather(2, origins[:, None].expand_as(maps)).reshape(count, copies, self.field.dim, pixels)
        fields = self.field.transform(maps.transpose(2, 3).reshape(count, -1, self.field.dim), g)
        return fields.reshape(count, copies, pixels, -1).transpose(2, 3).reshape(z.shape)

    def matrices(self, g: Tensor) -> Tensor:
        """Permutations of the pixels, times the matrices of the field."""
        pixels = torch.eye(self.height * self.width, dtype=torch.float64, device=g.device)
        moved = pixels[self.origins.to(g.device)[g]]
        return torch.einsum("nij,npq->nipjq", self.field.matrices(g), moved).reshape(len(g), self.dim, self.dim)

    @cached_property
    def origins(self) -> Tensor:
        """For each element and pixel, row by row, the pixel that it comes from, (order, H * W)."""
        elements = self.group.elements()
        r, f = self.group.parts(elements) if isinstance(self.group, Dihedral) else (elements, elements * 0)  # type: ignore[union-attr]
        axis = self.group.axis if isinstance(self.group, Dihedral) else 0.0
        rho = planar_matrices(2 * math.pi / self.group.n * r.double(), f, axis).round()  # type: ignore[attr-defined]
        row, column = (part.flatten() for part in torch.meshgrid(*map(torch.arange, self.axes[2:]), indexing="ij"))
        # Twice the place from the centre, x to the right and y up.
        places = torch.stack([2 * column - self.width + 1, self.height - 1 - 2 * row]).double()
        x, y = (rho.mT @ places).unbind(dim=1)
        return ((self.height - 1 - y) / 2 * self.width + (x + self.width - 1) / 2).round().long()

    def __str__(self) -> str:
        return f"{replace(self.field, copies=self.copies)} on {self.height}x{self.width}"


def maps_throughout(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Terms as maps of the pixels that the next map behind them has: "2 trivial + 3 regular on 7x7" is one output."""
    found: list[Block] = []
    for block in reversed(blocks):
        behind = found[-1] if found else None
        if isinstance(behind, FieldMap) and not isinstance(block, FieldMap):
            block = FieldMap(block.group, block.copies, block, behind.height, behind.width)
        found.append(block)
    return tuple(reversed(found))


def exact_subgroup(group: Group, *, square: bool) -> str:
    """The largest subgroup of rotations and reflections of the plane that moves pixels onto pixels; "" if none does.

    Example:
        >>> exact_subgroup(Cyclic(8), square=True), exact_subgroup(Dihedral(6), square=True)
        ('C4', 'D2')
    """
    turns, lines = (4, 45.0) if square else (2, 90.0)
    if isinstance(group, Translations) or not isinstance(group, (Cyclic, Dihedral, Orthogonal)):
        return ""
    if isinstance(group, Orthogonal):
        if group.d != 2:
            return ""
        return f"C{turns}" if group.special else f"D{turns}{axis_suffix(group.axis if group.axis % lines == 0 else 0)}"
    rotations = math.gcd(group.n, turns)
    if isinstance(group, Cyclic):
        return f"C{rotations}" if rotations > 1 or group.n == 1 else ""
    axes = [(group.axis + 180.0 * k / group.n) % 180.0 for k in range(group.n)]
    exact = [axis for axis in axes if abs(axis / lines - round(axis / lines)) < 1e-9]
    if exact:
        axis = group.axis if group.axis in exact else min(exact)
        return f"D{rotations}{axis_suffix(axis)}"
    return f"C{rotations}" if rotations > 1 else ""
