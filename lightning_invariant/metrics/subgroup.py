"""Which part of a declared symmetry a layer really has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import Cyclic, Dihedral, Euclidean, FiniteGroup, Group, Orthogonal, Translations
from lightning_invariant.metrics.elements import LISTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor


class Part(NamedTuple):
    """A subgroup.

    Attributes:
        group: As a group of its own.
        rows: From elements (B, *element_shape) of the whole group to the rows that lie in it, and their elements there.
        places: For a regular field of the whole group, the entries of each regular field of the subgroup that it is;
            empty where there are no regular fields.
    """

    group: Group
    rows: Callable[[Tensor], tuple[Tensor, Tensor]]
    places: list[list[int]]


def subgroups(group: Group) -> list[Part]:
    """Return the cyclic and dihedral subgroups of C_n and D_n, and the rotations among O(2) and O(3), largest first.

    Example:
        >>> [str(part.group) for part in subgroups(Dihedral(4))][:4]
        ['C4', 'D2', 'D2(axis=45)', 'C2']
    """
    if isinstance(group, Orthogonal):
        return [] if group.special or group.d not in (2, 3) else [Part(Orthogonal(group.d, special=True), _proper, [])]
    if isinstance(group, Euclidean):
        return [] if group.special else [Part(Euclidean(group.d, special=True), _proper, [])]
    if isinstance(group, Translations) or not isinstance(group, (Cyclic, Dihedral)) or group.order > LISTED:
        return []
    found = []
    for m in (m for m in range(1, group.n + 1) if group.n % m == 0):
        step = group.n // m
        turns = torch.arange(m) * step
        if m > 1 and (m < group.n or isinstance(group, Dihedral)):
            found.append(_part(group, Cyclic(m), turns))
        if isinstance(group, Dihedral) and m < group.n:
            for first in range(step):
                part = Dihedral(m, group.axis + 180 * first / group.n)
                found.append(_part(group, part, torch.cat([turns, turns + first + group.n])))
    return sorted(found, key=lambda part: (-(part.group.order or 0), isinstance(part.group, Dihedral)))


def _part(group: FiniteGroup, part: Group, members: Tensor) -> Part:
    """A subgroup whose elements are these numbers of the whole group."""
    number = torch.full((group.order,), -1)
    number[members] = torch.arange(len(members))
    cosets, places = set(range(group.order)), []
    while cosets:
        coset = group.compose(members, torch.tensor(min(cosets))).tolist()
        places.append(coset)
        cosets -= set(coset)

    def rows(g: Tensor) -> tuple[Tensor, Tensor]:
        inside = number.to(g.device)[g]
        chosen = (inside >= 0).nonzero()[:, 0]
        return chosen, inside[chosen]

    return Part(part, rows, places)


def _proper(g: Tensor) -> tuple[Tensor, Tensor]:
    chosen = (torch.linalg.det(g) > 0).nonzero()[:, 0]
    return chosen, g[chosen]


def holding_subgroup(errors: Mapping[str, float], group: Group, tolerance: float) -> str:
    """Return the largest subgroup with errors within the tolerance; of several, the one of smallest errors.

    A subgroup counts if elements that were measured and found good generate it, and none of its measured elements is
    bad; elements that were not measured follow from their generators.

    Args:
        errors: Label of an element to its error, as `equivariance_errors` gives them.
        group: The declared group.
        tolerance: Largest error that still counts as holding.

    Returns:
        The group's name if all of it holds; "C4", "D2" or "D1(axis=90)" for subgroups of C_n and D_n, "the identity
        only", or "a subgroup of 4 of 24 elements"; "not all of SO3" for groups of more than 64 elements, whose
        subgroups are not searched.

    Raises:
        ValueError: A label is not one of the group's elements.

    Example:
        >>> holding_subgroup({"90°": 0.01, "45°": 0.6}, Cyclic(8), tolerance=0.1)
        'C4'
    """
    if not isinstance(group, FiniteGroup) or group.order > LISTED:
        return str(group) if all(error <= tolerance for error in errors.values()) else f"not all of {group}"
    numbers = {group.label(g): int(g) for g in group.elements()}
    if unknown := set(errors) - set(numbers):
        raise ValueError(f"Expected labels of elements of {group} but got {sorted(unknown)}.")
    good = {numbers[label] for label, error in errors.items() if error <= tolerance} | {0}
    bad = {numbers[label] for label in errors} - good
    measured = {numbers[label]: error for label, error in errors.items()}

    def rank(found: frozenset[int]) -> tuple[int, float, list[int]]:
        return len(found), -max(measured.get(g, 0.0) for g in found), sorted(found, reverse=True)

    return _name(group, max(_subgroups(group, good, bad), key=rank))


def _subgroups(group: FiniteGroup, good: set[int], bad: set[int]) -> set[frozenset[int]]:
    table = group.table().tolist()
    generated = {frozenset(_closure(table, {g})) for g in good}
    cyclic = {subgroup for subgroup in generated if not subgroup & bad}
    found = fresh = cyclic
    while fresh:
        joined = {frozenset(_closure(table, set(a | b))) for a in fresh for b in cyclic if not b <= a}
        fresh = {subgroup for subgroup in joined if not subgroup & bad} - found
        found = found | fresh
    return found


def _closure(table: list[list[int]], members: set[int]) -> set[int]:
    closed, fresh = {0}, {0}
    while fresh:
        fresh = {table[a][b] for a in fresh for b in members} - closed
        closed |= fresh
    return closed


def _name(group: FiniteGroup, members: frozenset[int]) -> str:
    if len(members) == group.order:
        return str(group)
    if len(members) == 1:
        return "the identity only"
    if isinstance(group, Cyclic):
        return f"{'T' if isinstance(group, Translations) else 'C'}{len(members)}"
    if isinstance(group, Dihedral):
        rotations = sum(1 for g in members if g < group.n)
        return f"C{rotations}" if rotations == len(members) else str(_dihedral(group, members, rotations))
    return f"a subgroup of {len(members)} of {group.order} elements"


def _dihedral(group: Dihedral, members: frozenset[int], rotations: int) -> Dihedral:
    """The subgroup by its lines of reflection: the group's own axis where it is one of them, else the lowest."""
    angles = {(group.axis + 180 * (g - group.n) / group.n) % 180 for g in members if g >= group.n}
    return Dihedral(rotations, group.axis if group.axis in angles else min(angles))
