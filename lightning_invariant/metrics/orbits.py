"""The distance between orbits, min_g ||z - rho(g) w||: what an invariant map should preserve.

All actions are orthogonal, so ||z - rho(g) w||^2 = ||z||^2 + ||w||^2 - 2 <z, rho(g) w>, and each rule looks for the
largest product.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Representation, Sampled
from lightning_invariant.metrics.orbit_rules import LISTED, Rule, largest_product_rule, listed_products

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

BLOCK = 2**14
"""Pairs that are treated at one time."""


def orbit_distance(
    z: Float[Tensor, "B *shape"],
    w: Float[Tensor, "C *shape"],
    representation: Representation | str,
    *,
    pairwise: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B"] | Float[Tensor, "B C"]:
    """Smallest distance of z to the orbit of w.

    Exact, to about 1e-8 of the latents' norm, for groups of at most 4096 elements, S_n on points (assignment), sign
    flips, SO(d) and O(d) on vectors (Procrustes), and all irreps of SO(2) and O(2). Otherwise an upper bound: for
    points that carry vectors (S_n x O(d)) assignment and Procrustes by turns from many starts, for anything else the
    best of 512 samples, refined locally for matrix groups. `is_exact` says which.

    Args:
        z: Latents.
        w: As many latents, or any number if pairwise.
        representation: What acts.
        pairwise: Whether all pairs are wanted.
        generator: For the sampled bound.

    Returns:
        Distances (B,), or (B, C) if pairwise, float64.

    Raises:
        LatentError: The latents do not fit.
        ValueError: Different numbers of latents and not pairwise.
        GroupError: The group is known by samples only.
        ImportError: SciPy is missing where an assignment has to be solved.

    Example:
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
        >>> orbit_distance(z, z.roll(3, dims=1), "C4: regular").item()
        0.0
    """
    representation, mirrored = Representation.parse(representation), z is w
    z, w = representation.flatten(z).double(), representation.flatten(w).double()
    if not pairwise and len(z) != len(w):
        raise ValueError(f"Expected as many latents on both sides but got {len(z)} and {len(w)}; or set pairwise=True.")
    if isinstance(representation.group, Sampled):
        raise GroupError(
            f"Expected a group with orbits but {representation.group} is known by samples only; use "
            "sampled_orbit_distance with the latents of sampled transforms."
        )
    rule = largest_product_rule(representation, generator)
    if not pairwise:
        return _distance(z.square().sum(1), w.square().sum(1), _in_blocks(rule, z, w))
    if rule.name == LISTED:
        products = listed_products(representation, z, w)
    else:
        products = _all_pairs(rule, z, w, mirrored=mirrored)
    return _distance(z.square().sum(1)[:, None], w.square().sum(1), products)


def sampled_orbit_distance(
    z: Float[Tensor, "B *shape"], w: Float[Tensor, "C K *shape"], representation: Representation | str
) -> Float[Tensor, "B C"]:
    """Smallest distance of z to the latents of K sampled transforms of each input: an upper bound on the orbit's.

    For augmentations, of which only draws are known; it falls with K.

    Args:
        z: Latents of inputs as they come.
        w: Latents of K transforms of each of C inputs, the untouched one among them if it shall count.
        representation: What the latents are, "Sampled: 64 trivial" or any other that fits their layout.

    Returns:
        Distances (B, C), float64.

    Raises:
        LatentError: The latents do not fit.

    Example:
        >>> sampled_orbit_distance(torch.zeros(1, 2), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]]), "Sampled: 2 trivial")
        tensor([[1.]], dtype=torch.float64)
    """
    representation = Representation.parse(representation)
    flat = representation.flatten(z).double()
    if w.dim() < 2 or w.shape[1] < 1:
        raise LatentError(
            f"Expected latents (C, K, {representation.size}) of at least one transform but got {tuple(w.shape)}."
        )
    moved = representation.flatten(w.flatten(0, 1)).double()
    # Differences, not products: latents of one orbit shall be at distance 0.
    distances = torch.cdist(flat, moved, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.reshape(len(flat), *w.shape[:2]).amin(dim=2)


def is_exact(representation: Representation | str) -> bool:
    """Whether `orbit_distance` is exact for a representation, not an upper bound from samples."""
    representation = Representation.parse(representation)
    return not isinstance(representation.group, Sampled) and largest_product_rule(representation, None).exact


def _in_blocks(rule: Rule, z: Tensor, w: Tensor) -> Tensor:
    if len(z) == 0:
        return z.new_zeros(0)
    return torch.cat([rule.products(a, b) for a, b in zip(z.split(BLOCK), w.split(BLOCK), strict=True)])


def _all_pairs(rule: Rule, z: Tensor, w: Tensor, *, mirrored: bool) -> Tensor:
    """Products (B, C); of latents with themselves each pair is looked at once."""
    if mirrored:
        rows, columns = torch.triu_indices(len(z), len(z), device=z.device)
    else:
        rows, columns = torch.cartesian_prod(torch.arange(len(z)), torch.arange(len(w))).to(z.device).unbind(1)
    products = z.new_empty(len(z), len(w))
    for i, j in zip(rows.split(BLOCK), columns.split(BLOCK), strict=True):
        products[i, j] = rule.products(z[i], w[j])
        if mirrored:
            products[j, i] = products[i, j]
    return products


def _distance(zz: Tensor, ww: Tensor, zw: Tensor) -> Tensor:
    squares = zz + ww - 2 * zw
    # Below this the difference of squares is rounding: two latents of one orbit.
    rounding = 64 * torch.finfo(squares.dtype).eps * (zz + ww)
    return torch.where(squares <= rounding, 0.0, squares).sqrt()
