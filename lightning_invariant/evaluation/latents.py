"""What an evaluation is computed from: latents of all samples, and of some again with their inputs transformed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.errors import LatentError

if TYPE_CHECKING:
    from jaxtyping import Float, Int, Shaped


@dataclass(frozen=True)
class Latents:
    """Flat latents with labels. The queries are rows of the bank.

    Args:
        bank: Latents of inputs as they come, shape (N, D).
        labels: Classes or values (N,), values or 0/1 labels (N, T), or None. Negative classes and values that are not
            finite mean that the label is not known.
        groups: Group of each sample, such as the video of a frame, int64 (N,); None if every sample is its own group.
        queries: Rows of the bank whose inputs were transformed, int64 (M,).
        transformed: Latents of the transformed inputs, shape (M, D); None where they could not be had, for `reason`.
        elements: Group element that transformed each query, shape (M, *element_shape).
        untransformed: Latents of the queries' inputs as they come, shape (M, D), where the network's forward is random
            and both sides come from one copy; the rows of the bank if None.
        round_trip: What transforming an input there and back changes in it, over its norm, shape (M,); NaN where that
            was not measured, None where nothing was.
        thumbnails: Small images of the transformed inputs, shape (M, C, H, W).
        reason: Why there are no transformed latents.
        features: Features of the bank (N, K), where they are no function of the latents, as those of graphs that are
            read out of the features of their nodes; None where a projection gives them.
        transformed_features: Those of the transformed inputs, (M, K).
        untransformed_features: Those that belong to `untransformed`, (M, K).
        nodes: Latents of the nodes that a graph's were pooled from, on which the layer is measured; None for these.
        draws: Where transforms are known by samples only, two times K latents of transforms of each query,
            (M, 2, K, D): the projection takes the first K for the bank, whose rows are then the queries, and the others
            for the transformed inputs.

    Raises:
        LatentError: Complex latents, or shapes that do not fit together.

    Example:
        >>> z = torch.randn(8, 4)
        >>> Latents(z, queries=torch.arange(3), transformed=z[:3].roll(1, 1), elements=torch.ones(3).long()).reason
        ''
    """

    bank: Float[Tensor, "N D"]
    labels: Shaped[Tensor, "N *T"] | None = None
    groups: Int[Tensor, "N"] | None = None
    queries: Int[Tensor, "M"] | None = None
    transformed: Float[Tensor, "M D"] | None = None
    elements: Tensor | None = None
    untransformed: Float[Tensor, "M D"] | None = None
    round_trip: Float[Tensor, "M"] | None = None
    thumbnails: Tensor | None = None
    reason: str = ""
    features: Float[Tensor, "N K"] | None = None
    transformed_features: Float[Tensor, "M K"] | None = None
    untransformed_features: Float[Tensor, "M K"] | None = None
    nodes: Latents | None = None
    draws: Float[Tensor, "M 2 K D"] | None = None

    def __post_init__(self) -> None:
        if self.queries is None:
            object.__setattr__(self, "queries", torch.arange(len(self.bank), device=self.bank.device))
        for name in ("bank", "transformed", "untransformed"):
            value = getattr(self, name)
            if value is not None and value.is_complex():
                raise LatentError(
                    f"Expected real latents but got {value.dtype} ({name}); give real and imaginary parts side by "
                    "side, as torch.view_as_real(z).flatten(1) does, and declare how the group acts on these."
                )
            if value is not None and (value.ndim != 2 or value.shape[1] != self.bank.shape[1]):
                raise LatentError(
                    f"Expected {name} of shape (B, {self.bank.shape[-1]}), one flat latent a row, but got "
                    f"{tuple(value.shape)}; flatten each latent."
                )
        rows, asked = len(self.bank), len(self.own)
        for name, count in {"labels": rows, "groups": rows, **dict.fromkeys(QUERIED, asked)}.items():
            value = getattr(self, name)
            if value is not None and len(value) != count:
                raise LatentError(f"Expected {count} rows in {name} but got {len(value)}; give one a sample.")
        if self.transformed is not None and self.elements is None:
            raise LatentError("Expected the element that transformed each query but got None; give elements (M, ...).")
        if asked and not 0 <= int(self.own.min()) <= int(self.own.max()) < rows:
            raise LatentError(f"Expected queries as rows of the bank, from 0 to {rows - 1}, but got others.")

    @property
    def own(self) -> Int[Tensor, "M"]:
        """Row of the bank that each query belongs to."""
        assert self.queries is not None
        return self.queries

    @property
    def still(self) -> Float[Tensor, "M D"]:
        """Latents of the queries' inputs as they come."""
        return self.bank[self.own] if self.untransformed is None else self.untransformed

    @property
    def action_error(self) -> float | None:
        """Mean of `round_trip`: what interpolation of the inputs alone costs; None where nothing was measured."""
        if self.round_trip is None or not bool(self.round_trip.isfinite().any()):
            return None
        return float(self.round_trip[self.round_trip.isfinite()].double().mean())

    def asked(self, rows: Int[Tensor, "B"]) -> Latents:
        """Return the same bank with some of the queries only."""
        cut = {name: value[rows.to(value.device)] for name in QUERIED if (value := getattr(self, name)) is not None}
        return replace(self, **cut)

    def finite(self) -> tuple[Latents, int]:
        """Without the samples whose latent holds NaN or infinity, and how many samples those were."""
        good = self.bank.isfinite().all(dim=1)
        kept = good[self.own]
        for value in (self.transformed, self.untransformed, self.draws):
            kept = kept if value is None else kept & value.flatten(1).isfinite().all(dim=1)
        if self.draws is not None:  # bank and queries are the same rows
            good[self.own] &= kept
        dropped = int((~good).sum()) + int((good[self.own] & ~kept).sum())
        if not dropped:
            return self, 0
        place = good.cumsum(0) - 1
        less = self.asked(kept.nonzero()[:, 0])
        known = {"bank": self.bank, "labels": self.labels, "groups": self.groups, "features": self.features}
        rows = {name: value[good.to(value.device)] for name, value in known.items() if value is not None}
        return replace(less, queries=place[less.own], **rows), dropped


QUERIED = (
    *("queries", "transformed", "elements", "untransformed", "round_trip", "thumbnails", "draws"),
    *("transformed_features", "untransformed_features"),
)
"""Columns with one row a query."""
