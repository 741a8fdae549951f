"""Which representation fits better, where latents do not move as they are said to."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.groups import Cyclic, Dihedral, FiniteGroup, Orthogonal, Representation, Symmetric
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.metrics.invariance import equivariance_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jaxtyping import Float
    from torch import Tensor

    Change = tuple[str, Callable[[Tensor], Tensor]]

SAME = "", lambda x: x


class Fit(NamedTuple):
    """One way to read the latents, and how well it fits.

    Args:
        words: What to declare or to change, for example "'C4: 64 trivial'".
        error: The equivariance error so read; 0 is equivariant.
    """

    words: str
    error: float


def better_fits(
    z_transformed: Float[Tensor, "B D"], z: Float[Tensor, "B D"], representation: Representation | str, g: Tensor
) -> list[Fit]:
    """Other ways to read latents that fit what the group does better than the declared one, the best first.

    Tried are, on the same evidence: the channels' axes swapped, the group turning the other way, reflections about
    another axis, elements numbered in another order, invariant channels, regular fields, irreps and vectors of the same
    size, and the declared blocks in reversed order.

    Args:
        z_transformed: Latents of the moved inputs.
        z: Latents of the inputs, row by row the same samples.
        representation: How the group is said to act.
        g: The element that transformed each input (B, *element_shape).

    Returns:
        Those with at most half of the declared representation's error; ones that are as good as the best (to 0.01)
        stand in the order of how little they change.

    Raises:
        LatentError: The latents do not fit the representation in size.
        ValueError: Shapes differ, or fewer than 2 samples.

    Example:
        >>> z, g = torch.randn(50, 8), torch.randint(4, (50,))
        >>> moved = Representation.parse("C4: 2 regular").transform(z, g)
        >>> better_fits(moved, z, "C4: 8 trivial", g)[0]
        Fit(words="'C4: 2 regular'", error=0.0)
    """
    representation = Representation.parse(representation)
    z_transformed, z = representation.flatten(z_transformed), representation.flatten(z)
    limit = 0.5 * equivariance_error(z_transformed, z, representation, g)
    fits = [fit for fit in _fits(z_transformed, z, representation, g) if fit.error < limit]
    least = min((fit.error for fit in fits), default=0.0)
    return sorted(fits, key=lambda fit: max(fit.error - least, 0.01))


def fits_tried(representation: Representation | str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What `better_fits` tries for a representation.

    Returns:
        The representations, the declared one first; and the changes, each of which is tried with those it applies to.

    Example:
        >>> fits_tried("C3: 2 regular")[0]
        ('C3: 2 regular', 'C3: 6 trivial', 'C3: 2x0 + 2x1', 'C3: 3x1')
    """
    kinds = list(_kinds(Representation.parse(representation)))
    words = [word for kind in kinds for word, _ in (*_views(kind), *_turns(kind)) if word]
    others = [other for kind in kinds for other, _ in _other_axes(kind)]
    return tuple(map(str, (*kinds, *others))), tuple(dict.fromkeys(words))


def _fits(z_transformed: Tensor, z: Tensor, declared: Representation, g: Tensor) -> Iterator[Fit]:
    for words, kind, view, turn in _ways(declared):
        changed = turn(g)
        if turn is not SAME[1] and torch.equal(changed, g):
            continue
        yield Fit(words, equivariance_error(view(z_transformed), view(z), kind, changed))


def _ways(
    declared: Representation,
) -> Iterator[tuple[str, Representation, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]]:
    """Words, representation, order of the numbers and elements of every reading but the declared one."""
    for kind in _kinds(declared):
        for order, view in _views(kind):
            for direction, turn in _turns(kind):
                if kind is not declared or order or direction:
                    yield ", ".join(filter(None, (f"'{kind}'", order, direction))), kind, view, turn
        for other, turn in _other_axes(kind):
            yield f"'{other}'", other, SAME[1], turn


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
    if isinstance(group, Orthogonal):
        yield f"{group}: {size // group.d} vectors"
        swapped = str(declared).translate(str.maketrans("eo", "oe")) if group.d == 3 else ""
        yield from (swapped, f"{group}: {size // 2}x1", f"{group}: {size // 3}x1e")


def _views(kind: Representation) -> Iterator[Change]:
    """Other orders in which the same numbers may stand."""
    yield SAME
    if any(block.copies > 1 and block.dim > 1 for block in kind):
        now, wanted = kind.shape, kind.shape[::-1]
        words = f"with the latent's axes swapped from {wanted} to {now}" if len(kind) == 1 else "each block transposed"
        yield words, lambda z: _blockwise(kind, z, lambda part: part.reshape(len(part), *part.shape[:0:-1]).mT)
    if isinstance(kind.group, Dihedral) and all(isinstance(block, Regular) for block in kind):
        n = kind.group.n
        words = "with all rotations before all reflections in each field, where they stand in turn now"
        yield words, lambda z: _blockwise(kind, z, lambda part: part.unflatten(2, (n, 2)).mT)
    if isinstance(kind.group, Cyclic) and len(kind) == kind.group.n // 2 + 1 > 1:
        copies = kind[0].size
        yield (
            "with all fields' irreps of one frequency together, where they stand field by field now",
            lambda z: _by_frequency(kind, z, copies),
        )


def _turns(kind: Representation) -> Iterator[Change]:
    """Other elements that may have been meant."""
    yield SAME
    group = kind.group
    if kind.size == sum(block.size for block in kind if str(block).endswith("trivial")):
        return
    yield "turning the other way (reverse the order in each field, or the action's direction)", group.inverse


def _other_axes(kind: Representation) -> Iterator[tuple[Representation, Callable[[Tensor], Tensor]]]:
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
        turn = partial(_under, group, angle) if isinstance(group, Dihedral) else SAME[1]
        yield Representation.parse(f"{other}: {terms}"), turn


def _under(group: Dihedral, angle: float, g: Tensor) -> Tensor:
    """The elements of the group whose axis is turned by an angle that do to the plane what g do."""
    r, f = group.parts(g)
    return (r - round(angle * group.n / 180) * f) % group.n + group.n * f


def _blockwise(kind: Representation, z: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.cat([change(part).flatten(1) for part in kind.split(z)], dim=1)


def _by_frequency(kind: Representation, z: Tensor, copies: int) -> Tensor:
    fields = z.reshape(len(z), copies, -1)
    return torch.cat([part.flatten(1) for part in fields.split([b.dim for b in kind], dim=2)], dim=1)
