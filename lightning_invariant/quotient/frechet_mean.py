"""Fréchet means: the latent whose orbit is nearest to those of all samples, in the root mean square."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.quotient.alignment import align, read_masks
from lightning_invariant.quotient.found import hide, order_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

STARTS, SCREENED = 8, 5
"""Samples that the search starts from, and iterations from each before the best goes on."""
STILL = 1e-12
"""The search has converged when the variance falls by less than this share of the mean squared norm."""


@dataclass(frozen=True)
class Mean:
    """The mean of latents modulo a group.

    Args:
        latent: The mean, in the layout of one latent: of its orbit the point nearest to the first sample.
        variance: Mean squared distance of the samples' orbits to it.
        aligned: The samples, each brought as near to the mean as the group can, (N, *shape); the mean is their average.
        element: The elements that do so, (N, *element_shape).
        converged: Whether alignment and average agree; otherwise more iterations would lower the variance.
        iterations: How often the samples were aligned, from the best start.
        mask: Which points of the mean exist, (n,), those of the largest set; None without a mask.
        aligned_mask: Which points of the aligned samples exist, (N, n); None without a mask.
    """

    latent: Float[Tensor, "*shape"]
    variance: float
    aligned: Float[Tensor, "N *shape"]
    element: Tensor
    converged: bool
    iterations: int
    mask: Bool[Tensor, " n"] | None = None
    aligned_mask: Bool[Tensor, "N n"] | None = None


def mean(
    z: Float[Tensor, "N *shape"],
    representation: Representation | str,
    mask: Bool[Tensor, "N n"] | None = None,
    *,
    iterations: int = 100,
    starts: int = STARTS,
) -> Mean:
    """Find the Fréchet mean of orbits by aligning all samples to it and averaging them, again and again.

    Args:
        z: Latents, at least one.
        representation: What acts.
        mask: Which points exist, as in `align`. Sets of unlike size are averaged with zeros for points they lack.
        iterations: Most alignments from each start.
        starts: Samples to start from, spread over the batch; the best result is kept.

    Returns:
        The mean, with the aligned samples and whether it has converged.

    Raises:
        ValueError: No sample, or fewer than one start or iteration.
        LatentError: Latents or mask do not fit, or a latent is not finite.
        GroupError: As `align`.
        ImportError: As `align`.

    Note:
        The variance never rises from one iteration to the next, and it stops at a local minimum: the quotient is
        curved, so several can exist. More starts find the least more often; no number of them makes sure.

    References:
        Gower 1975 (Generalized Procrustes analysis); Calissano, Feragen and Vantini 2023 (Populations of unlabelled
        networks, Biometrika) for means of graphs by aligning all and averaging; Hansen, Calissano and Feragen 2024
        (2401.12588) for latents.

    Example:
        >>> z = torch.tensor([[1.0, 5.0, 2.0], [5.0, 2.0, 1.0]])
        >>> mean(z, "S3: points").latent.flatten().tolist()
        [1.0, 5.0, 2.0]
    """
    representation = Representation.parse(representation)
    flat = representation.flatten(z)
    if len(flat) == 0 or iterations < 1 or starts < 1:
        raise ValueError(f"Expected samples, starts and iterations but got {len(flat)}, {starts} and {iterations}.")
    masks, work = read_masks(representation, mask, len(flat), len(flat)), flat.double()
    visible = None if masks is None else masks[0]
    if visible is not None:
        work = hide(representation, work, visible)
    if not bool((sound := work.isfinite().all(dim=1)).all()):
        bad = (~sound).nonzero()[:, 0].tolist()
        raise LatentError(f"Expected finite latents but those in rows {bad[:8]} are not; leave them out.")
    # The largest sets have room for all others; among them the starts are spread evenly.
    rows = torch.arange(len(flat), device=flat.device)
    rows = rows if visible is None else rows[visible.sum(dim=1) == visible.sum(dim=1).max()]
    rows = rows[torch.linspace(0, len(rows) - 1, min(starts, len(rows))).round().long()]
    tried = [_descend(representation, work, visible, _start(work, visible, int(row)), SCREENED) for row in rows]
    best = min(tried, key=lambda found: found.variance)
    if not best.converged and iterations > SCREENED:
        more = _descend(representation, work, visible, (best.latent, best.mask), iterations - SCREENED)
        best = replace(more, iterations=more.iterations + best.iterations)
    return _facing_first(representation, z, visible, best)


def _start(z: Tensor, visible: Tensor | None, row: int) -> tuple[Tensor, Tensor | None]:
    return z[row], None if visible is None else visible[row]


def _descend(
    representation: Representation, z: Tensor, visible: Tensor | None, start: tuple[Tensor, Tensor | None], most: int
) -> Mean:
    """Align flat samples to a latent and average them, at most a number of times."""
    latent, mask = start
    masks = None if visible is None or mask is None else (visible, mask[None])
    scale = z.square().sum(dim=1).mean()
    number = 0
    while True:
        found, number = align(z, latent[None], representation, masks), number + 1
        before, latent = latent, found.latents.mean(dim=0)
        # Averaging lowers the variance by exactly this much.
        converged = bool((latent - before).square().sum() <= STILL * scale)
        if converged or number >= most:
            break
    variance = (found.latents - latent).square().sum(dim=1).mean().item()
    return Mean(latent, variance, found.latents, found.element, converged, number, mask, found.mask)


def _facing_first(representation: Representation, z: Tensor, visible: Tensor | None, found: Mean) -> Mean:
    """The same mean, with all samples, on the point of its orbit that is nearest to the first sample."""
    masks = None if visible is None or found.mask is None else (found.mask[None], visible[:1])
    facing = align(found.latent[None], representation.flatten(z)[:1].double(), representation, masks)
    g, mask, aligned_mask = facing.element[0], None, None
    if facing.mask is not None and found.aligned_mask is not None:
        order = order_of(representation.group, g[None])
        assert order is not None
        mask, aligned_mask = facing.mask[0], found.aligned_mask[:, order[0].argsort()]
    return replace(
        found,
        latent=facing.latents[0].to(z.dtype).reshape(z.shape[1:]),
        aligned=representation.transform(found.aligned, g).to(z.dtype).reshape(z.shape),
        element=representation.group.compose(g, found.element),
        mask=mask,
        aligned_mask=aligned_mask,
    )
