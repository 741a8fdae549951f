"""Which part of a declared symmetry a layer really has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lightning_invariant.groups import Cyclic, Dihedral, FiniteGroup, Translations
from lightning_invariant.metrics.elements import LISTED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lightning_invariant.groups import Group


def holding_subgroup(errors: Mapping[str, float], group: Group, tolerance: float) -> str:
    """The largest subgroup for which the errors stay within the tolerance.

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
    return _name(group, max(_subgroups(group, good, bad), key=lambda found: (len(found), sorted(found, reverse=True))))


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
