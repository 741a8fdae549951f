"""Latents and pairs of latents that are hard for invariant maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import Euclidean, Orthogonal
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.euclidean import Positions, Turned
from lightning_invariant.groups.finite_blocks import Pairs as GraphPairs
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import FrequencyIrrep, Outer, Vectors
from lightning_invariant.metrics.separation import hard_negatives, has_hard_negatives

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation

NEAR = 1e-5
"""Size of a small step; orbit distances in float64 still have five digits there."""


class Pairs(NamedTuple):
    """Latents side by side.

    Args:
        name: What is hard about them.
        generic: Whether almost all pairs are like these, so that a generic map has to tell them apart.
        left: Float64.
        right: Float64, as many.
    """

    name: str
    generic: bool
    left: Float[Tensor, "B D"]
    right: Float[Tensor, "B D"]


def hard_pairs(representation: Representation, count: int, generator: torch.Generator) -> list[Pairs]:
    """Return pairs of several kinds; the orbit distance says which of them are inequivalent.

    Args:
        representation: What acts.
        count: Pairs of each kind.
        generator: Source of randomness.
    """
    z, w, noise = (representation.random(count, generator).double() for _ in range(3))
    special = special_latents(representation, generator)
    step = NEAR * representation.random(len(special), generator).double()
    other = NEAR * representation.random(len(special), generator).double()
    pairs = [
        Pairs("independent", True, z, w),
        Pairs("near", True, z, z + 1e-2 * noise),
        Pairs("opposite", True, z, -z),
        Pairs("tiny", False, 1e-6 * z, 1e-6 * w),
        Pairs("huge", False, 1e6 * z, 1e6 * w),
        Pairs("with stabilisers", False, special, special.roll(1, dims=0)),
        Pairs("near stabilisers", False, special + step, special + other),
    ]
    for i, where in enumerate(representation.slices if len(representation) > 1 else ()):
        flipped = z.clone()
        flipped[:, where] *= -1
        pairs.append(Pairs(f"opposite in term {i + 1}", True, z, flipped))
    if (mirrored := _mirrored(z, representation)) is not None:
        pairs.append(Pairs("mirrored", True, z, mirrored))
    if (published := published_pairs(representation)) is not None:
        pairs.append(Pairs("published", False, *published))
    if has_hard_negatives(representation):
        pairs.append(Pairs("hard negatives", True, z, hard_negatives(z, representation, generator)))
    return pairs


def published_pairs(
    representation: Representation,
) -> tuple[Float[Tensor, "n D"], Float[Tensor, "n D"]] | None:
    """Return graphs and clouds of different orbits that look the same from each of their points.

    A ring of six points and two rings of three; and two sets of four points in space whose products, and their root,
    have the same rows up to order.

    Args:
        representation: What acts.

    Returns:
        None where it holds neither pairs of at least 6 points nor at least 4 points that carry vectors of space.

    References:
        Weisfeiler and Leman 1968 for graphs; Hordan et al. 2023 (2301.13821) for clouds.
    """
    found = []
    for number, block in enumerate(representation):
        if isinstance(block, GraphPairs) and block.group.n >= 6:
            found.append((number, _rings(block.group.n)))
        elif isinstance(block, Outer) and [part.dim for part in block.parts[1:]] == [3]:
            points, vectors = block.parts
            if isinstance(points, Points) and points.group.n >= 4 and isinstance(vectors.group, Orthogonal):
                found += [(number, pair) for pair in _clouds(points.group.n)]
    if not found:
        return None
    sides = torch.zeros(2, len(found), representation.size, dtype=torch.float64)
    for row, (number, pair) in enumerate(found):
        block, where = representation.blocks[number], representation.slices[number]
        for side, numbers in zip(sides, pair, strict=True):
            part = side[row, where].view(block.shape)
            (part[:, 0] if block.copies_last else part[0]).copy_(numbers.flatten())
    return sides[0], sides[1]


def _rings(n: int) -> tuple[Tensor, Tensor]:
    """One ring of six points and two of three, among n."""
    one, two = torch.zeros(2, n, n, dtype=torch.float64)
    for i in range(6):
        one[i, (i + 1) % 6] = one[(i + 1) % 6, i] = 1.0
        two[i, i // 3 * 3 + (i + 1) % 3] = two[i // 3 * 3 + (i + 1) % 3, i] = 1.0
    return one, two


def _clouds(n: int) -> list[tuple[Tensor, Tensor]]:
    """Four of n points (n, 3), the others at the origin, with given products, and with given roots of them."""
    first = [[1, -1, -1, 1], [-1, 1, 1, -1], [-1, 1, 2, -1], [1, -1, -1, 2]]
    second = [[1, 1, -1, -1], [1, 1, -1, -1], [-1, -1, 2, 1], [-1, -1, 1, 2]]
    found = []
    for power in (0.5, 1.0):
        pair = []
        for table in (first, second):
            values, vectors = torch.linalg.eigh(torch.tensor(table, dtype=torch.float64))
            points = vectors[:, 1:] * values[1:].pow(power)
            pair.append(torch.nn.functional.pad(points, (0, 0, 0, n - 4)))
        found.append((pair[0], pair[1]))
    return found


def _mirrored(z: Tensor, representation: Representation) -> Tensor | None:
    """Vectors of SO(d) with their last coordinate reversed, None where a term is none of vectors."""
    out, found = z.clone(), False
    for where, block in zip(representation.slices, representation, strict=True):
        part = block.parts[-1] if isinstance(block, Outer) else block
        part = part.kind if isinstance(part, Turned) else part
        if isinstance(part, Trivial):
            continue
        planar = isinstance(part, FrequencyIrrep)
        if not planar and not isinstance(part, (Vectors, Positions)):
            return None
        if not isinstance(part.group, (Orthogonal, Euclidean)) or not part.group.special:
            return None
        if part.dim > 1:
            out[:, where].unflatten(1, (-1, part.dim))[..., -1] *= -1
            found = True
    return out if found else None


def special_latents(representation: Representation, generator: torch.Generator) -> Float[Tensor, "n D"]:
    """Zero, and latents that some elements leave alone: constant, one entry, one copy, equal copies, orbit sums.

    Args:
        representation: What acts.
        generator: Source of randomness.

    Returns:
        Float64, one row a latent.
    """
    z = representation.random(2, generator).double()
    one_entry, one_copy, equal = torch.zeros_like(z[0]), torch.zeros_like(z[0]), z[0].clone()
    one_entry[representation.slices[-1].start] = 1.0
    for where, block in zip(representation.slices, representation, strict=True):
        # Copies are the last axis of points and the first of everything else.
        part = equal[where].reshape(block.shape)
        first = part[:, :1] if block.copies_last else part[:1]
        equal[where] = first.expand(block.shape).reshape(-1)
    one_copy[: representation.blocks[0].dim] = z[1, : representation.blocks[0].dim]
    g = representation.group.sample(1, generator)
    summed = z[0] + representation.transform(z[:1], g)[0]
    return torch.stack([torch.zeros_like(z[0]), torch.ones_like(z[0]), one_entry, one_copy, equal, summed])
