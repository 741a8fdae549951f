"""escnn: field types of steerable networks as representations, in the order of their channels.

What is built is compared with escnn's own matrices, element by element, before it is given out: no name and no
convention is trusted.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import O2, O3, SO2, SO3, Cyclic, Dihedral, Group, Orthogonal, Representation
from lightning_invariant.groups.block import Block, Trivial, joint_matrices
from lightning_invariant.groups.fields import Fields
from lightning_invariant.groups.finite_blocks import Determinant, PlanarIrrep, Quotient, Regular
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep

TOLERANCE = 1e-6
"""Largest difference between an entry of our matrices and one of escnn's."""
SAMPLES = 12
"""Elements of an infinite group that matrices are compared at, beside the identity."""
AXES = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)
"""The coordinates y, z, x, which escnn's irrep of degree 1 acts on, out of x, y, z of its elements."""


def read(source: Any) -> Representation | None:
    """Return the representation of a FieldType, a GeometricTensor, or a layer's `out_type`; None for others.

    Raises:
        GroupError: The group or a field has no notation here.
    """
    library = sys.modules.get("escnn.nn")
    if library is None:
        return None
    field_type: Any = getattr(source, "out_type", None) if isinstance(source, nn.Module) else source
    if isinstance(field_type, library.GeometricTensor):
        field_type = field_type.type
    return _representation(field_type) if isinstance(field_type, library.FieldType) else None


def is_geometric(output: Any) -> bool:
    """Return whether a layer's output is escnn's GeometricTensor, which says its type itself."""
    library = sys.modules.get("escnn.nn")
    return library is not None and isinstance(output, library.GeometricTensor)


def is_there() -> bool:
    """Return whether escnn is imported, so that a layer may give what is of it."""
    return "escnn.nn" in sys.modules


@dataclass(frozen=True)
class _Symmetry:
    """A group of ours, some of its elements, and the same elements of escnn's group."""

    group: Group
    elements: Tensor
    theirs: tuple[Any, ...]

    def matrices(self, representation: Any) -> Tensor:
        """Return what escnn takes the elements for, as matrices."""
        return torch.tensor(np.stack([representation(e) for e in self.theirs]), dtype=torch.float64)

    def fits(self, blocks: tuple[Block, ...], theirs: Tensor) -> bool:
        """Return whether blocks have escnn's matrices."""
        if sum(block.size for block in blocks) != theirs.shape[-1]:
            return False
        return bool((joint_matrices(blocks, self.elements) - theirs).abs().max() < TOLERANCE)


def _representation(field_type: Any) -> Representation:
    symmetry = _symmetry(field_type.gspace)
    blocks: list[Block] = []
    for representation, run in groupby(field_type.representations):
        copies, (parts, basis) = len(list(run)), _field(symmetry, representation, field_type.gspace)
        if basis is None and len(parts) == 1:
            block: Block = replace(parts[0], copies=copies * parts[0].copies)
        else:
            block = Fields(symmetry.group, copies, parts, basis)
        _append(blocks, block)
    return Representation(symmetry.group, _repeated(symmetry.group, blocks))


def _repeated(group: Group, blocks: list[Block]) -> tuple[Block, ...]:
    """A sequence that comes several times as one block: "8 (1x0 + 1x1)", not sixteen terms."""
    for period in range(2, len(blocks) // 2 + 1):
        copies, rest = divmod(len(blocks), period)
        if rest == 0 and blocks == copies * blocks[:period] and not any(isinstance(b, Fields) for b in blocks):
            return (Fields(group, copies, tuple(blocks[:period])),)
    return tuple(blocks)


def _append(blocks: list[Block], block: Block) -> None:
    """Add a block, to its neighbour where that is of the same kind."""
    if blocks and replace(blocks[-1], copies=block.copies) == block:
        blocks[-1] = replace(block, copies=blocks[-1].copies + block.copies)
    else:
        blocks.append(block)


def _symmetry(space: Any) -> _Symmetry:
    """The group of a space of escnn's, by what it does to the plane or to space."""
    theirs, kind = space.fibergroup, type(space.fibergroup).__name__
    action = lambda e: np.asarray(space.basespace_action(e))  # noqa: E731
    if space.dimensionality == 2 and kind in ("CyclicGroup", "DihedralGroup", "SO2", "O2"):
        return _planar(theirs, kind, action)
    if space.dimensionality == 3 and kind in ("SO3", "O3"):
        group = SO3() if kind == "SO3" else O3()
        elements = group.probe_elements(SAMPLES + 1, torch.Generator().manual_seed(0))
        return _Symmetry(group, elements, tuple(_spatial(theirs, g) for g in elements))
    raise GroupError(
        f"Expected a space of escnn's with Cn, Dn, SO(2) or O(2) on the plane, or SO(3) or O(3), but got {space}; say "
        "how the symmetry acts by representation=."
    )


def _planar(theirs: Any, kind: str, action: Callable[[Any], np.ndarray]) -> _Symmetry:
    mirror = {
        "CyclicGroup": lambda: theirs.element(1 % theirs.order()),
        "DihedralGroup": lambda: theirs.element((1, 0)),
        "O2": lambda: theirs.element((1, 0.0)),
        "SO2": lambda: theirs.identity,
    }[kind]()
    rho = action(mirror)
    axis = round(math.degrees(math.atan2(rho[1, 0], rho[0, 0])) / 2 % 180, 9) % 180
    flips = np.linalg.det(rho) < 0
    if kind == "CyclicGroup" and flips:
        group: Group = Dihedral(1, axis)
        return _Symmetry(group, group.elements(), (theirs.identity, mirror))
    if kind == "CyclicGroup":
        group = Cyclic(theirs.order())
        return _Symmetry(group, group.elements(), tuple(theirs.element(r) for r in range(group.n)))
    if kind == "DihedralGroup":
        group = Dihedral(theirs.order() // 2, axis)
        parts = zip(*(part.tolist() for part in group.parts(group.elements())), strict=True)
        return _Symmetry(group, group.elements(), tuple(theirs.element((f, r)) for r, f in parts))
    group = SO2() if kind == "SO2" else O2(axis)
    elements = group.probe_elements(SAMPLES + 1, torch.Generator().manual_seed(0))
    found = []
    for g in elements.tolist():
        flip = g[0][0] * g[1][1] < g[0][1] * g[1][0]
        angle = (math.atan2(g[1][0], g[0][0]) - (math.radians(2 * axis) if flip else 0.0)) % (2 * math.pi)
        found.append(theirs.element(angle if kind == "SO2" else (int(flip), angle), "radians"))
    return _Symmetry(group, elements, tuple(found))


def _spatial(theirs: Any, g: Tensor) -> Any:
    """The element of escnn whose irrep of degree 1 is a matrix."""
    flip = torch.linalg.det(g) < 0
    turn = (AXES.mT @ (-g if flip else g) @ AXES).numpy()
    if type(theirs).__name__ == "SO3":
        return theirs.element(turn, "MAT")
    return theirs.element((int(flip), turn), "MAT")


def _field(symmetry: _Symmetry, representation: Any, space: Any) -> tuple[tuple[Block, ...], Any]:
    """What one field is a sum of, and in which basis."""
    matrices = symmetry.matrices(representation)
    parts = _contiguous(symmetry, representation, matrices)
    if parts is not None:
        return parts, None
    irreps = [symmetry.matrices(space.fibergroup.irrep(*name)) for name in representation.irreps]
    blocks: list[Block] = []
    for irrep in irreps:
        found = _one(symmetry, representation, irrep)
        if found is None:
            break
        _append(blocks, found)
    else:
        basis = np.asarray(representation.change_of_basis, dtype=np.float64)
        if np.abs(basis @ basis.T - np.eye(len(basis))).max() < TOLERANCE:
            return tuple(blocks), tuple(map(tuple, basis.tolist()))
    raise GroupError(
        f"Expected a field that is made of irreps, regular or quotient fields by an orthogonal change of basis but got "
        f"{representation.name} of {space}, for which there is no notation; say how the symmetry acts by "
        "representation=, or use Matrices[[...]]."
    )


def _contiguous(symmetry: _Symmetry, representation: Any, matrices: Tensor) -> tuple[Block, ...] | None:
    """Blocks that stand one after another; None where numbers are mixed in another way."""
    mixed = (matrices.abs() > TOLERANCE).any(dim=0)
    mixed = mixed | mixed.mT
    blocks: list[Block] = []
    start, size = 0, len(mixed)
    while start < size:
        end = start + 1
        while end < size and mixed[start:end, end:].any():
            end += 1
        block = _one(symmetry, representation, matrices[:, start:end, start:end])
        if block is None:
            return None
        _append(blocks, block)
        start = end
    return tuple(blocks)


def _one(symmetry: _Symmetry, representation: Any, matrices: Tensor) -> Block | None:
    """The block with escnn's matrices."""
    size = matrices.shape[-1]
    return next((b for b in _candidates(symmetry.group, representation, size) if symmetry.fits((b,), matrices)), None)


def _candidates(group: Group, representation: Any, size: int) -> Iterator[Block]:
    """Blocks of one copy that numbers which are mixed with each other may be."""
    if isinstance(group, (Cyclic, Dihedral)):
        yield from _finite_candidates(group, size)
        return
    assert isinstance(group, Orthogonal)
    if group.d == 3:
        for parity in (None,) if group.special else (1, -1):
            yield DegreeIrrep(group, 1, (size - 1) // 2, parity)
        return
    if size == 1:
        yield FrequencyIrrep(group, 1, 0)
        if not group.special:
            yield Flip(group, 1)
        return
    for frequency in sorted({name[-1] for name in representation.irreps}):
        yield FrequencyIrrep(group, 1, frequency)


def _finite_candidates(group: Cyclic | Dihedral, size: int) -> Iterator[Block]:
    n = group.n
    if size == 1:
        yield Trivial(group, 1)
        if isinstance(group, Dihedral):
            yield Determinant(group, 1)
    if size == 1 and n % 2 == 0:
        yield PlanarIrrep(group, 1, n // 2)
        if isinstance(group, Dihedral):
            yield PlanarIrrep(group, 1, n // 2, odd=True)
    if size == 2:
        for frequency in range(1, (n + 1) // 2):
            yield PlanarIrrep(group, 1, frequency)
    if size == group.order > 1:
        yield Regular(group, 1)
    for turns in range(1, n + 1):
        if n % turns == 0:
            if size == group.order // turns:
                yield Quotient(group, 1, turns)
            if isinstance(group, Dihedral) and size == group.order // (2 * turns):
                for mirror in range(n // turns):
                    yield Quotient(group, 1, turns, mirror)
