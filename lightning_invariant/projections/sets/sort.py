"""Sorting points: the isometric cross section of one number a point, and sorted random combinations of several."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.finite_blocks import Points
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.joint import single_term
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.templates import tight_frame
from lightning_invariant.projections.sets.points import _PointInvariants, sort_visible

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Sort(Projection):
    """The numbers of n points in ascending order.

    Args:
        representation: Of S_n on one number a point, "S9: 9 points"; trivial terms may stand beside it and are kept.

    Raises:
        GroupError: Another representation.

    Note:
        Isometric: by the rearrangement inequality sorting maximises <z, rho(g) w> over g, so
        |sort z - sort w| = min_g |z - rho(g) w|.

    References:
        Hardy, Littlewood and Polya 1934, theorem 368; Hansen, Calissano and Feragen 2024 (2401.12588) for a graph VAE.

    Example:
        >>> import torch
        >>> Sort("S3: 3 points")(torch.tensor([[2.0, 3.0, 1.0]])).tolist()
        [[1.0, 2.0, 3.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        self.term = single_term(
            self.representation,
            lambda block: isinstance(block, Points) and block.copies == 1,
            expected="one number a point, such as 'S9: 9 points'",
            remedy="use PointSort where a point has several",
        )
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable="where all numbers differ",
            source="rearrangement inequality; Hansen et al. 2024, 2401.12588",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Ascending order."""
        where = self.representation.slices[self.term]
        return torch.cat([z[:, : where.start], z[:, where].sort(dim=-1).values, z[:, where.stop :]], dim=1)


class PointSort(_PointInvariants):
    """f = sort(X A), column by column, for points X (n, d) and random directions A (d, D) with A A^T = I.

    Sets of different size (`ragged`): the sorted column of m points is a quantile function with m steps; its mean over
    each of n equal bins takes the place of the n sorted values, so sets of every size have comparable features and a
    set of n points has exactly its sorted columns. The share m / n is the last feature, since {p, q} and
    {p, (p + q) / 2, q} may have the same bin means.

    Args:
        representation: Of S_n on point features, "S9: 9 points x 16"; trivial terms may stand beside it and are kept.
        out_features: Number K of features, unmoved numbers and the share included; 2 d columns of n if None (one
            column if d is 1). The last column is cut where n does not divide what is left.
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of the directions.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for a sorted number.

    Note:
        1-Lipschitz, as sorting is and A has operator norm 1 (for m < n points in the root mean square over points).
        With D >= n (d - 1) + 1 whole columns injective, hence bi-Lipschitz, for almost all A. With D >= d + 1 columns
        almost every X is told apart from all others: the first d columns leave finitely many Y, and a further column
        is one linear equation that generic X meets for Y = pi X only. With one column already any fixed pair of sets
        is told apart for almost all A, since (X - pi Y) a = 0 is a hyperplane for each of the orders pi, unless
        X = pi Y. With a part of a column only, lossy. One number a point needs one column and is isometric.

    References:
        Balan, Haghani and Singh 2022 (2203.07546); Balan and Tsoukanis 2023 (2308.11784) for bi-Lipschitz; 2510.22186
        for the number of columns and a distortion that grows with n, at least as its square root.

    Example:
        >>> import torch
        >>> P, X = PointSort("S4: 4 points x 2"), torch.arange(8.0).reshape(1, 4, 2)
        >>> P(X).shape, torch.allclose(P(X), P(X.flip(1)))
        (torch.Size([1, 16]), True)
    """

    directions: Tensor

    def __init__(
        self,
        representation: Representation | str,
        out_features: int | None = None,
        *,
        ragged: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(representation, out_features, ragged=ragged, seed=seed)
        self.register_buffer("directions", tight_frame(self.d, -(-self.kept // self.n), seed))
        self.guarantee = _guarantee(str(self.representation.group), self.n, self.d, self.kept)

    def _default_size(self) -> int:
        return (1 if self.d == 1 else 2 * self.d) * self.n

    def _embed(self, points: Tensor) -> Tensor:
        return self._columns(points).sort(dim=-1).values.flatten(1)[:, : self.kept]

    def _embed_masked(self, points: Tensor, mask: Tensor) -> Tensor:
        ordered = sort_visible(self._columns(points), mask)
        # A bin is narrower than a step, so it meets step `lower` and at most the next one.
        count, bins = mask.sum(dim=1, keepdim=True), torch.arange(self.n, device=mask.device)
        lower = bins * count // self.n
        share = (((lower + 1) * self.n - bins * count).clamp(max=count).to(ordered.dtype) / count)[:, None, :]
        upper = torch.minimum(lower + 1, (count - 1).clamp(min=0))
        low = ordered.gather(-1, lower[:, None, :].expand_as(ordered))
        high = ordered.gather(-1, upper[:, None, :].expand_as(ordered))
        return torch.where(share < 1, share * low + (1 - share) * high, low).flatten(1)[:, : self.kept]

    def _columns(self, points: Tensor) -> Tensor:
        return (points @ self.directions.to(points.dtype)).mT


def _guarantee(group: str, n: int, d: int, kept: int) -> Guarantee:
    columns, enough, generic = kept // n, n * (d - 1) + 1, d + 1
    distortion = None
    if d == 1 and columns >= 1:
        # The column is repeated, the last time perhaps in part.
        distortion, note = (-(-kept // n) / columns) ** 0.5, ""
        separation = Separation.ISOMETRIC if distortion == 1 else Separation.BILIPSCHITZ
    elif columns >= enough:
        separation, note = Separation.BILIPSCHITZ, "For almost all directions."
    elif columns >= generic:
        separation, note = Separation.GENERIC, f"Injective and bi-Lipschitz from {enough} columns on."
    elif columns >= 1:
        separation, note = Separation.PAIRWISE, f"Injective and bi-Lipschitz from {enough} columns on."
    else:
        separation, note = Separation.LOSSY, f"Every fixed pair of sets is told apart from {n} sorted numbers on."
    return Guarantee(
        group=group,
        separation=separation,
        lipschitz=1.0,
        distortion=distortion,
        differentiable="where no two points have the same value in a column",
        source="Balan, Haghani and Singh 2022, 2203.07546; Balan and Tsoukanis 2023, 2308.11784; 2510.22186",
        note=note,
    )
