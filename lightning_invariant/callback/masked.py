"""Padded sets as latents of one size: whether a point exists is one more number of that point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.projections import PointSort, Projection

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


class _MaskedPoints(Projection):
    """A projection of ragged sets on latents that carry their mask.

    Args:
        inner: Takes (z, mask).

    Raises:
        ValueError: The inner projection takes no masks, or its representation is not one block of points.
    """

    def __init__(self, inner: Projection) -> None:
        if not getattr(inner, "ragged", False):
            raise ValueError(
                f"Expected a projection that takes masks but got {inner}; build PointSort or FSW with ragged=True."
            )
        super().__init__(with_mask(inner.representation))
        self.inner, self.reason = inner, inner.reason
        self.out_features, self.guarantee = inner.out_features, inner.guarantee

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of the points that exist."""
        points = z.reshape(len(z), *self.representation.shape)
        return self.inner(points[..., :-1].flatten(1), points[..., -1] > 0.5)


def masked(projection: Projection) -> Projection:
    """The projection of latents that carry their mask.

    Raises:
        ValueError: It takes no masks.
    """
    return _MaskedPoints(projection)


def default_masked(representation: Representation, features: int | None) -> Projection:
    """What `choose` would take if it knew of masks.

    Raises:
        ValueError: The representation is not one block of points.
    """
    with_mask(representation)
    return PointSort(representation, features, ragged=True)


def with_mask(representation: Representation) -> Representation:
    """The representation of latents that carry their mask.

    Raises:
        ValueError: The representation is not one block of points.
    """
    if len(representation) != 1 or not isinstance(representation.blocks[0], Points):
        raise ValueError(f"Expected points such as 'S9: 9 points x 16' for padded sets but got '{representation}'.")
    n, d = representation.blocks[0].dim, representation.blocks[0].copies
    return Representation.parse(f"{representation.group}: {n} points x {d + 1}")


def pack(flat: Float[Tensor, "B D"], mask: Bool[Tensor, "B n"], representation: Representation) -> Tensor:
    """Latents that carry their mask; numbers of points that do not exist become 0.

    Args:
        flat: Latents of the representation without masks.
        mask: True at points that exist.
        representation: Without masks.

    Raises:
        LatentError: The mask is not one boolean a point.
    """
    n, d = representation.blocks[0].dim, representation.blocks[0].copies
    if mask.dtype != torch.bool or mask.shape != (len(flat), n):
        raise LatentError(
            f"Expected a boolean mask of shape ({len(flat)}, {n}), True at points that exist, but got {mask.dtype} "
            f"{tuple(mask.shape)}."
        )
    points = torch.where(mask[..., None], flat.reshape(len(flat), n, d), 0.0)
    return torch.cat([points, mask[..., None].to(points)], dim=-1).flatten(1)
