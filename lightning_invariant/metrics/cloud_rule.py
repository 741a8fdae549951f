"""max_g <z, rho(g) w> for points that carry vectors, under orders and rotations together: a search by turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Orthogonal, Product, Symmetric
from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Outer, Vectors
from lightning_invariant.metrics.assignment import best_orders

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

FRAMES, RANDOM, ROUNDS = 12, 8, 12
"""Starts from frames of points and from random rotations, and turns from each, unless nothing changes before."""


def is_cloud(representation: Representation) -> bool:
    """Whether S_n orders points that O(d) or SO(d) turns at the same time."""
    group = representation.group
    if not isinstance(group, Product) or len(group.factors) != 2:
        return False
    points, space = group.factors
    ordered = all(isinstance(block, Outer) and isinstance(block.parts[0], Points) for block in representation)
    turned = any(isinstance(block, Outer) and _is_vector(block.parts[1]) for block in representation)
    return isinstance(points, Symmetric) and isinstance(space, Orthogonal) and ordered and turned


def cloud_products(representation: Representation, generator: torch.Generator | None, z: Tensor, w: Tensor) -> Tensor:
    """The largest products found for paired rows (P, D), a lower bound on the maximum.

    From each start the best order is found for the rotation (assignment), then the best rotation for the order
    (Procrustes), until neither changes anything: iterated closest points, Besl and McKay 1992.
    """
    group = representation.group
    assert isinstance(group, Product)
    space = group.factors[1]
    assert isinstance(space, Orthogonal)
    generator = torch.Generator().manual_seed(0) if generator is None else generator
    starts = [rotation.expand(len(z), -1, -1) for rotation in space.sample(RANDOM, generator)]
    starts += _frame_starts(space, _vectors(representation, z)[:, :, 0], _vectors(representation, w)[:, :, 0])
    return torch.stack([_climb(representation, z, w, start) for start in starts]).amax(dim=0)


def _frame_starts(space: Orthogonal, x: Tensor, y: Tensor) -> list[Tensor]:
    """Rotations that bring the frames of y that look most like one frame of x onto it; x and y are (P, n, d).

    A frame is d - 1 points; that of x is the widest. Two sets of one orbit have it in common, so they are matched.
    """
    n, count = x.shape[1], space.d - 1
    index = torch.cartesian_prod(*[torch.arange(n)] * count).reshape(-1, count).to(x.device)
    frames, others = x[:, index], y[:, index]
    gram, other = (f @ f.mT for f in (frames, others))
    widest = torch.linalg.det(gram).argmax(dim=1)
    rows = torch.arange(len(x), device=x.device)
    mismatch = (other - gram[rows, widest][:, None]).flatten(2).norm(dim=2)
    alike = mismatch.topk(min(FRAMES, len(index)), dim=1, largest=False).indices
    wide = frames[rows, widest]
    signs = (1.0,) if space.special else (1.0, -1.0)
    return [_rotation(wide, others[rows, column], sign) for column in alike.unbind(dim=1) for sign in signs]


def _rotation(x: Tensor, y: Tensor, sign: float | None) -> Tensor:
    """The orthogonal matrix, of that determinant if one is given, that brings y (P, n, d) nearest to x."""
    u, _, vt = torch.linalg.svd(torch.einsum("pni,pnj->pij", x, y))
    if sign is not None:
        flip = torch.linalg.det(u @ vt).sign() * sign
        u = torch.cat([u[..., :-1], u[..., -1:] * flip[:, None, None]], dim=-1)
    return (u @ vt).cpu()


def _climb(representation: Representation, z: Tensor, w: Tensor, rotation: Tensor) -> Tensor:
    group = representation.group
    assert isinstance(group, Product)
    points, space = group.factors
    assert isinstance(space, Orthogonal)
    still = points.identity().expand(len(z), -1)
    best = z.new_full((len(z),), -torch.inf)
    for _ in range(ROUNDS):
        turned = representation.move(w, group.join([still, rotation]))
        order = best_orders(_points(representation, z) @ _points(representation, turned).mT)
        x, y = _vectors(representation, z).flatten(1, 2), _ordered(_vectors(representation, w), order).flatten(1, 2)
        rotation = _rotation(x, y, 1.0 if space.special else None)
        g = group.join([order, rotation]).to(z.device)
        products = (z * representation.move(w, g)).sum(dim=1)
        if not (products > best + 1e-12 * products.abs()).any():
            break
        best = torch.maximum(best, products)
    return best


def _ordered(points: Tensor, order: Tensor) -> Tensor:
    place = order.argsort(dim=1).to(points.device)
    return points.gather(1, place[:, :, None, None].expand_as(points))


def _points(representation: Representation, z: Tensor) -> Tensor:
    """All numbers of each point, (P, n, c)."""
    n = representation.group.factors[0].n  # type: ignore[attr-defined]
    parts = [part.unflatten(2, (n, -1)).transpose(1, 2).flatten(2) for part in representation.split(z)]
    return torch.cat(parts, dim=2)


def _vectors(representation: Representation, z: Tensor) -> Tensor:
    """The vectors of each point, (P, n, m, d)."""
    n = representation.group.factors[0].n  # type: ignore[attr-defined]
    blocks = zip(representation, representation.split(z), strict=True)
    parts = [
        part.unflatten(2, (n, -1)).transpose(1, 2)
        for block, part in blocks
        if isinstance(block, Outer) and _is_vector(block.parts[1])
    ]
    return torch.cat(parts, dim=2)


def _is_vector(block: Block) -> bool:
    if isinstance(block, FrequencyIrrep):
        return block.frequency == 1
    return isinstance(block, Vectors) or (isinstance(block, DegreeIrrep) and block.degree == 1 and block.parity != 1)
