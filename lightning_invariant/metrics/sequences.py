"""Reads latents as a sequence of fields that the group moves: a search finds which kinds stand one after another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from lightning_invariant.errors import InvariantError
from lightning_invariant.groups import Cyclic, Dihedral, Group, Orthogonal, Representation

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block

FREQUENCIES, DEGREES = 6, 3
"""Highest frequency of planar irreps, and degree of spherical ones, that are tried."""
WIDEST = 64
"""Most numbers in one field."""
MOST_TERMS = 8
"""Longest sequence that is worth to be told."""
CHANGE, START = 2e-3, 1e-4
"""What another kind, and another field, have to explain: shares of a number's variance."""
NUMBERS = 2**17
"""Latents times numbers that are looked at."""


class Sequence(NamedTuple):
    """Fields one after another.

    Attributes:
        terms: The kinds with how many of each follow on each other, of one period.
        repeats: How often the terms stand one after another.
        group: What acts.
    """

    terms: tuple[Block, ...]
    repeats: int
    group: Group

    @property
    def period(self) -> Representation:
        """The terms as a representation."""
        return Representation(self.group, self.terms)

    @property
    def together(self) -> Representation:
        """The same fields with all copies of a term side by side."""
        return Representation(self.group, tuple(replace(b, copies=b.copies * self.repeats) for b in self.terms))

    @property
    def text(self) -> str | None:
        """The notation, with repeated terms in brackets; None where that cannot be read."""
        inner = " + ".join(map(str, self.terms))
        text = f"{self.group}: {inner}" if self.repeats == 1 else f"{self.group}: {self.repeats} ({inner})"
        try:
            return text if Representation.parse(text).size == self.together.size else None
        except InvariantError:
            return None


def kinds_of_fields(group: Group) -> list[Block]:
    """One copy of each kind of field that is tried for a group; none for groups that move no plane or space.

    Example:
        >>> from lightning_invariant.groups import SO3
        >>> [str(block) for block in kinds_of_fields(SO3())]
        ['1x0', '1x1', '1x2', '1x3']
    """
    if isinstance(group, Orthogonal) and group.d == 3:
        marks = ("",) if group.special else ("e", "o")
        texts = [f"1x{degree}{mark}" for degree in range(DEGREES + 1) for mark in marks]
    elif isinstance(group, Orthogonal) and group.d == 2:
        texts = [f"1x{k}" for k in range(FREQUENCIES + 1)] + ([] if group.special else ["1 det"])
    elif isinstance(group, (Cyclic, Dihedral)) and group.order > 1:
        top = min(FREQUENCIES, group.n // 2)
        texts = ["1 trivial", "1 regular", *(f"1x{k}" for k in range(1, top + 1))]
        if isinstance(group, Dihedral):
            texts += ["1 det", f"1x{group.n // 2}o", f"1 regular/D1(axis={group.axis:.12g})"]
        texts += [f"1 regular/C{m}" for m in range(2, group.n) if group.n % m == 0]
    else:
        return []
    found: list[Block] = []
    for text in texts:
        try:
            block = Representation.parse(f"{group}: {text}").blocks[0]
        except InvariantError:  # not every group has every kind
            continue
        if block.dim <= WIDEST and block not in found:
            found.append(block)
    return found


def best_sequence(
    z_transformed: Float[Tensor, "B D"], z: Float[Tensor, "B D"], group: Group, g: Tensor
) -> Sequence | None:
    """Return the fields, one after another, that explain best what the group does; None if they are too many.

    Args:
        z_transformed: Latents of the moved inputs.
        z: Latents of the inputs.
        group: What acts.
        g: The element that transformed each input.
    """
    kinds = kinds_of_fields(group)
    if not kinds:
        return None
    rows = max(16, NUMBERS // z.shape[1])
    z_transformed, z, g = z_transformed[:rows], z[:rows], g[:rows]
    variance = float((z - z.mean(dim=0)).square().sum()) / z.shape[1]
    costs = [_costs(block, z_transformed, z, g) for block in kinds]
    path = _shortest(costs, [block.dim for block in kinds], z.shape[1], CHANGE * variance, START * variance)
    runs: list[tuple[int, int]] = []
    for kind in path:
        if runs and runs[-1][0] == kind:
            runs[-1] = (kind, runs[-1][1] + 1)
        else:
            runs.append((kind, 1))
    period = next(p for p in range(1, len(runs) + 1) if len(runs) % p == 0 and runs[:p] * (len(runs) // p) == runs)
    if period > MOST_TERMS:
        return None
    terms = tuple(replace(kinds[kind], copies=count) for kind, count in runs[:period])
    return Sequence(terms, len(runs) // period, group)


def _costs(block: Block, moved: Tensor, z: Tensor, g: Tensor) -> list[float]:
    """For each place what is not explained if one field of the kind stands from there on."""
    if block.dim > z.shape[1]:
        return []
    windows, wanted = z.unfold(1, block.dim, 1), moved.unfold(1, block.dim, 1)
    return (block.transform(windows, g) - wanted).square().sum(dim=(0, 2)).tolist()


def _shortest(costs: list[list[float]], sizes: list[int], length: int, change: float, start: float) -> list[int]:
    """The kinds on the cheapest way from the first number to the last."""
    kinds = range(len(sizes))
    infinite = float("inf")
    best = [[infinite] * len(sizes) for _ in range(length + 1)]
    least, last = [infinite] * (length + 1), [0] * (length + 1)
    came: list[list[int]] = [[-1] * len(sizes) for _ in range(length + 1)]
    least[0] = 0.0
    for end in range(1, length + 1):
        for kind in kinds:
            begin = end - sizes[kind]
            if begin < 0:
                continue
            on, other = best[begin][kind], least[begin] + (change if begin else 0.0)
            came[end][kind] = kind if on <= other else last[begin]
            best[end][kind] = min(on, other) + costs[kind][begin] + start
        last[end] = min(kinds, key=best[end].__getitem__)
        least[end] = best[end][last[end]]
    path, end, kind = [], length, last[length]
    while end > 0:
        path.append(kind)
        end, kind = end - sizes[kind], came[end][kind]
    return path[::-1]
