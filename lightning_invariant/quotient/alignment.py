"""Latents modulo a group: the nearest representative of an orbit, distances with certified bounds, shortest paths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.centring import centre, linear_part, with_shifts
from lightning_invariant.quotient.found import hide, order_of
from lightning_invariant.quotient.solver import Solver, masked_points, solver_for

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.quotient.found import Masks

NUMBERS = 2**17
"""Numbers of latents that are treated at one time; memory that is used again need not be fetched."""
ORDINARY = 1e-100, 1e100
"""Norms whose squares neither over- nor underflow."""


@dataclass(frozen=True)
class Alignment:
    """Latents brought as near to others as the group can.

    Args:
        latents: rho(g) z, shape and dtype of z; hidden points are zero.
        element: The element g for each latent, (B, *element_shape).
        distance: |to - rho(g) z| in float64: the distance between the orbits, or an upper bound on it.
        lower: Certified lower bound on the distance between the orbits, float64.
        mask: Which points of the aligned latents exist, None without a mask.
    """

    latents: Float[Tensor, "B *shape"]
    element: Tensor
    distance: Float[Tensor, " B"]
    lower: Float[Tensor, " B"]
    mask: Bool[Tensor, "B n"] | None = None

    @property
    def exact(self) -> Bool[Tensor, " B"]:
        """Whether no element can come nearer, up to rounding."""
        return self.lower >= self.distance


@dataclass(frozen=True)
class Path:
    """Shortest paths between orbits: straight from z to the nearest representative of w.

    Args:
        latents: Points of the paths, first z, last the representative, (B, steps, *shape).
        length: Their lengths, float64: the distance between the orbits, or an upper bound on it.
        lower: Certified lower bound on the distance between the orbits, float64.
        element: The element that brings w to the end of the path, (B, *element_shape).
        mask: Which points exist on the way, those of either end, (B, n); None without a mask.
    """

    latents: Float[Tensor, "B steps *shape"]
    length: Float[Tensor, " B"]
    lower: Float[Tensor, " B"]
    element: Tensor
    mask: Bool[Tensor, "B n"] | None = None


def align(
    z: Float[Tensor, "B *shape"],
    to: Float[Tensor, "B *shape"],
    representation: Representation | str,
    mask: Bool[Tensor, "B n"] | tuple[Bool[Tensor, "B n"], Bool[Tensor, "B n"]] | None = None,
    *,
    certify: bool = False,
) -> Alignment:
    """Bring latents as near to others as the group can: the nearest representatives of their orbits.

    Args:
        z: Latents, in any layout that fits the representation.
        to: As many latents to bring them to, or one for all.
        representation: What acts.
        mask: Which points exist, True at those that do: one mask for both sides, or that of z and that of `to`. For
            S_n on points or pairs. As many visible points as possible are matched to visible ones; those left over
            are compared with zero.
        certify: Whether to search until the bounds meet where no exact method is known, see Note.

    Returns:
        Aligned latents, elements, distances, and certified lower bounds.

    Raises:
        LatentError: Latents or masks do not fit.
        GroupError: The group is known by samples only, or a mask is given and no points are ordered.
        ImportError: SciPy is missing where points have to be matched.

    Note:
        Exact up to rounding, with equal bounds, for finite groups of at most 100,000 elements, S_n on points, S_n on
        pairs with n <= 9, signs, O(d), SO(d), U(n) and SU(2) on vectors, irreps of SO(2) and O(2), and products of one
        of these with small groups, S_n x O(d) with n <= 6 among them; `is_exact` says so. Where the group translates
        positions, all of this holds for latents whose positions have lost their mean, over visible points. For irreps
        of SO(3) and O(3) of degree 2 and more, and for pairs of more points, the best element that a local search
        finds; with `certify` branch and bound goes on until no better one can exist, or memory for it ends. For S_n x
        O(d) with more points, assignment and Procrustes by turns from many starts; for anything else the best of 513
        elements; bounds by relaxation. Searches start from a fixed seed, so results repeat. Latents that are not finite
        have the distance NaN.

    References:
        Calissano, Feragen and Vantini 2023 (Populations of unlabelled networks: graph space geometry and generalized
        geodesic principal components, Biometrika) for geometry modulo permutations; Umeyama 1991 for Procrustes.

    Example:
        >>> z = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
        >>> found = align(z.roll(1, dims=1), z, "C4: regular")
        >>> found.latents.tolist(), found.element.tolist(), found.distance.item()
        ([[1.0, 2.0, 3.0, 4.0]], [3], 0.0)
    """
    representation = Representation.parse(representation)
    flat, target = representation.flatten(z), representation.flatten(to)
    if len(target) not in (1, len(flat)):
        raise LatentError(f"Expected one latent to align to or as many as the {len(flat)} latents, not {len(target)}.")
    masks = read_masks(representation, mask, len(flat), len(target))
    if masks is not None:
        masks = masks[1].expand(len(flat), -1), masks[0]
    target = target.expand(len(flat), -1)
    nearest = find_nearest(solver_for(representation), representation, target, flat, masks, certify=certify)
    seen = None
    if masks is not None:
        flat = hide(representation, flat, masks[1])
        order = order_of(representation.group, nearest.element)
        assert order is not None
        seen = masks[1].gather(1, order.argsort(dim=1))
    aligned = representation.transform(flat, nearest.element)
    aligned = (aligned if seen is None else hide(representation, aligned, seen)).reshape(z.shape)
    return Alignment(aligned, nearest.element, nearest.distance, nearest.lower, seen)


def path(
    z: Float[Tensor, "B *shape"],
    w: Float[Tensor, "B *shape"],
    representation: Representation | str,
    steps: int = 8,
    mask: Bool[Tensor, "B n"] | tuple[Bool[Tensor, "B n"], Bool[Tensor, "B n"]] | None = None,
    *,
    certify: bool = False,
) -> Path:
    """Walk from the orbit of z to that of w on the shortest path: straight to the nearest representative of w.

    Args:
        z: Latents where the paths start.
        w: As many latents whose orbits they lead to.
        representation: What acts.
        steps: Points on each path, both ends included, at least 2.
        mask: As in `align`, that of z first.
        certify: As in `align`.

    Returns:
        Points of the paths, and their lengths.

    Raises:
        ValueError: Fewer than 2 steps.
        LatentError: As `align`.
        GroupError: As `align`.
        ImportError: As `align`.

    Note:
        The group acts by isometries, so the quotient's distance is the least distance of representatives,
        and a straight line between two that attain it is a shortest path. Where `align` is not exact, the path may be
        longer than the shortest; `lower` says by how much at most.

    Example:
        >>> z, w = torch.tensor([[0.0, 2.0]]), torch.tensor([[4.0, 0.0]])
        >>> walk = path(z, w, "S2: points", steps=3)
        >>> walk.latents.tolist(), walk.length.item()
        ([[[0.0, 2.0], [0.0, 3.0], [0.0, 4.0]]], 2.0)
    """
    if steps < 2:
        raise ValueError(f"Expected at least 2 steps, the ends of the path, but got {steps}.")
    representation = Representation.parse(representation)
    if len(z) != len(w):
        raise LatentError(f"Expected as many latents on both sides but got {len(z)} and {len(w)}.")
    masks = read_masks(representation, mask, len(z), len(w))
    end = align(w, z, representation, None if masks is None else (masks[1], masks[0]), certify=certify)
    flat, last = representation.flatten(z), representation.flatten(end.latents)
    seen = None
    if masks is not None and end.mask is not None:
        flat, seen = hide(representation, flat, masks[0]), masks[0] | end.mask
    share = torch.linspace(0, 1, steps, dtype=flat.dtype, device=flat.device)[None, :, None]
    points = torch.lerp(flat[:, None], last.to(flat.dtype)[:, None], share)
    return Path(points.reshape(len(z), steps, *z.shape[1:]), end.distance, end.lower, end.element, seen)


class Nearest(NamedTuple):
    """Elements that bring w nearest to z, the distances, and lower bounds on those of the orbits."""

    element: Tensor
    distance: Tensor
    lower: Tensor


def find_nearest(
    solver: Solver, representation: Representation, z: Tensor, w: Tensor, masks: Masks | None, *, certify: bool
) -> Nearest:
    """Solve paired rows (P, D) block by block, in float64."""
    if len(z) == 0:
        none, group = z.new_zeros(0, dtype=torch.float64), representation.group
        return Nearest(group.identity().to(z.device).expand(0, *group.element_shape), none, none)
    if (linear := linear_part(representation)) != representation:
        sides = zip((z, w), masks or (None, None), strict=True)
        (z, to), (w, of) = (centre(representation, side.double(), mask) for side, mask in sides)
        nearest = find_nearest(solver, linear, z, w, masks, certify=certify)
        return nearest._replace(element=with_shifts(representation.group, nearest.element, to, of))
    size, parts = max(1, NUMBERS // representation.size), []
    for start in range(0, len(z), size):
        rows = slice(start, start + size)
        shown = None if masks is None else (masks[0][rows], masks[1][rows])
        parts.append(_find_nearest(solver, representation, z[rows].double(), w[rows].double(), shown, certify=certify))
    return Nearest(*(torch.cat(column) for column in zip(*parts, strict=True)))


def read_masks(
    representation: Representation, mask: Tensor | tuple[Tensor, Tensor] | None, first: int, second: int
) -> Masks | None:
    """Return the masks of both sides.

    Args:
        representation: What acts.
        mask: One for both sides, or one for each.
        first: Latents on the first side.
        second: On the second.

    Raises:
        LatentError: A mask is not boolean, or of another shape.
        GroupError: No points are ordered.
    """
    if mask is None:
        return None
    n, masks = masked_points(representation), mask if isinstance(mask, (tuple, list)) else (mask, mask)
    for side, count in zip(masks, (first, second), strict=True):
        if side.dtype != torch.bool or side.shape != (count, n):
            raise LatentError(
                f"Expected a boolean mask of shape ({count}, {n}) but got {side.dtype} {tuple(side.shape)}; give True "
                "at points that exist, and a pair of masks where the two sides have different ones."
            )
    return masks[0], masks[1]


def _find_nearest(
    solver: Solver, representation: Representation, z: Tensor, w: Tensor, masks: Masks | None, *, certify: bool
) -> Nearest:
    if masks is not None:
        z, w = hide(representation, z, masks[0]), hide(representation, w, masks[1])
    norm = torch.maximum(z.norm(dim=1), w.norm(dim=1))
    sound, scale = norm.isfinite(), norm
    if not bool(((norm > ORDINARY[0]) & (norm < ORDINARY[1])).all()):
        # A square over- or underflows, or a latent is not finite: the largest entry is divided out before the norm.
        sound = z.isfinite().all(dim=1) & w.isfinite().all(dim=1)
        z, w = (torch.where(sound[:, None], side, 0.0) for side in (z, w))
        largest = torch.maximum(z.abs().amax(dim=1), w.abs().amax(dim=1)).clamp(min=torch.finfo(z.dtype).tiny)
        z, w = z / largest[:, None], w / largest[:, None]
        norm = torch.maximum(z.norm(dim=1), w.norm(dim=1)).clamp(min=torch.finfo(z.dtype).tiny)
        scale = largest * norm
    z, w = z / norm[:, None], w / norm[:, None]
    found = solver.solve(z, w, masks, certify)
    distance = (z - representation.transform(w, found.element)).norm(dim=1)
    lower = (distance.square() - 2 * found.gap).clamp(min=0).sqrt()
    lower = torch.where(found.gap > 0, torch.maximum(lower, (z.norm(dim=1) - w.norm(dim=1)).abs()), distance)
    distance, lower = (torch.where(sound, d * scale, torch.nan) for d in (distance, torch.minimum(lower, distance)))
    return Nearest(found.element, distance, lower)
