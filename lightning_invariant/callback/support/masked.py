"""Padded sets as latents of one size: whether a point exists is one more number of that point."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Product, Representation, Symmetric
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.finite_blocks import Pairs, Points
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.projections import Joined, PairSort, PointSort, Projection, Reduced, Spread, choose
from lightning_invariant.quotient.found import hide
from lightning_invariant.quotient.solver import masked_points

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.evaluation import Evaluation


class _MaskedPoints(Projection):
    """A projection of ragged sets on latents that carry their mask.

    Args:
        inner: Takes (z, mask).

    Raises:
        ValueError: The inner projection takes no masks, or its representation is not one of points.
    """

    def __init__(self, inner: Projection) -> None:
        if not takes_masks(inner):
            raise ValueError(
                f"Expected a projection that takes masks but got {inner}; build PointSort, FSW, PairSort, GramRows or "
                "PointFrames with ragged=True."
            )
        super().__init__(with_mask(inner.representation))
        self.inner, self.reason = inner, inner.reason
        self.out_features, self.guarantee = inner.out_features, inner.guarantee

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Compute features of the points that exist."""
        flat, mask = unpack(z, self.inner.representation)
        return self.inner(flat, mask)


def takes_masks(projection: Projection) -> bool:
    """Return whether a projection was built for padded sets."""
    if isinstance(projection, Joined):
        return all(isinstance(part, Projection) and takes_masks(part) for part in projection.projections)
    if isinstance(projection, (Reduced, Spread)):
        return takes_masks(projection.projection)
    return bool(getattr(projection, "ragged", False))


def masked(projection: Projection) -> Projection:
    """Return the projection of latents that carry their mask.

    Raises:
        ValueError: It takes no masks.
    """
    return _MaskedPoints(projection)


def default_masked(representation: Representation) -> Projection:
    """Return what `choose` would take if it knew of masks.

    Raises:
        ValueError: The representation is not one of points.
    """
    with_mask(representation)
    if isinstance(representation.group, Symmetric):
        paired = any(isinstance(block, Pairs) for block in representation)
        return PairSort(representation, ragged=True) if paired else PointSort(representation, ragged=True)
    chosen = choose(representation)
    projection = Projection.from_config(_ragged(chosen.config()))
    projection.reason = chosen.reason
    return projection


def with_mask(representation: Representation) -> Representation:
    """Return the representation of latents that carry their mask.

    Raises:
        ValueError: The representation has neither points nor pairs that S_n orders, nor points that a second group
            transforms.
    """
    group, blocks, beside = representation.group, representation.blocks, None
    if _one_block_of_points(representation):
        return Representation(group, (Points(group, blocks[0].copies + 1),))  # type: ignore[arg-type]
    if isinstance(group, Symmetric) and any(isinstance(block, (Points, Pairs)) for block in blocks):
        beside = Points(group, 1)
    if isinstance(group, Product) and len(group.factors) == 2 and isinstance(group.factors[0], Symmetric):
        points, space = group.factors
        if any(map(_of_points, blocks)) and isinstance(points, Symmetric):
            beside = Outer(group, 1, (Points(points, 1), Trivial(space, 1)))
    if beside is not None:
        return representation + Representation(group, (beside,))
    raise ValueError(
        "Expected points such as 'S9: 9 points x 16', pairs such as 'S9: 2 pairs', or points in space such as "
        f"'S9 x O3: 8 points*0e + 4 points*1o', for padded sets but got '{representation}'."
    )


def pack(flat: Float[Tensor, "B D"], mask: Bool[Tensor, "B n"], representation: Representation) -> Tensor:
    """Return latents that carry their mask; numbers of points that do not exist become 0.

    Args:
        flat: Latents of the representation without masks.
        mask: True at points that exist.
        representation: Without masks.

    Raises:
        LatentError: The mask is not one boolean a point.
    """
    n = masked_points(representation)
    if mask.dtype != torch.bool or mask.shape != (len(flat), n):
        raise LatentError(
            f"Expected a boolean mask of shape ({len(flat)}, {n}), True at points that exist, but got {mask.dtype} "
            f"{tuple(mask.shape)}."
        )
    shown = hide(representation, flat, mask)
    if _one_block_of_points(representation):
        return torch.cat([shown.unflatten(1, (n, -1)), mask[..., None].to(flat)], dim=-1).flatten(1)
    return torch.cat([shown, mask.to(flat)], dim=1)


def unpack(packed: Float[Tensor, "B E"], representation: Representation) -> tuple[Tensor, Tensor]:
    """Return latents without their mask, flat, and the mask (B, n).

    Args:
        packed: What `pack` gave.
        representation: Without masks.
    """
    if _one_block_of_points(representation):
        points = packed.reshape(len(packed), representation.blocks[0].dim, -1)
        return points[..., :-1].flatten(1), points[..., -1] > 0.5
    return packed[:, : representation.size], packed[:, representation.size :] > 0.5


def without_masks(evaluation: Evaluation, representation: Representation) -> Evaluation:
    """Return the same evaluation with latents of the representation without masks; numbers of hidden points are 0."""
    known = {name: getattr(evaluation.latents, name) for name in ("bank", "transformed", "untransformed")}
    shown = {name: unpack(z, representation)[0] for name, z in known.items() if z is not None}
    return replace(evaluation, latents=replace(evaluation.latents, **shown))


def _of_points(block: Any) -> bool:
    return isinstance(block, Outer) and isinstance(block.parts[0], Points)


def _one_block_of_points(representation: Representation) -> bool:
    return len(representation) == 1 and isinstance(representation.blocks[0], Points)


def _ragged(config: dict[str, Any]) -> dict[str, Any]:
    """The description of a projection for padded sets."""
    if "projections" in config:
        return config | {"projections": [_ragged(part) for part in config["projections"]]}
    if "projection" in config:
        return config | {"projection": _ragged(config["projection"])}
    return config | {"ragged": True}
