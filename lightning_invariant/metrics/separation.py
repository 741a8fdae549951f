"""Hard negatives: latents whose channels were transformed apart, which a sound invariant map tells apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Representation
from lightning_invariant.metrics.invariance import mean_distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block

TIE = 1e-4
"""Distances within this share of the mean distance between samples count as equal in retrieval."""


def hard_negatives(
    z: Float[Tensor, "B *shape"], representation: Representation | str, generator: torch.Generator | None = None
) -> Float[Tensor, "B *shape"]:
    """Transform every copy of every block by an element of its own.

    Maps that treat channels one by one cannot tell the result from z, though in general no single group element
    relates the two. Where the group acts on a single copy, the result IS in the orbit of z: see `has_hard_negatives`.

    Args:
        z: Latents.
        representation: What acts.
        generator: Source of randomness; seeded with 0 if None.

    Returns:
        Latents like z.

    Raises:
        LatentError: The latents do not fit.
    """
    representation = Representation.parse(representation)
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    parts = representation.split(representation.flatten(z))
    moved = [_apart(block, part, generator) for block, part in zip(representation, parts, strict=True)]
    return torch.cat([part.flatten(1) for part in moved], dim=1).reshape(z.shape)


def has_hard_negatives(representation: Representation | str) -> bool:
    """Return whether at least two copies move, so that they can be transformed apart."""
    representation = Representation.parse(representation)
    g = representation.group.probe_elements(16, torch.Generator().manual_seed(0))
    return sum(block.copies for block in representation if _moves(block, g)) > 1


def _moves(block: Block, g: Tensor) -> bool:
    """Whether some element changes a random latent of one copy."""
    one = replace(block, copies=1)
    z = torch.randn(one.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).expand(len(g), -1, -1)
    return bool((one.transform(z, g) - z).abs().max() > 1e-9)


def hard_negative_ratio(
    project: Callable[[Tensor], Tensor],
    z: Float[Tensor, "B *shape"],
    representation: Representation | str,
    generator: torch.Generator | None = None,
) -> float | None:
    """Return the mean feature distance of a latent to its hard negative, over that between different samples.

    0 means not told apart at all.

    Args:
        project: From latents to features.
        z: At least 2 latents.
        representation: What acts.
        generator: Source of randomness; seeded with 0 if None.

    Returns:
        The ratio, 0 for collapsed features; None if the representation has no hard negatives.

    Raises:
        LatentError: The latents do not fit.
    """
    if not has_hard_negatives(representation):
        return None
    with torch.no_grad():
        return relative_distance(project(hard_negatives(z, representation, generator)), project(z))


def relative_distance(negatives: Float[Tensor, "B K"], f: Float[Tensor, "B K"]) -> float:
    """Return the mean distance of features to those of hard negatives, over that between different samples.

    Args:
        negatives: Features of hard negatives.
        f: Features of the latents that they were made from, row by row.

    Returns:
        0 if they are not told apart, or if the features have collapsed.
    """
    scale = mean_distance(f)
    return (negatives.double() - f.double()).norm(dim=1).mean().item() / scale if scale > 0 else 0.0


def orbit_retrieval(
    queries: Float[Tensor, "B K"],
    gallery: Float[Tensor, "B K"],
    negatives: Float[Tensor, "M K"] | None = None,
) -> float:
    """Return the share of queries P(f(gx)) that find their own P(f(x)) before all other samples and hard negatives.

    A tie counts as not found: a map that merges a latent with its hard negative gets no credit.

    Args:
        queries: Features of transformed inputs.
        gallery: Features of the inputs, row by row the same samples.
        negatives: Features of hard negatives, any number; without them any exact invariant scores 1.

    Returns:
        A share in [0, 1].

    Raises:
        ValueError: Shapes that do not fit, or fewer than 2 samples.
    """
    if queries.shape != gallery.shape or queries.dim() != 2:
        raise ValueError(f"Expected two equal shapes (B, K) but got {tuple(queries.shape)} and {tuple(gallery.shape)}.")
    slack = TIE * mean_distance(gallery)
    others = torch.cdist(queries.double(), gallery.double())
    own = others.diagonal().clone()
    rivals = others.fill_diagonal_(torch.inf).amin(dim=1)
    if negatives is not None and len(negatives):
        rivals = torch.minimum(rivals, torch.cdist(queries.double(), negatives.double()).amin(dim=1))
    return (own + slack < rivals).double().mean().item()


def _apart(block: Block, part: Tensor, generator: torch.Generator) -> Tensor:
    one, count = replace(block, copies=1), len(part) * block.copies
    if count == 0:
        return part
    g = block.group.sample(count, generator).to(part.device)
    if block.copies_last:
        columns = part.mT.reshape(count, block.dim, 1)
        return one.transform(columns, g).reshape(len(part), block.copies, block.dim).mT
    return one.transform(part.reshape(count, 1, block.dim), g).reshape(part.shape)
