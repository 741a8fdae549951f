"""What one report is computed from: latents of a bank, of queries, and of the same queries moved by the group."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.tracking import spread_rows

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class Evidence:
    """Flat latents with labels; the bank and the queries are different samples.

    Args:
        bank: Latents of inputs as they come, shape (N, D); what probes are fitted on.
        bank_labels: Shape (N,), or None.
        queries: Latents of inputs as they come, shape (M, D).
        moved: Latents of the same inputs, each moved by its own group element, shape (M, D).
        elements: The group elements, shape (M, *element_shape).
        labels: Of the queries, shape (M,), or None.
        thumbnails: Pictures of the moved inputs, shape (M, C, H, W), or None.
        round_trip: What moving an input by its element and back changes in it, over the input's own length, shape (M,);
            NaN where that was not measured, None where nothing was.
        simulated: True where `moved` is rho(g) applied to `queries` because inputs could not be moved.
    """

    bank: Float[Tensor, "N D"]
    bank_labels: Tensor | None
    queries: Float[Tensor, "M D"]
    moved: Float[Tensor, "M D"]
    elements: Tensor
    labels: Tensor | None
    thumbnails: Tensor | None = None
    round_trip: Tensor | None = None
    simulated: bool = False

    @property
    def action_error(self) -> float:
        """Mean of `round_trip`: what interpolation of the inputs alone costs, 0 where nothing was measured."""
        known = self.round_trip[self.round_trip.isfinite()] if self.round_trip is not None else torch.empty(0)
        return float(known.double().mean()) if len(known) else 0.0

    def few(self, limit: int = 500) -> Evidence:
        """The same bank with at most so many queries, spread over all of them."""
        return self.ordered(torch.arange(len(self.bank)), spread_rows(len(self.queries), limit))

    def to(self, device: torch.device | str) -> Evidence:
        """The same on another device; group elements and pictures stay on the CPU."""
        moving = ("bank", "bank_labels", "queries", "moved", "labels")
        return replace(
            self, **{name: value.to(device) for name in moving if (value := getattr(self, name)) is not None}
        )

    def finite(self) -> tuple[Evidence, int]:
        """Without the rows that hold NaN or infinity, and how many those were."""
        bank = self.bank.isfinite().all(dim=1)
        rows = self.queries.isfinite().all(dim=1) & self.moved.isfinite().all(dim=1)
        dropped = int((~bank).sum() + (~rows).sum())
        if not dropped:
            return self, 0
        keep = {
            field.name: value[(bank if field.name.startswith("bank") else rows).to(value.device)]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **keep), dropped

    def ordered(self, bank: Tensor, queries: Tensor) -> Evidence:
        """With bank rows and query rows in another order.

        Args:
            bank: Indices, shape (N,).
            queries: Indices, shape (M,).
        """
        rows = {
            field.name: value[(bank if field.name.startswith("bank") else queries).to(value.device)]
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return replace(self, **rows)

    def halved(self) -> Evidence:
        """Every second query becomes the bank, for runs that have seen no training data."""
        return Evidence(
            bank=self.queries[::2],
            bank_labels=None if self.labels is None else self.labels[::2],
            queries=self.queries[1::2],
            moved=self.moved[1::2],
            elements=self.elements[1::2],
            labels=None if self.labels is None else self.labels[1::2],
            thumbnails=None if self.thumbnails is None else self.thumbnails[1::2],
            round_trip=None if self.round_trip is None else self.round_trip[1::2],
            simulated=self.simulated,
        )


def joined(parts: list[Evidence]) -> Evidence:
    """The evidence of all processes as one; a process without rows may lack a column."""
    columns = {}
    for field in fields(parts[0]):
        found = [value for part in parts if isinstance(value := getattr(part, field.name), Tensor)]
        rows = sum(len(part.bank if field.name.startswith("bank") else part.queries) for part in parts)
        if field.name != "simulated":
            columns[field.name] = torch.cat(found) if found and sum(map(len, found)) == rows else None
    return replace(parts[0], **columns)
