"""How latents transform, as matrices: least squares for each generator on the directions that the latents span."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.evaluation.find.averages import invariant_product, stages
from lightning_invariant.metrics.invariance import mean_distance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group

CUTS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Singular values below this share of the largest are tried as no part of the span."""
OFFSET, NEGLIGIBLE = 0.5, 1e-3
"""Latents count as moved around a point other than 0 if that lowers the error to this share, and errors matter."""
ROUNDING = 1e-5
"""Error up to which orthogonal matrices are taken although others fit better."""
RIDGE = 1e-13
"""Share of the largest variance that is added to all, so that Cholesky factors exist."""


class Pairs(NamedTuple):
    """Latents before and after one element, float64, half of them to fit and half to judge.

    Args:
        z: Latents, (N, D).
        w: Latents of the same inputs, transformed.
        fit: Which rows matrices are fitted on.
    """

    z: Tensor
    w: Tensor
    fit: Tensor


@dataclass(frozen=True)
class LinearAction:
    """What best linear maps say.

    Args:
        span: Orthonormal directions, (D, r).
        offset: What is subtracted from latents, (D,); 0 unless the action has another fixed point.
        matrices: rho of each generator in coordinates of the span, (n, r, r).
        error: Error on the held-out half, with the matrices unrestricted.
        shuffled: The same if latents are paired at random.
        rank: Directions in which the latents vary by more than a thousandth of their most.
    """

    span: Tensor
    offset: Tensor
    matrices: Tensor
    error: float
    shuffled: float
    rank: int


def fit_linear(pairs: Sequence[Pairs], generator: torch.Generator) -> LinearAction:
    """Fit a matrix to each generator, around 0 or, where that is better, around another fixed point.

    Args:
        pairs: Of each generator.
        generator: Of the shuffled baseline.
    """
    size = pairs[0].z.shape[1]
    scale = mean_distance(torch.cat([p.z for p in pairs]))
    linear = _best_rank(pairs, torch.zeros(size, dtype=torch.float64), scale, affine=False)
    found, constants = linear, None
    if linear.error > NEGLIGIBLE:
        middle = torch.cat([part for p in pairs for part in (p.z, p.w)]).mean(dim=0)
        affine = _best_rank(pairs, middle, scale, affine=True)
        if affine.error < OFFSET * linear.error:
            found, constants = affine, affine.constants
    mixed = [p._replace(w=p.w[torch.randperm(len(p.w), generator=generator)]) for p in pairs]
    shuffled = _fit(mixed, found.span, found.offset, scale, affine=constants is not None).error
    offset = found.offset
    if constants is not None:
        # The point c that all elements leave alone: c = rho c + b.
        step = found.matrices - torch.eye(found.matrices.shape[-1], dtype=torch.float64)
        fixed = torch.linalg.lstsq(step.flatten(0, 1), -constants.flatten()[:, None], driver="gelsd").solution
        offset = offset + found.span @ fixed[:, 0]
    return LinearAction(found.span, offset, found.matrices, found.error, shuffled, found.rank)


def orthogonalised(
    action: LinearAction, pairs: Sequence[Pairs], group: Group
) -> tuple[Float[Tensor, "n r r"], Float[Tensor, "D r"], bool]:
    """Return orthogonal matrices of the generators, the coordinates that they act on, and whether distances are kept.

    Where the action is not orthogonal, the inner product is averaged over the group, and coordinates change with it.

    Args:
        action: What was fitted.
        pairs: Of each generator.
        group: What acts.
    """
    scale = mean_distance(torch.cat([p.z for p in pairs]))
    kept = _procrustes(action, action.span, pairs)
    if _error(pairs, action, action.span, kept, scale) <= max(2 * action.error, ROUNDING):
        return kept, action.span, True
    product = invariant_product(stages(group, list(action.matrices)))
    values, vectors = torch.linalg.eigh(product)
    root = (vectors * values.clamp(min=1e-12).sqrt()) @ vectors.mT
    coordinates = action.span @ root
    return _procrustes(action, coordinates, pairs), coordinates, False


def polar(matrix: Float[Tensor, "*n r d"]) -> Tensor:
    """Return the nearest matrix with orthonormal rows or columns."""
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    return u @ v


class _Fit(NamedTuple):
    span: Tensor
    offset: Tensor
    matrices: Tensor
    constants: Tensor
    error: float
    rank: int = 0


def _best_rank(pairs: Sequence[Pairs], middle: Tensor, scale: float, *, affine: bool) -> _Fit:
    rows = torch.cat([part - middle for p in pairs for part in (p.z[p.fit], p.w[p.fit])])
    values, vectors = torch.linalg.eigh(rows.mT @ rows)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    most = min(int(p.fit.sum()) for p in pairs)
    ranks = {int((values > cut**2 * values[0]).sum()) for cut in CUTS}
    ranks = sorted({max(1, rank) for rank in ranks if rank <= most} or {max(1, most // 2)})
    fits = [_fit(pairs, vectors[:, :rank], middle, scale, affine=affine) for rank in ranks]
    best = min(fit.error for fit in fits)
    chosen = next(fit for fit in fits if fit.error <= 1.2 * best + 1e-7)
    return chosen._replace(rank=int((values > 1e-6 * values[0]).sum()))


def _fit(pairs: Sequence[Pairs], span: Tensor, middle: Tensor, scale: float, *, affine: bool) -> _Fit:
    """Least squares of w on z in the span; rho acts on columns, so rows of z are multiplied by its transpose."""
    matrices, constants, gaps = [], [], []
    for p in pairs:
        z, w = (p.z - middle) @ span, (p.w - middle) @ span
        one, other = z[p.fit], w[p.fit]
        shift, target = one.mean(dim=0) * affine, other.mean(dim=0) * affine
        one, other = one - shift, other - target
        gram = one.mT @ one
        gram.diagonal().add_(RIDGE * gram.diagonal().max().clamp(min=1e-300))
        turned = torch.cholesky_solve(one.mT @ other, torch.linalg.cholesky(gram))
        matrices.append(turned.mT)
        constants.append(target - shift @ turned)
        expected = (z[~p.fit] @ turned + constants[-1]) @ span.mT + middle
        gaps.append((expected - p.w[~p.fit]).norm(dim=1))
    error = float(torch.cat(gaps).mean()) / scale
    return _Fit(span, middle, torch.stack(matrices), torch.stack(constants), error)


def _procrustes(action: LinearAction, coordinates: Tensor, pairs: Sequence[Pairs]) -> Tensor:
    """The orthogonal matrices that are nearest on the pairs."""
    products = []
    for p in pairs:
        z, w = (((part - action.offset) @ coordinates)[p.fit] for part in (p.z, p.w))
        products.append(w.mT @ z)
    return polar(torch.stack(products))


def _error(pairs: Sequence[Pairs], action: LinearAction, span: Tensor, matrices: Tensor, scale: float) -> float:
    gaps = []
    for p, rho in zip(pairs, matrices, strict=True):
        z, w = ((part - action.offset)[~p.fit] for part in (p.z, p.w))
        gaps.append((z @ span @ rho.mT @ span.mT - w).norm(dim=1))
    return float(torch.cat(gaps).mean()) / scale
