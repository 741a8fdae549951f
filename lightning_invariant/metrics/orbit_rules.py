"""max_g <z, rho(g) w> for pairs of latents: one rule for each kind of representation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import Orthogonal, Representation, Signs, Symmetric
from lightning_invariant.groups.block import Block, Trivial
from lightning_invariant.groups.finite_blocks import Points, SignPattern
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Vectors
from lightning_invariant.metrics.assignment import best_orders
from lightning_invariant.metrics.cloud_rule import cloud_products, is_cloud

if TYPE_CHECKING:
    from torch import Tensor

LISTED = "all elements"
LISTING_LIMIT = 4096
"""Largest group whose elements are all tried; S_6 and Z2^12 are within it."""
NUMBERS = 2**22
"""Numbers that are held at one time while elements are listed."""
SAMPLES, STARTS, ROUNDS = 512, 4, 80
"""Where no exact rule is known: elements tried, how many of the best are refined, and in how many rounds."""
Products = Callable[["Tensor", "Tensor"], "Tensor"]


class Rule(NamedTuple):
    """How the largest product is found.

    Args:
        name: The method, for reports.
        exact: Whether it is the maximum, not a lower bound.
        products: From paired rows (P, D), (P, D) in float64 to (P,).
    """

    name: str
    exact: bool
    products: Products


def largest_product_rule(representation: Representation, generator: torch.Generator | None) -> Rule:
    """The rule that fits a representation."""
    group, kinds = representation.group, [block for block in representation if not _is_unmoved(block)]
    if not kinds:
        return Rule("inner product", True, lambda z, w: (z * w).sum(1))
    if isinstance(group, Symmetric) and all(isinstance(block, Points) for block in kinds):
        return Rule("assignment", True, partial(_assignment, representation))
    if isinstance(group, Signs) and all(isinstance(block, SignPattern) for block in kinds):
        return Rule("signs", True, partial(_signs, representation))
    if isinstance(group, Orthogonal) and all(_is_vector(block) for block in kinds):
        return Rule("Procrustes", True, partial(_procrustes, representation))
    if isinstance(group, Orthogonal) and group.d == 2 and all(isinstance(b, FrequencyIrrep) for b in kinds):
        return Rule("angle search", True, partial(_angles, representation))
    if group.order is not None and group.order <= LISTING_LIMIT:
        return Rule(LISTED, True, partial(_listed, representation))
    if is_cloud(representation):
        return Rule("assignment and Procrustes by turns", False, partial(cloud_products, representation, generator))
    return Rule("samples and refinement", False, partial(_sampled, representation, generator))


def listed_products(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """max_g <z_i, rho(g) w_j> for all pairs, shape (B, C); memory is bounded by `NUMBERS` beside the result."""
    best = z.new_full((len(z), len(w)), -math.inf)
    step = max(1, NUMBERS // max(1, len(w) * max(representation.size, len(z))))
    for g in representation.group.elements().split(step):
        moved = representation.move(w.repeat(len(g), 1), g.repeat_interleave(len(w), dim=0))
        products = (z @ moved.T).reshape(len(z), len(g), len(w))
        best = torch.maximum(best, products.amax(dim=1))
    return best


def _listed(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    best = z.new_full((len(z),), -math.inf)
    for g in representation.group.elements():
        best = torch.maximum(best, (z * representation.move(w, g)).sum(1))
    return best


def _assignment(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    (za, zb), (wa, wb) = _parted(representation, z), _parted(representation, w)
    unmoved = (za * wa).sum(1)
    if len(zb) == 1 and zb[0].shape[-1] == 1:
        return unmoved + (zb[0].squeeze(-1).sort(dim=1).values * wb[0].squeeze(-1).sort(dim=1).values).sum(1)
    products = torch.cat(zb, dim=-1) @ torch.cat(wb, dim=-1).mT
    order = best_orders(products).to(z.device)
    return unmoved + products.gather(1, order[:, None, :]).squeeze(1).sum(dim=1)


def _signs(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    (za, zb), (wa, wb) = _parted(representation, z), _parted(representation, w)
    products = (torch.cat(zb, dim=1) * torch.cat(wb, dim=1)).sum(dim=1)
    return (za * wa).sum(1) + products.abs().sum(dim=1)


def _procrustes(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    (za, zb), (wa, wb) = _parted(representation, z), _parted(representation, w)
    cross = torch.cat(zb, dim=1).mT @ torch.cat(wb, dim=1)
    values = torch.linalg.svdvals(cross)
    best = values.sum(dim=1)
    group = representation.group
    if isinstance(group, Orthogonal) and group.special:
        # A rotation cannot mirror: where the best orthogonal matrix does, the smallest direction is paid back.
        best = best - 2 * values[:, -1] * (torch.linalg.det(cross) < 0)
    return (za * wa).sum(1) + best


def _angles(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """<z, rho(t) w> = Re sum_k c_k exp(-i k t): a fine grid finds the peak, Newton's steps its top."""
    unmoved, terms = z.new_zeros(len(z)), []
    for block, a, b in zip(representation, representation.split(z), representation.split(w), strict=True):
        if _is_unmoved(block):
            unmoved = unmoved + (a * b).flatten(1).sum(1)
        elif isinstance(block, FrequencyIrrep):
            terms.append(
                (block.frequency, torch.view_as_complex(a.contiguous()), torch.view_as_complex(b.contiguous()))
            )
    k = torch.tensor([frequency for frequency, _, _ in terms], dtype=z.dtype, device=z.device)
    straight = torch.stack([(a * b.conj()).sum(1) for _, a, b in terms], dim=1)
    best = _peak(straight, k)
    if isinstance(representation.group, Orthogonal) and not representation.group.special:
        best = torch.maximum(best, _peak(torch.stack([(a * b).sum(1) for _, a, b in terms], dim=1), k))
    return unmoved + best


def _peak(c: Tensor, k: Tensor) -> Tensor:
    count = 32 * (int(k.max()) + 1)
    angle = 2 * math.pi / count * torch.arange(count, dtype=k.dtype, device=k.device)
    turns = torch.polar(torch.ones_like(angle[:, None] * k), -angle[:, None] * k)
    t = angle[(c @ turns.T).real.argmax(dim=1)]
    start = t
    for _ in range(6):
        terms = c * torch.polar(torch.ones_like(t[:, None] * k), -t[:, None] * k)
        slope, bend = (k * terms.imag).sum(1), -(k**2 * terms.real).sum(1)
        step = torch.where(bend < 0, -slope / bend, 0.0)
        t = t + step.clamp(-math.pi / count, math.pi / count)
    values = [(c * torch.polar(torch.ones_like(s[:, None] * k), -s[:, None] * k)).real.sum(1) for s in (start, t)]
    return torch.maximum(*values)


def _sampled(representation: Representation, generator: torch.Generator | None, z: Tensor, w: Tensor) -> Tensor:
    group = representation.group
    if generator is None:
        generator = torch.Generator().manual_seed(0)
    candidates = torch.cat([group.identity()[None], group.sample(SAMPLES, generator)])
    products = torch.cat(
        [
            torch.stack([(z * (w @ rho.T)).sum(1) for rho in representation.matrices(some).to(z)])
            for some in candidates.split(max(1, NUMBERS // representation.size**2))
        ]
    )
    best, chosen = products.topk(STARTS, dim=0)
    if not isinstance(group, Orthogonal):
        return best[0]
    climb = partial(_climb, representation, group.d, generator, z, w)
    return torch.stack([climb(candidates[i.cpu()], top) for i, top in zip(chosen, best, strict=True)]).amax(dim=0)


def _climb(
    representation: Representation, d: int, generator: torch.Generator, z: Tensor, w: Tensor, g: Tensor, best: Tensor
) -> Tensor:
    """Random rotations of shrinking size, from the elements g, whose products are `best`."""
    for number in range(ROUNDS):
        noise = 0.5 * 0.92**number * torch.randn(len(z), d, d, dtype=torch.float64, generator=generator)
        trial = torch.linalg.matrix_exp(noise - noise.mT) @ g
        products = (z * representation.move(w, trial.to(z.device))).sum(1)
        g = torch.where((products > best).cpu()[:, None, None], trial, g)
        best = torch.maximum(best, products)
    return best


def _parted(representation: Representation, z: Tensor) -> tuple[Tensor, list[Tensor]]:
    blocks = list(zip(representation, representation.split(z), strict=True))
    still = [part.flatten(1) for block, part in blocks if _is_unmoved(block)]
    moved = [part for block, part in blocks if not _is_unmoved(block)]
    return (torch.cat(still, dim=1) if still else z[:, :0]), moved


def _is_unmoved(block: Block) -> bool:
    if isinstance(block, Trivial):
        return True
    if isinstance(block, FrequencyIrrep):
        return block.frequency == 0
    return isinstance(block, DegreeIrrep) and block.degree == 0 and block.parity in (None, 1)


def _is_vector(block: Block) -> bool:
    if isinstance(block, FrequencyIrrep):
        return block.frequency == 1
    return isinstance(block, Vectors) or (
        isinstance(block, DegreeIrrep) and block.degree == 1 and block.parity in (None, -1)
    )
