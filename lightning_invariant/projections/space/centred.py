"""Latents of E(d) and SE(d) without the mean of their positions, so that O(d) and SO(d) are left."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.centring import centre, linear_part
from lightning_invariant.groups.euclidean import Positions
from lightning_invariant.projections.base.read_as import _ReadAs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class Centred(_ReadAs):
    """A projection of latents without translations.

    Positions of points in any order lose their mean, over visible points where a mask is given. Positions in a fixed
    order lose one of their number too: m positions are read as m - 1 vectors, by a reflection that brings their mean
    to the first place.

    Args:
        representation: Of E(d), SE(d), or of a product with one of them, such as "S9 x E3: 1 points*positions".
        projection: A projection of `Centred.target(representation)`, or its `config()`.

    Raises:
        GroupError: The group has no translations, or nothing is left without them.
        ValueError: The projection is for another representation.

    Note:
        That of the projection: translations move latents along the mean, and the distance between orbits is the
        distance of those of centred latents under rotations. Centred sets of points are in general position among
        themselves: entries of their Gram root and views from their frames still differ almost surely, so that what
        is generic of sets is generic of centred ones.

    References:
        Derksen 2024 (2409.06829), which treats the Euclidean group beside O(d) with the same distortion.

    Example:
        >>> import torch
        >>> from lightning_invariant.projections import GramRoot
        >>> P, z = Centred("E3: 4 positions", GramRoot("O3: 3 vectors")), torch.randn(2, 12)
        >>> P(z).shape, torch.allclose(P(z), P(z + torch.ones(12)), atol=1e-4)
        (torch.Size([2, 6]), True)
    """

    @staticmethod
    def target(representation: Representation) -> Representation:
        """Return the representation of centred latents."""
        linear = linear_part(representation)
        if linear == representation:
            raise GroupError(f"Expected a group with translations, such as E3, but got '{representation}'; use choose.")
        blocks = list(linear)
        if alone := _alone(representation):
            # The mean is left out of the first term; where positions stand in several, it keeps all of them.
            fewer = sum(blocks[i].copies for i in alone) - 1
            blocks[alone[0]] = replace(blocks[alone[0]], copies=fewer) if fewer else None  # type: ignore[call-overload]
            for i in alone[1:]:
                blocks[i] = None  # type: ignore[call-overload]
        kept = tuple(block for block in blocks if block is not None)
        if not kept:
            raise GroupError(
                f"Expected more than one position but got '{representation}': translations bring one position to any "
                "other, so it has no invariants."
            )
        return Representation(linear.group, kept)

    def _read(self, z: Float[Tensor, "B D"], *beside: Tensor) -> Float[Tensor, "B E"]:
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        centred = centre(self.representation, work, *beside)[0]
        if not (alone := _alone(self.representation)):
            return centred.to(z.dtype)
        parts = self.representation.split(centred)
        x = torch.cat([parts[i] for i in alone], dim=1)
        # A reflection that swaps the unit vectors along the mean and along the first axis; the mean is zero.
        parts[alone[0]] = x[:, 1:] + x[:, :1] / (x.shape[1] ** 0.5 - 1 or 1.0)
        return torch.cat([part.flatten(1) for i, part in enumerate(parts) if i not in alone[1:]], dim=1).to(z.dtype)

    def undo(self, centred: Float[Tensor, "B E"]) -> Float[Tensor, "B D"]:
        """Return latents, with the mean of positions at the origin, that are read as those given."""
        if not (alone := _alone(self.representation)):
            return centred
        blocks = self.representation.blocks
        m = sum(blocks[i].copies for i in alone)
        sizes = [block.size for block in blocks]
        sizes[alone[0]] = (m - 1) * blocks[alone[0]].dim
        parts = iter(centred.split([size for i, size in enumerate(sizes) if i not in alone[1:]], dim=1))
        found = [None if i in alone[1:] else next(parts) for i in range(len(blocks))]
        rest = found[alone[0]].unflatten(1, (m - 1, blocks[alone[0]].dim))  # type: ignore[union-attr]
        total = rest.sum(dim=1, keepdim=True) / m**0.5
        positions = torch.cat([total, rest - total / (m**0.5 - 1 or 1.0)], dim=1)
        for i, x in zip(alone, positions.split([blocks[i].copies for i in alone], dim=1), strict=True):
            found[i] = x.flatten(1)
        return torch.cat(found, dim=1)  # type: ignore[arg-type]


def _alone(representation: Representation) -> list[int]:
    """The terms of positions that no other factor of the group moves."""
    return [i for i, block in enumerate(representation) if isinstance(block, Positions)]
