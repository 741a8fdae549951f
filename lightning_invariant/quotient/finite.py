"""Finite groups: every element is tried. Signs: each is chosen by itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Cyclic
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.quotient.found import Found, Masks, exactly, moved_parts, reward

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation

NUMBERS = 2**22
"""Numbers that are held at one time."""
SHIFTED = 32
"""Smallest ring of shifts for which Fourier transforms are taken."""


def try_all(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None) -> Found:
    """Return the best of all elements for paired rows (P, D)."""
    elements = representation.group.elements()
    entries = sum(block.dim**2 for block in representation)
    copied = sum(block.copies * block.dim**2 for block in representation)
    # With the copies summed first, an element costs its matrix entries; moving latents costs a pass over them.
    summed = copied + len(elements) * entries <= 8 * len(elements) * representation.size
    rows = max(1, NUMBERS // max(entries if summed else 1, representation.size))
    search = _by_correlation if _is_shifted(representation) else _by_cross_products if summed else _by_moving
    index = []
    for start in range(0, len(z), rows):
        part = slice(start, start + rows)
        shown = None if masks is None else (masks[0][part], masks[1][part])
        index.append(search(representation, elements, z[part], w[part], shown))
    return exactly(elements.to(z.device)[torch.cat(index)])


def table_of_products(representation: Representation, z: Tensor, w: Tensor) -> Tensor:
    """max_g <z_i, rho(g) w_j> for all pairs, shape (B, C); memory is bounded by `NUMBERS` beside the result."""
    best = z.new_full((len(z), len(w)), -math.inf)
    step = max(1, NUMBERS // max(1, len(w) * max(representation.size, len(z))))
    for g in representation.group.elements().split(step):
        moved = representation.transform(w.repeat(len(g), *[1] * (w.dim() - 1)), g.repeat_interleave(len(w), dim=0))
        products = (z @ moved.T).reshape(len(z), len(g), len(w))
        best = torch.maximum(best, products.amax(dim=1))
    return best


def choose_signs(representation: Representation, z: Tensor, w: Tensor) -> Found:
    """Return the best sign of each number, or of numbers that share one."""
    pairs = zip(moved_parts(representation, z), moved_parts(representation, w), strict=True)
    products = torch.stack([(a * b).sum(dim=1) for a, b in pairs]).sum(dim=0)
    return exactly(torch.where(products < 0, -1, 1))


def _is_shifted(representation: Representation) -> bool:
    """Whether all that moves is shifted around a ring, one that is worth a Fourier transform."""
    group = representation.group
    if not isinstance(group, Cyclic) or group.n < SHIFTED:
        return False
    return all(isinstance(block, Regular) or is_trivial(block) for block in representation)


def _by_correlation(
    representation: Representation, elements: Tensor, z: Tensor, w: Tensor, masks: Masks | None
) -> Tensor:
    """<z, rho(g) w> for all g at once: the correlation, by the fast Fourier transform."""
    pairs = zip(moved_parts(representation, z), moved_parts(representation, w), strict=True)
    spectra = [(torch.fft.rfft(a) * torch.fft.rfft(b).conj()).sum(dim=1) for a, b in pairs]
    return torch.fft.irfft(torch.stack(spectra).sum(dim=0), n=len(elements)).argmax(dim=1)


def _by_cross_products(
    representation: Representation, elements: Tensor, z: Tensor, w: Tensor, masks: Masks | None
) -> Tensor:
    """<z, rho(g) w> = sum of rho(g)_ij C_ij, where C sums over the copies of a block."""
    blocks = list(zip(representation, representation.split(z), representation.split(w), strict=True))
    crosses = [(a @ b.mT if block.copies_last else a.mT @ b).flatten(1) for block, a, b in blocks]
    best, chosen = z.new_full((len(z),), -math.inf), torch.zeros(len(z), dtype=torch.int64, device=z.device)
    step = max(1, NUMBERS // max(len(z), *(block.dim**2 for block in representation)))
    for start in range(0, len(elements), step):
        some = elements[start : start + step].to(z.device)
        products = torch.zeros(len(z), len(some), dtype=z.dtype, device=z.device)
        for block, cross in zip(representation, crosses, strict=True):
            products += cross @ block.matrices(some).flatten(1).to(z).mT
        products += reward(representation.group, some, masks)
        top, index = products.max(dim=1)
        better = top > best
        best, chosen = torch.where(better, top, best), torch.where(better, index + start, chosen)
    return chosen


def _by_moving(representation: Representation, elements: Tensor, z: Tensor, w: Tensor, masks: Masks | None) -> Tensor:
    best, chosen = z.new_full((len(z),), -math.inf), torch.zeros(len(z), dtype=torch.int64, device=z.device)
    for number, g in enumerate(elements):
        products = (z * representation.transform(w, g)).sum(dim=1)
        if masks is not None:
            products += reward(representation.group, g[None], masks)[:, 0]  # type: ignore[index]
        better = products > best
        best, chosen = torch.where(better, products, best), torch.where(better, number, chosen)
    return chosen
