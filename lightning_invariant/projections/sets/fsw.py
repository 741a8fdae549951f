"""Fourier sliced-Wasserstein embedding: sets of points of any size, with as many features as wished."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.templates import unit_templates
from lightning_invariant.projections.sets.points import _PointInvariants, sort_visible

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation


class FSW(_PointInvariants):
    """f_k = 2 (1 + w_k) integral from 0 to 1 of Q_k(t) cos(2 pi w_k t) dt, divided by sqrt(K).

    Q_k is the quantile function of the products of the points with a random unit direction a_k: m sorted values, each
    over an interval of length 1 / m. Frequencies are drawn with density 1 / (1 + w)^2. Sets of every size have
    comparable features; with `ragged` the share m / n of existing points is the last one, since a set and its
    repetition have the same quantiles.

    Args:
        representation: Of S_n on point features, "S9: 9 points x 16"; trivial terms may stand beside it and are kept.
        out_features: Number K of features, unmoved numbers and the share included; 2 n d + 1 beside those if None.
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of directions and frequencies.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for a feature.

    Note:
        Injective for almost all directions and frequencies with 2 n d features or more (2 n d + 1 in the source; a
        pair of sets may be scaled, which saves one), and then bi-Lipschitz, as it is piecewise linear. With fewer, any
        fixed pair of sets is told apart for almost all directions and frequencies, and with more than n d almost every
        set is told apart from all others. One draw fits all sizes up to n.

    References:
        Amir and Dym 2024 (2405.16519); bi-Lipschitz on sets in 2504.02544.

    Example:
        >>> import torch
        >>> P, X = FSW("S4: 4 points x 2", out_features=10), torch.arange(8.0).reshape(1, 4, 2)
        >>> P(X).shape, torch.allclose(P(X), P(X.flip(1)), atol=1e-5)
        (torch.Size([1, 10]), True)
    """

    directions: Tensor
    table_frequencies: Tensor

    def __init__(
        self,
        representation: Representation | str,
        out_features: int | None = None,
        *,
        ragged: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(representation, out_features, ragged=ragged, seed=seed)
        self.register_buffer("directions", unit_templates(self.kept, self.d, seed))
        uniform = torch.rand(self.kept, dtype=torch.float64, generator=torch.Generator().manual_seed(seed + 1))
        self.register_buffer("table_frequencies", uniform / (1 - uniform))
        size = self.n * self.d
        enough = self.kept >= 2 * size
        few = Separation.GENERIC if self.kept > size else Separation.PAIRWISE
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.BILIPSCHITZ if enough else few,
            differentiable="where no two points have the same product with a direction",
            source="Amir and Dym 2024, 2405.16519; 2504.02544",
            note="For almost all directions and frequencies."
            if enough
            else f"Injective and bi-Lipschitz from {2 * size} features on.",
        )

    def _default_size(self) -> int:
        return 2 * self.n * self.d + 1

    def _embed(self, points: Tensor) -> Tensor:
        steps = torch.arange(self.n + 1, device=points.device, dtype=points.dtype) / self.n
        return self._integral(self._columns(points).sort(dim=-1).values, steps)

    def _embed_masked(self, points: Tensor, mask: Tensor) -> Tensor:
        ordered = sort_visible(self._columns(points), mask)
        count, index = mask.sum(dim=1, keepdim=True), torch.arange(self.n + 1, device=points.device)
        # Steps behind the last point have length 0 but infinite values.
        ordered = torch.where((index[:-1] < count)[:, None, :], ordered, 0.0)
        return self._integral(ordered, (index.to(points.dtype) / count).clamp(max=1)[:, None, :])

    def _columns(self, points: Tensor) -> Tensor:
        return (points @ self.directions.to(points.dtype).mT).mT

    def _integral(self, ordered: Tensor, steps: Tensor) -> Tensor:
        """Sum of the values times the integrals of the cosine over their steps."""
        frequency = self.table_frequencies.to(ordered.dtype)[:, None]
        primitive = steps * torch.sinc(2 * frequency * steps)
        weights = 2 * (1 + frequency) * primitive.diff(dim=-1)
        return (ordered * weights).sum(dim=-1) / self.kept**0.5
