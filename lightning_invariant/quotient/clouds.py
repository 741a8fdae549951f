"""S_n x O(d) or SO(d) on points that carry vectors: where to start a search, and bounds by relaxation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Orthogonal, Product, Symmetric
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Outer
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.quotient.found import Masks, visible_matches
from lightning_invariant.quotient.points import best_orders
from lightning_invariant.quotient.rotations import best_rotation, degree

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

FRAMES = 12
"""Starts from frames of points."""


def is_cloud(representation: Representation) -> bool:
    """Return whether S_n orders points that O(d) or SO(d) turns at the same time."""
    group = representation.group
    if not isinstance(group, Product) or len(group.factors) != 2:
        return False
    points, space = group.factors
    ordered = all(isinstance(block, Outer) and isinstance(block.parts[0], Points) for block in representation)
    turned = any(isinstance(block, Outer) and _is_vector(block.parts[1]) for block in representation)
    return isinstance(points, Symmetric) and isinstance(space, Orthogonal) and ordered and turned


def bound_of_clouds(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None) -> Tensor:
    """Return a bound on the largest product of paired rows (P, D), by relaxing the rotation and the order."""
    return torch.minimum(_bound_by_points(representation, z, w, masks), _bound_by_spectra(representation, z, w))


def frame_starts(representation: Representation, z: Tensor, w: Tensor) -> list[Tensor]:
    """Return elements that bring the frames of w that look most like one frame of z onto it.

    A frame is d - 1 points; that of z is the widest. Two sets of one orbit have it in common, so they are matched.
    """
    group = representation.group
    assert isinstance(group, Product)
    points, space = group.factors
    assert isinstance(space, Orthogonal)
    still = points.identity().to(z.device).expand(len(z), -1)
    x, y = (_vectors(representation, side)[:, :, 0] for side in (z, w))
    return [group.join([still, rotation]) for rotation in _frame_rotations(space, x, y)]


def _bound_by_points(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None) -> Tensor:
    """The largest product if each point could be turned by itself: an assignment of points."""
    products = torch.zeros((), dtype=z.dtype, device=z.device)
    for block, a, b in zip(representation, _by_point(representation, z), _by_point(representation, w), strict=True):
        assert isinstance(block, Outer)
        cross = torch.einsum("pikx,pjky->pijxy", a, b)
        still = is_trivial(block.parts[1])
        products = products + (cross[..., 0, 0] if still else torch.linalg.svdvals(cross).sum(dim=-1))
    place = best_orders(products + visible_matches(masks)).argsort(dim=1)
    return products.gather(2, place[..., None]).sum(dim=(1, 2))


def _bound_by_spectra(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """The largest product if orders were any orthogonal matrices: von Neumann's trace inequality."""
    values = [torch.linalg.svdvals(_points(representation, side)) for side in (z, w)]
    return (values[0] * values[1]).sum(dim=1)


def _frame_rotations(space: Orthogonal, x: Tensor, y: Tensor) -> list[Tensor]:
    n, count = x.shape[1], space.d - 1
    index = torch.cartesian_prod(*[torch.arange(n)] * count).reshape(-1, count).to(x.device)
    frames, others = x[:, index], y[:, index]
    gram, other = (f @ f.mT for f in (frames, others))
    widest = torch.linalg.det(gram).argmax(dim=1)
    rows = torch.arange(len(x), device=x.device)
    mismatch = (other - gram[rows, widest][:, None]).flatten(2).norm(dim=2)
    alike = mismatch.topk(min(FRAMES, len(index)), dim=1, largest=False).indices
    wide = frames[rows, widest]
    mirrors = (False,) if space.special else (False, True)
    return [_onto(wide, others[rows, column], mirrored=m) for column in alike.unbind(dim=1) for m in mirrors]


def _onto(x: Tensor, y: Tensor, *, mirrored: bool) -> Tensor:
    """The rotation, or rotation after a reflection, that brings y (P, n, d) nearest to x."""
    flip = torch.ones(x.shape[-1], dtype=x.dtype, device=x.device)
    flip[0] = -1.0 if mirrored else 1.0
    return best_rotation(x.mT @ (y * flip), special=True)[0] * flip


def _by_point(representation: Representation, z: Tensor) -> list[Tensor]:
    """Each block as (P, n, copies, dim)."""
    n = representation.group.factors[0].n  # type: ignore[attr-defined]
    return [part.unflatten(2, (n, -1)).transpose(1, 2) for part in representation.split(z)]


def _points(representation: Representation, z: Tensor) -> Tensor:
    """All numbers of each point, (P, n, c)."""
    return torch.cat([part.flatten(2) for part in _by_point(representation, z)], dim=2)


def _vectors(representation: Representation, z: Tensor) -> Tensor:
    """The vectors of each point, (P, n, m, d)."""
    blocks = zip(representation, _by_point(representation, z), strict=True)
    return torch.cat([part for block, part in blocks if isinstance(block, Outer) and _is_vector(block.parts[1])], dim=2)


def _is_vector(block: Block) -> bool:
    return degree(block) == 1 and not (isinstance(block, DegreeIrrep) and block.parity == 1)
