"""Which representation fits better, where latents do not move as they are said to."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.groups import Cyclic, Dihedral, Euclidean, FiniteGroup, Orthogonal, Representation, Symmetric
from lightning_invariant.groups.field_maps import FieldMap
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.metrics.invariance import equivariance_gaps, relative_error
from lightning_invariant.metrics.sequences import Sequence, best_sequence, kinds_of_fields
from lightning_invariant.metrics.subgroup import Part, subgroups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block

    Turn = Callable[[Tensor], Tensor]

FEWEST = 8
"""Rows with elements of a subgroup from which on it is looked at."""
MOST_SUBGROUPS = 8
"""Subgroups that are looked at, the largest first."""
MOST_POWERS = 8
"""Automorphisms g -> g^k of C_n that are tried."""
PIXELS = 256
"""Rows, one a pixel, that are looked at in the place of feature maps."""
LARGEST = 2**18
"""Latents times numbers that are looked at."""


class Fit(NamedTuple):
    """One way to read the latents, and how well it fits.

    Args:
        words: What to declare or to change, for example "'C4: 64 trivial'".
        error: The equivariance error so read; 0 is equivariant.
        representation: What to declare.
        pick: What the callback's `pick=` has to be so that the representation fits, as a Python expression; "" for
            nothing.
    """

    words: str
    error: float
    representation: str = ""
    pick: str = ""


@dataclass(frozen=True)
class _Reading:
    """A representation of the same numbers, put in another order, under elements that are read in another way."""

    representation: Representation
    order: Callable[[Tensor], Tensor] | None = None
    turn: Turn | None = None
    words: str = ""
    pick: str = ""
    text: str = ""

    @property
    def notation(self) -> str:
        return self.text or str(self.representation)

    def __str__(self) -> str:
        said = self.words + (f", pick=lambda z: {self.pick}" if self.pick else "")
        return f"'{self.notation}'" + (f", {said.removeprefix(', ')}" if said else "")


def better_fits(
    z_transformed: Float[Tensor, "B D"],
    z: Float[Tensor, "B D"],
    representation: Representation | str,
    g: Tensor,
    *,
    pooled: bool = False,
) -> list[Fit]:
    """Other ways to read latents that fit what the group does better than the declared one, the best first.

    Tried are, on the same evidence, what `fits_tried` lists: the channels' axes swapped, the group turning the other
    way, elements numbered by an automorphism, reflections about another axis, elements numbered in another order,
    invariant channels, regular fields, irreps and vectors of the same size, the declared blocks in reversed order, and
    whichever sequence of trivial numbers, regular fields and irreps fits best. Feature maps are read pixel by pixel.

    Args:
        z_transformed: Latents of the moved inputs.
        z: Latents of the inputs, row by row the same samples.
        representation: How the group is said to act.
        g: The element that transformed each input (B, *element_shape).
        pooled: Whether positions are pooled behind `pick=`, which then has to keep them.

    Returns:
        Those with at most half of the declared representation's error; ones that are as good as the best (to 0.01)
        stand in the order of how little they change.

    Raises:
        LatentError: The latents do not fit the representation in size.
        ValueError: Shapes differ, or fewer than 2 samples.

    Example:
        >>> z, g = torch.randn(50, 8), torch.randint(4, (50,))
        >>> moved = Representation.parse("C4: 2 regular").transform(z, g)
        >>> better_fits(moved, z, "C4: 8 trivial", g)[0].words
        "'C4: 2 regular'"
    """
    evidence = _Evidence.of(z_transformed, z, representation, g, pooled=pooled)
    limit = 0.5 * evidence.error(_Reading(evidence.declared))
    return _sorted([fit for fit in map(evidence.fit, evidence.readings()) if fit is not None and fit.error < limit])


def subgroup_fits(
    z_transformed: Float[Tensor, "B D"],
    z: Float[Tensor, "B D"],
    representation: Representation | str,
    g: Tensor,
    tolerance: float,
    *,
    part: str | None = None,
    pooled: bool = False,
) -> list[Fit]:
    """Ways to read latents under a subgroup, of those elements alone that lie in it; for the largest that has some.

    Subgroups of C_n and D_n are cyclic and dihedral ones, those of O(2) and O(3) are the rotations.

    Args:
        z_transformed: Latents of the moved inputs.
        z: Latents of the inputs.
        representation: How the group is said to act.
        g: The element that transformed each input.
        tolerance: Largest error that counts as a fit.
        part: Name of the only subgroup to look at; None for all.
        pooled: As for `better_fits`.

    Returns:
        Fits of the largest subgroup with any, the best first.
    """
    evidence = _Evidence.of(z_transformed, z, representation, g, pooled=pooled)
    declared = evidence.declared
    for found in subgroups(declared.group)[: MOST_SUBGROUPS if part is None else None]:
        if part not in (None, str(found.group)):
            continue
        rows, elements = found.rows(evidence.g)
        if len(rows) < FEWEST or len(elements.unique(dim=0)) < 2:
            continue
        still = Representation.parse(f"{found.group}: {declared.size} trivial")
        inside = replace(evidence, moved=evidence.moved[rows], still=evidence.still[rows], declared=still, g=elements)
        readings = [_Reading(still), *_restricted(declared, found, evidence.start), *inside.sequences()]
        fits = [fit for fit in map(inside.fit, readings) if fit is not None and fit.error <= tolerance]
        if fits:
            return _sorted(fits)
    return []


def fits_tried(representation: Representation | str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List what `better_fits` and `subgroup_fits` try for a representation.

    Returns:
        The representations, the declared one first; and the changes, each of which is tried with those it applies to.

    Example:
        >>> fits_tried("C3: 2 regular")[0]
        ('C3: 2 regular', 'C3: 6 trivial', 'C3: 2x0 + 2x1', 'C3: 3x1')
    """
    declared, pixels = _without_positions(Representation.parse(representation))
    on = "" if pixels is None else f" on {pixels[0]}x{pixels[1]}"
    kinds = list(_kinds(declared))
    changes = [reading.words for kind in kinds for reading in _changes(kind, "z")]
    others = [other.representation for kind in kinds for other in _other_axes(kind)]
    fields = [str(block).removeprefix("1 ") for block in kinds_of_fields(declared.group)]
    if fields:
        changes.append(f"any sequence of up to 8 terms of {', '.join(fields)}, also repeated")
    if parts := [str(part.group) for part in subgroups(declared.group)[:MOST_SUBGROUPS]]:
        changes.append(f"the elements of {', '.join(parts)} alone")
    return tuple(f"{kind}{on}" for kind in (*kinds, *others)), tuple(dict.fromkeys(filter(None, changes)))


@dataclass(frozen=True)
class _Evidence:
    """Latents before and after, the representation that was declared, and pixels of feature maps."""

    moved: Tensor
    still: Tensor
    declared: Representation
    g: Tensor
    pixels: tuple[int, int] | None
    start: str
    scale: float | None

    @classmethod
    def of(
        cls, moved: Tensor, still: Tensor, representation: Representation | str, g: Tensor, *, pooled: bool
    ) -> _Evidence:
        whole = Representation.parse(representation)
        moved, still = whole.flatten(moved), whole.flatten(still)
        rows = max(16, LARGEST // whole.size)
        if g.dim() > len(whole.group.element_shape):
            moved, still, g = moved[:rows], still[:rows], g[:rows]
        declared, pixels = _without_positions(whole)
        if pixels is None:
            return cls(
                moved, still, declared, g, None, "z" if pooled else "z.flatten(1)", _scale(moved, still, g, whole)
            )
        # Where pixels are put back to where they came from, each is a sample of its own.
        maps = Representation(whole.group, (FieldMap(whole.group, declared.size, _number(whole), *pixels),))
        still = maps.transform(still, g)
        each = max(1, PIXELS // len(still))
        chosen = torch.randperm(math.prod(pixels), generator=torch.Generator().manual_seed(0))[:each]
        spread = lambda z: z.reshape(len(z), declared.size, -1)[:, :, chosen.to(z.device)].mT.flatten(0, 1)  # noqa: E731
        g = g.expand(len(still), *whole.group.element_shape).repeat_interleave(len(chosen), dim=0)
        moved, still = spread(moved), spread(still)
        return cls(moved, still, declared, g, pixels, "z", _scale(moved, still, g, declared))

    def error(self, reading: _Reading) -> float:
        """Equivariance error of a reading."""
        order, kind = reading.order or (lambda z: z), reading.representation
        g = self.g if reading.turn is None else reading.turn(self.g)
        gaps = (order(self.moved) - kind.transform(order(self.still), g)).norm(dim=1)
        return relative_error(gaps, self.scale)

    def fit(self, reading: _Reading) -> Fit | None:
        """Return how well a reading fits; None where it is what was declared."""
        if reading.turn is not None and torch.equal(reading.turn(self.g), self.g):
            return None
        on = "" if self.pixels is None else f" on {self.pixels[0]}x{self.pixels[1]}"
        told = replace(reading, text=reading.notation + on)
        return Fit(str(told), self.error(reading), told.notation, told.pick)

    def readings(self) -> Iterator[_Reading]:
        """Return every reading but the declared one."""
        for kind in _kinds(self.declared):
            if kind is not self.declared:
                yield _Reading(kind)
            yield from _changes(kind, self.start)
            yield from _other_axes(kind)
        yield from self.sequences()

    def sequences(self) -> Iterator[_Reading]:
        """Return the sequence of fields that fits best."""
        found = best_sequence(self.moved, self.still, self.declared.group, self.g)
        if found is None:
            return
        text, together = found.text, found.together
        order = None if found.repeats == 1 else partial(_gathered, sequence=found)
        if text is not None and text != str(self.declared):
            yield _Reading(together, order, text=text)
        elif text is None:
            sizes = [block.size for block in found.terms]
            pick = _gathering(self.start, found.repeats, sizes)
            yield _Reading(together, order, words="with all copies of a term together", pick=pick)


def _sorted(fits: list[Fit]) -> list[Fit]:
    least = min((fit.error for fit in fits), default=0.0)
    kept = {fit.words: fit for fit in reversed(fits)}
    first = [fit for fit in fits if kept[fit.words] is fit]
    return sorted(first, key=lambda fit: max(fit.error - least, 0.01))


def _without_positions(representation: Representation) -> tuple[Representation, tuple[int, int] | None]:
    """The fields in one pixel of feature maps, and how many pixels there are; None where the latent is no map."""
    maps = [block for block in representation if isinstance(block, FieldMap)]
    if len(maps) < len(representation) or len({block.axes[2:] for block in maps}) > 1:
        return representation, None
    fields = tuple(replace(block.field, copies=block.copies) for block in maps)
    return Representation(representation.group, fields), (maps[0].height, maps[0].width)


def _number(representation: Representation) -> Block:
    return Representation.parse(f"{representation.group}: 1 trivial").blocks[0]


def _kinds(declared: Representation) -> Iterator[Representation]:
    """The declared representation and others of its size."""
    seen = set()
    for text in (str(declared), *_texts(declared)):
        try:
            kind = declared if text == str(declared) else Representation.parse(text)
        except InvariantError:  # not every group has every kind
            continue
        if kind not in seen and kind.size == declared.size:
            seen.add(kind)
            yield kind


def _texts(declared: Representation) -> Iterator[str]:
    group, size = declared.group, declared.size
    yield f"{group}: {size} trivial"
    if len(declared) > 1:
        yield f"{group}: " + " + ".join(str(block) for block in reversed(declared.blocks))
    if isinstance(group, FiniteGroup) and size % group.order == 0:
        fields = size // group.order
        yield f"{group}: {fields} regular"
        if isinstance(group, Cyclic):
            yield f"{group}: " + " + ".join(f"{fields}x{k}" for k in range(group.n // 2 + 1))
    if isinstance(group, (Cyclic, Dihedral)):
        yield f"{group}: {size // 2}x1"
    if isinstance(group, Symmetric) and size % group.n == 0:
        yield f"{group}: {group.n} points x {size // group.n}"
    if isinstance(group, (Orthogonal, Euclidean)):
        if isinstance(group, Euclidean):
            yield f"{group}: {size // group.d} positions"
        yield f"{group}: {size // group.d} vectors"
        swapped = str(declared).translate(str.maketrans("eo", "oe")) if group.d == 3 else ""
        yield from (swapped, f"{group}: {size // 2}x1", f"{group}: {size // 3}x1e")


def _changes(kind: Representation, start: str) -> Iterator[_Reading]:
    """The same representation with its numbers in another order, or other elements meant."""
    group, regular = kind.group, all(isinstance(block, Regular) for block in kind)
    one = kind.blocks[0] if len(kind) == 1 else None
    if any(block.copies > 1 and block.dim > 1 for block in kind):
        now, wanted = kind.shape, kind.shape[::-1]
        words = f"with the latent's axes swapped from {wanted} to {now}" if one else "with each block transposed"
        pick = f"{start}.unflatten(1, {wanted}).transpose(1, 2).flatten(1, 2)" if one else ""
        order = lambda z: _blockwise(kind, z, lambda part: part.reshape(len(part), *part.shape[:0:-1]).mT)  # noqa: E731
        yield _Reading(kind, order, words=words, pick=pick)
    if isinstance(group, Dihedral) and regular and group.n > 1:
        n, copies = group.n, sum(block.copies for block in kind)
        words = "with all rotations before all reflections in each field, where they stand in turn now"
        pick = f"{start}.unflatten(1, ({copies}, {n}, 2)).transpose(2, 3).flatten(1, 3)"
        yield _Reading(kind, lambda z: _blockwise(kind, z, lambda p: p.unflatten(2, (n, 2)).mT), words=words, pick=pick)
    if isinstance(group, Cyclic) and len(kind) == group.n // 2 + 1 > 1 and len({b.copies for b in kind}) == 1:
        sequence = Sequence(tuple(replace(block, copies=1) for block in kind), kind[0].size, group)
        sizes = [block.dim for block in kind]
        pick = _gathering(start, kind[0].size, sizes)
        words = "with all fields' irreps of one frequency together, where they stand field by field now"
        yield _Reading(kind, partial(_gathered, sequence=sequence), words=words, pick=pick)
    if kind.size == sum(block.size for block in kind if str(block).endswith("trivial")):
        return
    if isinstance(group, Cyclic) and regular:
        yield from _powers(kind, start)
    else:
        yield _Reading(kind, turn=group.inverse, words="turning the other way (reverse the action's direction)")


def _powers(kind: Representation, start: str) -> Iterator[_Reading]:
    """Regular fields of C_n whose elements are numbered by multiples of another generator; the inverse first."""
    n, copies = kind.group.n, kind.size // kind.group.n  # type: ignore[attr-defined]
    powers = [k for k in (n - 1, *range(2, n - 1)) if math.gcd(k, n) == 1 and k > 1][:MOST_POWERS]
    for k in powers:
        # z[g^-k h] = w[g^-1 j] where h = k j, so that w[j] = z[k j].
        places = [k * j % n for j in range(n)]
        other = "turning the other way" if k == n - 1 else f"with g read as its {k}th power"
        pick = f"{start}.unflatten(1, ({copies}, {n}))[:, :, {places}].flatten(1, 2)"
        order = lambda z, places=places: z.unflatten(1, (-1, n))[:, :, places].flatten(1)  # noqa: E731
        words = f"{other} (reverse the order in each field, or the action's direction)" if k == n - 1 else other
        yield _Reading(kind, order, words=words, pick=pick)


def _other_axes(kind: Representation) -> Iterator[_Reading]:
    """The same blocks under reflections about other lines, and the elements that do the same to the plane there."""
    group, terms = kind.group, str(kind).split(": ", 1)[1]
    if isinstance(group, Dihedral) and any(block.dim > 1 for block in kind):
        steps = range(1, group.n)
        angles = [180.0 * step / group.n for step in steps]
    elif isinstance(group, Orthogonal) and not group.special and any(getattr(block, "frequency", 0) for block in kind):
        angles = [45.0, 90.0, 135.0]
    else:
        return
    for angle in sorted(angles, key=lambda a: abs(a - 90)):
        other = replace(group, axis=group.axis + angle)
        # Elements of O2 are what they do to the plane; those of D_n are numbered from the axis on.
        turn = partial(_under, group, angle) if isinstance(group, Dihedral) else None
        yield _Reading(Representation.parse(f"{other}: {terms}"), turn=turn)


def _restricted(declared: Representation, part: Part, start: str) -> Iterator[_Reading]:
    """Regular fields as those of a subgroup, whose cosets lie apart in them."""
    if not part.places or not all(isinstance(block, Regular) for block in declared):
        return
    places = [place for coset in part.places for place in coset]
    order = len(places)
    copies = declared.size // order
    fields = Representation.parse(f"{part.group}: {copies * len(part.places)} regular")
    if places == list(range(order)):
        yield _Reading(fields)
        return
    pick = f"{start}.unflatten(1, ({copies}, {order}))[:, :, {places}].flatten(1, 2)"
    yield _Reading(fields, lambda z: z.unflatten(1, (-1, order))[:, :, places].flatten(1), pick=pick)


def _under(group: Dihedral, angle: float, g: Tensor) -> Tensor:
    """The elements of the group whose axis is turned by an angle that do to the plane what g do."""
    r, f = group.parts(g)
    return (r - round(angle * group.n / 180) * f) % group.n + group.n * f


def _gathering(start: str, repeats: int, sizes: list[int]) -> str:
    """What `pick=` does as `_gathered` does."""
    fields = f"{start}.unflatten(1, ({repeats}, {sum(sizes)}))"
    return f"torch.cat([part.flatten(1, 2) for part in {fields}.split({sizes}, dim=2)], dim=1)"


def _scale(moved: Tensor, still: Tensor, g: Tensor, representation: Representation) -> float | None:
    """Mean distance between samples, the same for every order of their numbers."""
    return equivariance_gaps(moved, still, representation, g)[1]


def _blockwise(kind: Representation, z: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([change(part).flatten(1) for part in kind.split(z)], dim=1)


def _gathered(z: Tensor, sequence: Sequence) -> Tensor:
    """Fields one after another as copies of each term side by side."""
    fields = z.reshape(len(z), sequence.repeats, -1)
    sizes = [block.size for block in sequence.terms]
    return torch.cat([part.flatten(1) for part in fields.split(sizes, dim=2)], dim=1)
