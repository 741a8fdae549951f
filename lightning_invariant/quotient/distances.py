"""Distances between orbits, min_g |z - rho(g) w|: what an invariant map should preserve."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.quotient.alignment import Nearest, find_nearest, read_masks
from lightning_invariant.quotient.finite import table_of_products
from lightning_invariant.quotient.solver import LISTED, Solver, solver_for

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.quotient.found import Masks

BLOCK = 2**14
"""Pairs that are looked at together."""
TABLED = 1024
"""Largest group for which distances of all pairs come from products of whole batches."""


class Bounds(NamedTuple):
    """The distance between orbits lies between these, and is `upper` where both are equal.

    Args:
        lower: Certified lower bound, float64.
        upper: Distance of two representatives, float64.
    """

    lower: Float[Tensor, "*B"]
    upper: Float[Tensor, "*B"]


def distance(
    z: Float[Tensor, "B *shape"],
    w: Float[Tensor, "C *shape"],
    representation: Representation | str,
    mask: Bool[Tensor, "B n"] | tuple[Bool[Tensor, "B n"], Bool[Tensor, "C n"]] | None = None,
    *,
    pairwise: bool = False,
) -> Float[Tensor, " B"] | Float[Tensor, "B C"]:
    """Return the distance of z to the orbit of w.

    Args:
        z: Latents.
        w: As many latents, or any number if pairwise.
        representation: What acts.
        mask: Which points exist, as in `align`: one mask for both sides, or that of z and that of w.
        pairwise: Whether all pairs are wanted.

    Returns:
        Distances (B,), or (B, C) if pairwise, float64. Where `is_exact` is False, upper bounds that representatives
        attain; `bounds` gives lower ones as well.

    Raises:
        ValueError: Different numbers of latents and not pairwise.
        LatentError: Latents or masks do not fit.
        GroupError: The group is known by samples only, or a mask is given and no points are ordered.
        ImportError: SciPy is missing where points have to be matched.

    Note:
        What is exact and what is searched for is listed in `align`.

    Example:
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        >>> distance(z, z.roll(1, dims=1), "C4: regular").item()
        0.0
    """
    representation, mirrored = Representation.parse(representation), z is w and not isinstance(mask, (tuple, list))
    solver = solver_for(representation)
    if pairwise and mask is None and solver.name == LISTED and (representation.group.order or 0) <= TABLED:
        return _listed(representation, z, w)
    return _bounds(solver, representation, z, w, mask, pairwise=pairwise, mirrored=mirrored, certify=False).upper


def bounds(
    z: Float[Tensor, "B *shape"],
    w: Float[Tensor, "C *shape"],
    representation: Representation | str,
    mask: Bool[Tensor, "B n"] | tuple[Bool[Tensor, "B n"], Bool[Tensor, "C n"]] | None = None,
    *,
    pairwise: bool = False,
    certify: bool = True,
) -> Bounds:
    """Return bounds between which the distance of z to the orbit of w certainly lies.

    Args:
        z: As in `distance`.
        w: As in `distance`.
        representation: What acts.
        mask: As in `distance`.
        pairwise: As in `distance`.
        certify: Whether to search until the bounds meet where no exact method is known, which takes much longer.
            Without, lower bounds are valid but may be far below.

    Returns:
        Lower and upper bounds, equal up to rounding where `is_exact` is True.

    Raises:
        ValueError: As `distance`.
        LatentError: As `distance`.
        GroupError: As `distance`.
        ImportError: As `distance`.

    Example:
        >>> z, w = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.0, 0.0, 1.0]])
        >>> [round(bound.item(), 6) for bound in bounds(z, w, "SO3: 1x2")]
        [1.081225, 1.081225]
    """
    representation, mirrored = Representation.parse(representation), z is w and not isinstance(mask, (tuple, list))
    solver = solver_for(representation)
    return _bounds(solver, representation, z, w, mask, pairwise=pairwise, mirrored=mirrored, certify=certify)


def is_exact(representation: Representation | str) -> bool:
    """Return whether `distance` is always exact for a representation, up to rounding, and not an upper bound."""
    representation = Representation.parse(representation)
    return not isinstance(representation.group, Sampled) and solver_for(representation).exact


def sampled_distance(
    z: Float[Tensor, "B *shape"], w: Float[Tensor, "C K *shape"], representation: Representation | str
) -> Float[Tensor, "B C"]:
    """Return the smallest distance of z to the latents of K sampled transforms of each input.

    An upper bound on the distance to the orbit, for augmentations, of which only draws are known; it falls with K.

    Args:
        z: Latents of inputs as they come.
        w: Latents of K transforms of each of C inputs, the untouched one among them if it shall count.
        representation: What the latents are, "Sampled: 64 trivial" or any other that fits their layout.

    Returns:
        Distances (B, C), float64.

    Raises:
        LatentError: The latents do not fit.

    Example:
        >>> sampled_distance(torch.zeros(1, 2), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), "Sampled: 2 trivial")
        tensor([[1.]], dtype=torch.float64)
    """
    representation = Representation.parse(representation)
    flat = representation.flatten(z).double()
    if w.dim() < 2 or w.shape[1] < 1:
        raise LatentError(
            f"Expected latents (C, K, {representation.size}) of at least one transform but got {tuple(w.shape)}."
        )
    transformed = representation.flatten(w.flatten(0, 1)).double()
    # Differences, not products: latents of one orbit shall be at distance 0.
    distances = torch.cdist(flat, transformed, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.reshape(len(flat), *w.shape[:2]).amin(dim=2)


def _bounds(
    solver: Solver,
    representation: Representation,
    z: Tensor,
    w: Tensor,
    mask: Tensor | tuple[Tensor, Tensor] | None,
    *,
    pairwise: bool,
    mirrored: bool,
    certify: bool,
) -> Bounds:
    z, w = representation.flatten(z), representation.flatten(w)
    if not pairwise and len(z) != len(w):
        raise ValueError(f"Expected as many latents on both sides but got {len(z)} and {len(w)}; or set pairwise=True.")
    masks = read_masks(representation, mask, len(z), len(w))
    if not pairwise:
        return _of(find_nearest(solver, representation, z, w, masks, certify=certify))
    # Of latents with themselves each pair is looked at once.
    pairs = torch.triu_indices(len(z), len(z)) if mirrored else _every(len(z), len(w))
    lower, upper = (z.new_zeros(len(z), len(w), dtype=torch.float64) for _ in range(2))
    for i, j in zip(*(side.to(z.device).split(BLOCK) for side in pairs), strict=True):
        shown: Masks | None = None if masks is None else (masks[0][i], masks[1][j])
        found = find_nearest(solver, representation, z[i], w[j], shown, certify=certify)
        lower[i, j], upper[i, j] = found.lower, found.distance
        if mirrored:
            lower[j, i], upper[j, i] = lower[i, j], upper[i, j]
    return Bounds(lower, upper)


def _listed(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """|z|^2 + |w|^2 - 2 max_g <z, rho(g) w>, with products of all pairs at once."""
    z, w = representation.flatten(z).double(), representation.flatten(w).double()
    # At norm 1 at most no square over- or underflows.
    entries = torch.cat([z.flatten(), w.flatten(), z.new_full((1,), torch.finfo(z.dtype).tiny)])
    scale = torch.where(entries.isfinite(), entries, 0.0).abs().amax()
    z, w = z / scale, w / scale
    squares = z.square().sum(dim=1)[:, None] + w.square().sum(dim=1)
    rest = squares - 2 * table_of_products(representation, z, w)
    # Below this the difference of squares is rounding: two latents of one orbit.
    rounding = 64 * torch.finfo(z.dtype).eps * squares
    return torch.where(rest <= rounding, 0.0, rest).sqrt() * scale


def _every(first: int, second: int) -> Tensor:
    return torch.cartesian_prod(torch.arange(first), torch.arange(second)).mT


def _of(nearest: Nearest) -> Bounds:
    return Bounds(nearest.lower, nearest.distance)
