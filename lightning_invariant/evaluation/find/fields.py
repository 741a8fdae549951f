"""The standard form of a representation that is known as matrices: a reordering of fields, or a change of basis."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.evaluation.find.averages import (
    TOP_DEGREE,
    TOP_FREQUENCY,
    generators,
    intertwiner,
    invariants,
    stages,
    weight_counts,
)
from lightning_invariant.evaluation.find.linear import polar
from lightning_invariant.groups import Cyclic, Dihedral, FiniteGroup, Group, Matrices, Orthogonal, Representation
from lightning_invariant.groups.block import Block, Trivial
from lightning_invariant.groups.finite_blocks import Determinant, PlanarIrrep, Quotient, Regular
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep, Vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from lightning_invariant.evaluation.find.averages import Stage

LINKED = 0.1
"""Entries of the matrices above this link two channels to one field."""
HALF = 0.5
"""What an average over the group keeps of a direction that belongs to a field, at least."""
SAME = 0.1
"""Largest difference of an entry from a standard field's, and of a row's norm outside of its field from 0."""


@dataclass(frozen=True)
class Form:
    """A representation in standard form.

    Args:
        representation: In standard form.
        basis: What latents (minus the offset) are multiplied by to be transformed by it, (D, size).
        order: Channels in standard order, if the basis does no more than reorder them.
    """

    representation: Representation
    basis: Tensor
    order: Tensor | None = None


def matched_channels(z: Tensor, w: Tensor) -> Tensor | None:
    """Return the channel of z that each channel of w repeats; None if two repeat the same.

    Args:
        z: Latents (N, D).
        w: Latents of the transformed inputs.
    """
    squares = z.square().sum(dim=0), w.square().sum(dim=0)
    still = torch.maximum(*squares) <= 1e-12 * squares[0].max()
    far = squares[0][None, :] + squares[1][:, None] - 2 * w.mT @ z
    far[:, still] = torch.inf
    origin = far.argmin(dim=1)
    origin[still] = still.nonzero()[:, 0]
    return origin if len(origin.unique()) == len(origin) else None


def reordered(group: Group, origins: Sequence[Tensor]) -> Form | None:
    """Return the fields that permutations of channels make up; None if some are not standard.

    Args:
        group: What acts.
        origins: Of each generator, the channel that each channel comes from.
    """
    size = len(origins[0])
    return standard_form(group, torch.eye(size, dtype=torch.float64)[torch.stack(list(origins))], None)


def standard_form(
    group: Group, rho: Tensor, coordinates: Tensor | None, generator: torch.Generator | None = None
) -> Form | None:
    """Return the standard form of a representation.

    Args:
        group: What acts.
        rho: Orthogonal matrices of the generators, (n, r, r).
        coordinates: From latents to what the matrices act on, (D, r); None for channels that are only permuted.
        generator: Of random starting points; None to give up where a change of basis is needed.

    Returns:
        The form; None if no sum of known fields has these matrices.
    """
    channels = _by_channels(rho, coordinates)
    fields: list[tuple[Block, Tensor]] = []
    rest = list(range(rho.shape[-1]))
    if channels is not None:
        matrices, live, size = channels
        eye = torch.eye(size, dtype=torch.float64)
        rest = []
        components = _components(matrices)
        if not components:
            rest = list(range(len(live)))
        for component in components:
            block, places = _named(group, matrices, component)
            if block is None:
                rest += component
            else:
                fields.append((block, eye[live[places]]))
        dead = torch.ones(size, dtype=torch.bool).index_fill(0, live, False).nonzero()[:, 0]
        if not rest:
            fields += [(_still(group), eye[channel : channel + 1]) for channel in dead]
            representation, rows = _summed(fields)
            return Form(representation, rows.mT, rows.argmax(dim=1))
        rest.sort()
        rho, coordinates = matrices[:, rest][:, :, rest], eye[:, live[rest]]
    if generator is None or coordinates is None:
        return None
    found = _by_basis(group, rho, generator)
    if found is None:
        return None
    fields += [(block, (coordinates @ columns).mT) for block, columns in found]
    representation, rows = _summed(fields)
    return Form(representation, rows.mT)


def _by_channels(rho: Tensor, coordinates: Tensor | None) -> tuple[Tensor, Tensor, int] | None:
    """The matrices on channels, which channels are alive, and how many there are; None if too little is spanned."""
    if coordinates is None:
        size = rho.shape[-1]
        return rho, torch.arange(size), size
    live = (coordinates.norm(dim=1) > 1e-3).nonzero()[:, 0]
    inner = coordinates[live]
    eye = torch.eye(len(live), dtype=torch.float64)
    if len(live) != rho.shape[-1] or (inner @ inner.mT - eye).abs().max() > 1e-6:
        return None
    return inner @ rho @ inner.mT, live, len(coordinates)


def _components(matrices: Tensor) -> list[list[int]]:
    """Channels that the matrices mix, each set in ascending order; none if all are mixed a little."""
    linked = (matrices.abs().amax(dim=0) > LINKED) | torch.eye(matrices.shape[-1], dtype=torch.bool)
    near = [row.nonzero()[:, 0].tolist() for row in linked | linked.mT]
    found: list[list[int]] = []
    apart = torch.ones_like(linked)
    seen: set[int] = set()
    for start in range(len(near)):
        if start in seen:
            continue
        component, fresh = {start}, [start]
        while fresh:
            fresh = [other for channel in fresh for other in near[channel] if other not in component]
            component |= set(fresh)
        seen |= component
        found.append(sorted(component))
        apart[torch.tensor(found[-1])[:, None], torch.tensor(found[-1])] = False
    return found if float((matrices * apart).norm(dim=2).max()) < SAME else []


def _named(group: Group, matrices: Tensor, component: list[int]) -> tuple[Block | None, list[int]]:
    """The standard field that some channels are, and the channels in its order."""
    own = matrices[:, component][:, :, component]
    for block in _fields(group, len(component)):
        places = _matched(own, block.matrices(generators(group)))
        if places is not None:
            return block, [component[place] for place in places]
    return None, component


def _fields(group: Group, size: int) -> Iterator[Block]:
    """One copy of every standard field of a size."""
    kinds: list[Block] = [_still(group)]
    if isinstance(group, FiniteGroup):
        kinds.append(Regular(group, 1))
    if isinstance(group, Matrices):
        kinds.append(Vectors(group, 1))
    steps: list[int] = []
    if isinstance(group, (Cyclic, Dihedral)):
        kinds += [PlanarIrrep(group, 1, k) for k in range(1, group.n // 2 + 1)]
        steps = [turns for turns in range(1, group.n + 1) if group.n % turns == 0]
        kinds += [Quotient(group, 1, turns) for turns in steps]
    if isinstance(group, Dihedral):
        kinds.append(Determinant(group, 1))
        kinds += [PlanarIrrep(group, 1, group.n // 2, odd=True)] if group.n % 2 == 0 else []
        kinds += [Quotient(group, 1, turns, mirror) for turns in steps for mirror in range(group.n // turns)]
    if isinstance(group, Orthogonal):
        kinds += _irreps_of(group)[1:]
    yield from (kind for kind in kinds if kind.dim == size)


def _still(group: Group) -> Block:
    """One number that nothing transforms."""
    return _irreps_of(group)[0] if isinstance(group, Orthogonal) else Trivial(group, 1)


def _irreps_of(group: Orthogonal) -> list[Block]:
    if group.d == 2:
        signs: list[Block] = [] if group.special else [Flip(group, 1)]
        return [FrequencyIrrep(group, 1, k) for k in range(TOP_FREQUENCY + 1)] + signs
    parities = (None,) if group.special else (1, -1)
    return [DegreeIrrep(group, 1, degree, parity) for degree in range(TOP_DEGREE + 1) for parity in parities]


def _matched(own: Tensor, wanted: Tensor) -> list[int] | None:
    """Places in which matrices are the wanted ones; a search that starts anew where it contradicts itself."""
    size = wanted.shape[-1]
    linked = (wanted.abs().amax(dim=0) + wanted.abs().amax(dim=0).mT) > LINKED
    sequence = [0]
    while len(sequence) < size:
        near = [place for place in range(size) if place not in sequence and linked[place, sequence].any()]
        sequence.append(near[0] if near else next(place for place in range(size) if place not in sequence))

    def fits(places: list[int], channel: int) -> bool:
        now, here = sequence[: len(places) + 1], [*places, channel]
        differences = (own[:, here, channel] - wanted[:, now, now[-1]]).abs().max()
        return bool(max(differences, (own[:, channel, here] - wanted[:, now[-1], now]).abs().max()) < SAME)

    def extended(places: list[int]) -> list[int] | None:
        if len(places) == size:
            return places
        for channel in range(size):
            if channel not in places and fits(places, channel):
                found = extended([*places, channel])
                if found is not None:
                    return found
        return None

    found = extended([])
    if found is None:
        return None
    return [channel for _, channel in sorted(zip(sequence, found, strict=True))]


def _summed(fields: list[tuple[Block, Tensor]]) -> tuple[Representation, Tensor]:
    """Fields of one kind side by side; the trivial ones first, regular ones next, then by frequency."""
    kinds: dict[Block, list[Tensor]] = {}
    for block, rows in fields:
        kinds.setdefault(_plain(block), []).append(rows)
    ordered = sorted(kinds, key=_rank)
    rows = torch.cat([part for block in ordered for part in kinds[block]])
    blocks = tuple(replace(block, copies=sum(map(len, kinds[block])) // block.dim) for block in ordered)
    return Representation(ordered[0].group, blocks), rows


def _plain(block: Block) -> Block:
    return replace(block, copies=1)


def _rank(block: Block) -> tuple[bool, bool, float, bool]:
    number = getattr(block, "frequency", getattr(block, "degree", 0.5))
    return not isinstance(block, Trivial), not isinstance(block, Regular), number, getattr(block, "parity", 1) == -1


def _by_basis(group: Group, rho: Tensor, generator: torch.Generator) -> list[tuple[Block, Tensor]] | None:
    """Blocks with the columns that they take; the columns are orthonormal, or embed the space in a larger one."""
    parts = stages(group, list(rho))
    for candidate in _candidates(group, parts, rho.shape[-1]):
        basis, strengths = _aligned(parts, candidate, generator)
        if float(strengths.min()) > HALF:
            columns = [basis[:, where] for where in candidate.slices]
            return list(zip(candidate.blocks, columns, strict=True))
    found = [_strong(parts, block, count, generator) for block, count in _counted(group, parts)]
    return [field for field in found if field is not None] or None


def _strong(parts: list[Stage], block: Block, count: float, generator: torch.Generator) -> tuple[Block, Tensor] | None:
    """The copies of a field that stand out, where interpolation of inputs drowns directions of little variance."""
    size = parts[0].matrices.shape[-1]
    copies = min(math.ceil(count) + 1, size // block.dim)
    if count < HALF or not copies:
        return None
    candidate = Representation(block.group, (replace(block, copies=copies),))
    start = torch.randn(size, candidate.size, dtype=torch.float64, generator=generator)
    averaged = intertwiner(parts, candidate, polar(intertwiner(parts, candidate, start)))
    by_copy = averaged.unflatten(1, (copies, block.dim)).movedim(1, 0).flatten(1)
    values, mixes = torch.linalg.eigh(by_copy @ by_copy.mT / block.dim)
    mixes = mixes[:, values > HALF**2]
    if not mixes.shape[1]:
        return None
    kept = (mixes.mT @ by_copy).unflatten(1, (size, block.dim)).movedim(0, 1).flatten(1)
    return replace(block, copies=mixes.shape[1]), polar(kept)


def _aligned(parts: list[Stage], wanted: Representation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Orthonormal columns, or rows, that are transformed as wanted, and how much of each the average kept."""
    size = parts[0].matrices.shape[-1]
    start = torch.randn(size, wanted.size, dtype=torch.float64, generator=generator)
    averaged = intertwiner(parts, wanted, polar(intertwiner(parts, wanted, start)))
    return polar(averaged), torch.linalg.svdvals(averaged)


def _candidates(group: Group, parts: list[Stage], size: int) -> Iterator[Representation]:
    still = round(invariants(parts))
    if still == size:
        yield Representation(group, (replace(_still(group), copies=size),))
        return
    if isinstance(group, FiniteGroup) and group.order > 1:
        regular = (size - still) // (group.order - 1)
        if (size - still) % (group.order - 1) == 0 and still >= regular:
            trivial = (Trivial(group, still - regular),) if still > regular else ()
            yield Representation(group, (*trivial, Regular(group, regular)))
    counted = [replace(block, copies=round(count)) for block, count in _counted(group, parts) if round(count) > 0]
    if counted and sum(block.size for block in counted) == size:
        yield Representation(group, tuple(counted))
    if isinstance(group, FiniteGroup):
        # Any action of a finite group is a part of enough regular fields.
        regular = max(1, -(-(size - still) // (group.order - 1)))
        while regular <= size:
            trivial = (Trivial(group, still - regular),) if still > regular else ()
            yield Representation(group, (*trivial, Regular(group, regular)))
            regular += max(1, regular // 4)


def _counted(group: Group, parts: list[Stage]) -> Iterator[tuple[Block, float]]:
    """Irreducible representations that have a notation, and how often each occurs, by characters."""
    if isinstance(group, (Cyclic, Dihedral)) or (isinstance(group, Orthogonal) and group.d == 2):
        yield from _planar_counted(group, parts)
    elif isinstance(group, Matrices):
        traces = parts[0].matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
        squares = group.matrices().diagonal(dim1=1, dim2=2).sum(dim=1)
        yield Trivial(group, 1), invariants(parts)
        yield Vectors(group, 1), float((traces * squares).mean() / squares.square().mean())
    elif isinstance(group, Orthogonal):
        powers = parts[-1]
        weights = weight_counts(powers)
        twisted = [weights] if group.special else [weights, weight_counts(powers, parts[0].matrices[1])]
        for parity in (None,) if group.special else (1, -1):
            found = weights if parity is None else (twisted[0] + parity * twisted[1]) / 2
            for degree in range(TOP_DEGREE + 1):
                above = float(found[degree + 1]) if degree < TOP_DEGREE else 0.0
                yield DegreeIrrep(group, 1, degree, parity), float(found[degree]) - above


def _planar_counted(group: Group, parts: list[Stage]) -> Iterator[tuple[Block, float]]:
    weights, twisted = _weights(group, parts)
    half = group.n / 2 if isinstance(group, (Cyclic, Dihedral)) else None
    top = TOP_FREQUENCY if half is None else int(half)
    irrep = FrequencyIrrep if half is None else PlanarIrrep
    for k in range(top + 1):
        even = irrep(group, 1, k) if k else _still(group)  # type: ignore[arg-type]
        if twisted is None or k not in (0, half):
            yield even, float(weights[k])
            continue
        yield even, float(weights[k] + twisted[k]) / 2
        sign = Determinant(group, 1) if isinstance(group, Dihedral) else Flip(group, 1)  # type: ignore[arg-type]
        odd = sign if k == 0 else PlanarIrrep(group, 1, k, odd=True)  # type: ignore[arg-type]
        yield odd, float(weights[k] - twisted[k]) / 2


def _weights(group: Group, parts: list[Stage]) -> tuple[Tensor, Tensor | None]:
    """How often each frequency occurs, and how much more often even than odd where there are reflections."""
    if isinstance(group, Dihedral) and group.n == 1:
        return torch.tensor([parts[0].matrices[0].trace()]), torch.tensor([parts[0].matrices[1].trace()])
    return weight_counts(parts[0]), weight_counts(parts[0], parts[1].matrices[1]) if len(parts) > 1 else None
