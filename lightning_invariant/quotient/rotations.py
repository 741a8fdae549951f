"""Procrustes for vectors of O(d), SO(d), U(n) and SU(2); branch and bound for irreps of higher frequency or degree."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Orthogonal
from lightning_invariant.groups.harmonics import rotation_matrices
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Vectors
from lightning_invariant.groups.unitary import Unitary, quaternion_matrices, real_matrices
from lightning_invariant.quotient.branch_and_bound import Landscape, maximise
from lightning_invariant.quotient.found import Found, moved_parts

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

ROWS = 256
"""Pairs of latents that are searched together."""
CIRCLE_CELLS, SPHERE_CELLS = 5, 6
"""Cells at the start for each frequency, and along each axis for each degree."""
SPHERE_NUMBERS = 2**24
"""Most numbers in the matrices of all rotations that are looked at first; it leaves fewer cells for high degrees."""


def rotate(representation: Representation, z: Tensor, w: Tensor, *, certify: bool) -> Found:
    """Return the best rotation, or reflection where the group has them, for paired rows (P, D).

    O(d) is SO(d) and its coset of one reflection: both are searched, and the better element is taken.
    """
    group = representation.group
    assert isinstance(group, Orthogonal)
    found = []
    for start in _cosets(group):
        start = start.to(z.device)
        pairs = zip(z.split(ROWS), representation.transform(w, start).split(ROWS), strict=True)
        parts = [_rotate(representation, a, b, certify=certify) for a, b in pairs]
        element, value, bound = (torch.cat(column) for column in zip(*parts, strict=True))
        found.append((element @ start, value, bound))
    elements, values, bounds = (torch.stack(column) for column in zip(*found, strict=True))
    value, which = values.max(dim=0)
    return Found(elements[which, torch.arange(len(z), device=z.device)], bounds.amax(dim=0) - value)


def is_exactly_rotated(representation: Representation) -> bool:
    """Return whether the best rotation is always found: for vectors, and on the plane; on SO(3) there is a limit."""
    return representation.group.d == 2 or max(map(degree, representation)) <= 1  # type: ignore[attr-defined]


def degree(block: Block) -> int:
    """Frequency or degree under rotations: 0 for what they leave alone, 1 for vectors."""
    if isinstance(block, DegreeIrrep):
        return block.degree
    if isinstance(block, FrequencyIrrep):
        return block.frequency
    return int(isinstance(block, Vectors))


def best_rotation(cross: Tensor, *, special: bool) -> tuple[Tensor, Tensor]:
    """Return the R in O(d), or SO(d), with the largest trace of R^T C for each C (P, d, d), and that trace.

    References:
        Kabsch 1976; Umeyama 1991: a rotation cannot mirror, so the direction of the smallest singular value pays.
    """
    u, s, vt = torch.linalg.svd(cross)
    if special:
        flip = torch.linalg.det(u @ vt).sign()
        u, s = (
            torch.cat([x[..., :-1], x[..., -1:] * f], dim=-1) for x, f in ((u, flip[:, None, None]), (s, flip[:, None]))
        )
    return u @ vt, s.sum(dim=1)


def best_unitary(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """Return the element of U(n) or SU(2) that brings w nearest to z, for paired rows (P, D)."""
    group = representation.group
    assert isinstance(group, Unitary)
    x, y = (
        torch.view_as_complex(torch.cat(moved_parts(representation, side), dim=1).unflatten(2, (group.n, 2)))
        for side in (z, w)
    )
    if not group.special:
        u, _, vh = torch.linalg.svd(x.mT @ y.conj())
        return real_matrices(u @ vh)
    # As quaternions z and w, the product with a unit g is the real part of conj(g) q for q = sum_i z_i conj(w_i).
    (a, b), (c, d) = x.unbind(dim=2), y.unbind(dim=2)
    first = (a * c.conj() + b.conj() * d).sum(dim=1)
    q = torch.stack([first, (b * c.conj() - a.conj() * d).sum(dim=1)], dim=1)
    norm = q.norm(dim=1, keepdim=True)
    one = torch.tensor([1.0, 0.0], dtype=q.dtype, device=q.device)
    return quaternion_matrices(torch.where(norm > 0, q / torch.where(norm > 0, norm, 1.0), one))


def _cosets(group: Orthogonal) -> list[Tensor]:
    one = group.identity()
    if group.special:
        return [one]
    mirror = -one if group.d % 2 else torch.diag(torch.tensor([1.0] * (group.d - 1) + [-1.0], dtype=torch.float64))
    return [one, mirror]


def _rotate(representation: Representation, z: Tensor, w: Tensor, *, certify: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Rotations, their products, and bounds on the largest products."""
    d = representation.group.d  # type: ignore[attr-defined]
    still, crosses = torch.zeros(len(z), dtype=z.dtype, device=z.device), {}
    for block, a, b in zip(representation, representation.split(z), representation.split(w), strict=True):
        if degree(block) == 0:
            still = still + (a * b).flatten(1).sum(dim=1)
        else:
            crosses[degree(block)] = crosses.get(degree(block), 0) + a.mT @ b
    if not crosses:
        return torch.eye(d, dtype=z.dtype, device=z.device).expand(len(z), d, d), still, still
    if set(crosses) == {1}:
        element, value = best_rotation(crosses[1], special=True)
        return element, still + value, still + value
    landscape = _circle(crosses) if d == 2 else _sphere(crosses)
    element, value, bound = maximise(landscape, certify=certify or d == 2)
    if d == 2:
        c, s = element[:, 0].cos(), element[:, 0].sin()
        element = torch.stack([torch.stack([c, -s], dim=-1), torch.stack([s, c], dim=-1)], dim=-2)
    return element, still + value, still + bound


def _circle(crosses: dict[int, Tensor]) -> Landscape:
    """f(t) = sum_k a_k cos(k t) + b_k sin(k t); elements are angles (c, 1)."""
    cross = torch.stack(list(crosses.values()))
    k = torch.tensor(list(crosses), dtype=cross.dtype, device=cross.device)
    a, b = (cross[..., 0, 0] + cross[..., 1, 1]).mT, (cross[..., 1, 0] - cross[..., 0, 1]).mT
    derivatives = [torch.cat(pair, dim=1) for pair in ((a, b), (k * b, -k * a), (-(k**2) * a, -(k**2) * b))]
    size, cells = torch.hypot(a, b), CIRCLE_CELLS * (int(k.max()) + 1)
    half = math.pi / cells
    return Landscape(
        features=lambda t: torch.cat([(t * k).cos(), (t * k).sin()], dim=1),
        coefficients=torch.stack(derivatives, dim=1),
        third=(size * k**3).sum(dim=1),
        scale=size.sum(dim=1),
        exponential=lambda t: t,
        compose=torch.add,
        centres=(2 * half * torch.arange(cells, dtype=k.dtype, device=k.device) - math.pi + half)[:, None],
        half=half,
        reach=math.pi,
    )


def _sphere(crosses: dict[int, Tensor]) -> Landscape:
    """f(R) = sum_l <C_l, D_l(R)>, expanded by the generators J_a of D_l; elements are rotations (c, 3, 3)."""
    triangle = [(i, j) for i in range(3) for j in range(i, 3)]
    columns = []
    for number, cross in crosses.items():
        j = generators(number).to(cross)
        first = [x.mT @ cross for x in j]
        second = [(j[a] @ j[b] + j[b] @ j[a]).mT / 2 @ cross for a, b in triangle]
        columns.append(torch.stack([cross, *first, *second], dim=1).flatten(2))
    # A rotation by t has eigenvalues exp(i m t) with |m| <= l, so D_l changes by at most l^3 times the nuclear norm.
    sizes = torch.stack([torch.linalg.svdvals(cross).sum(dim=1) for cross in crosses.values()], dim=1)
    degrees = torch.tensor(list(crosses), dtype=sizes.dtype, device=sizes.device)
    size = sum(cross[0].numel() for cross in crosses.values())
    cells = min(SPHERE_CELLS * max(crosses), round((2 * SPHERE_NUMBERS / size) ** (1 / 3)))
    half = math.pi / cells
    line = 2 * half * torch.arange(cells, dtype=sizes.dtype, device=sizes.device) - math.pi + half
    centres = torch.cartesian_prod(line, line, line)
    return Landscape(
        features=lambda r: torch.cat([rotation_matrices(number, r).flatten(1) for number in crosses], dim=1),
        coefficients=torch.cat(columns, dim=2),
        third=(sizes * degrees**3).sum(dim=1),
        scale=sizes.sum(dim=1),
        exponential=rotation_of,
        compose=torch.matmul,
        centres=centres[centres.norm(dim=1) <= math.pi + 3**0.5 * half],
        half=half,
        reach=math.pi,
    )


def rotation_of(v: Tensor) -> Tensor:
    """Return the rotation about v by |v| radians, (c, 3, 3), after Rodrigues."""
    angle = v.norm(dim=1)[:, None, None]
    x, y, z = v.unbind(dim=1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=1).reshape(-1, 3, 3)
    # sinc(t / pi) = sin(t) / t, and (1 - cos t) / t^2 = sinc(t / 2 pi)^2 / 2: both are smooth at 0.
    return (
        torch.eye(3, dtype=v.dtype, device=v.device)
        + (angle / math.pi).sinc() * k
        + ((angle / (2 * math.pi)).sinc().square() / 2 * (k @ k))
    )


@lru_cache(maxsize=64)
def generators(number: int) -> Tensor:
    """Return the derivatives of D_l along rotations about x, y and z, (3, 2l + 1, 2l + 1), float64."""
    one = torch.eye(3, dtype=torch.float64)
    axes = [torch.zeros(3, 3, dtype=torch.float64) for _ in range(3)]
    for i, axis in enumerate(axes):
        axis[(i + 2) % 3, (i + 1) % 3], axis[(i + 1) % 3, (i + 2) % 3] = 1.0, -1.0
    move = [torch.func.jvp(lambda r: rotation_matrices(number, r[None])[0], (one,), (axis,))[1] for axis in axes]
    return torch.stack(move)
