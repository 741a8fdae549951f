"""A bounded sample of rows as the state of a metric: the same on any number of processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor

LIMIT = 1024
"""Rows kept unless told otherwise."""


class SampledRows(Metric, ABC):
    """Keeps the rows whose contents have the smallest hash: a sample that no order or sharding of the data changes.

    Args:
        limit: Rows kept.

    Raises:
        ValueError: The limit is below 2.
    """

    is_differentiable = False
    full_state_update = False
    rows: list[Tensor]
    keys: list[Tensor]

    def __init__(self, limit: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if limit < 2:
            raise ValueError(f"Expected to keep at least 2 rows but got {limit}.")
        self.limit = limit
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("keys", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def value(self, rows: Float[Tensor, "B K"]) -> Tensor | dict[str, Tensor]:
        """The measure on the rows kept."""

    def compute(self) -> Tensor | dict[str, Tensor]:
        """The measure; NaN before two rows have been seen."""
        if len(self.rows) == 0 or len(dim_zero_cat(self.rows)) < 2:
            return torch.tensor(float("nan"), device=self.device)
        rows, _ = self._smallest(dim_zero_cat(self.rows), dim_zero_cat(self.keys))
        return self.value(rows)

    def _sync_dist(self, dist_sync_fn: Callable = gather_all_tensors, process_group: Any | None = None) -> None:
        # A process without a batch knows no number of columns, and the gathering of torchmetrics aborts on that.
        mine = [self.rows[0].shape[1], self.rows[0].element_size()] if self.rows else [0, 0]
        sizes = dist_sync_fn(torch.tensor(mine, device=self.device), process_group)
        columns, size = torch.stack(sizes).amax(dim=0).tolist()
        if columns and not self.rows:
            dtype = torch.float32 if size == 4 else torch.float64
            self.rows = [torch.empty(0, columns, dtype=dtype, device=self.device)]
            self.keys = [torch.empty(0, dtype=torch.int64, device=self.device)]
        super()._sync_dist(dist_sync_fn, process_group)

    def _keep(self, rows: Tensor) -> None:
        rows = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
        both = torch.cat([*self.rows, rows]), torch.cat([*self.keys, _hash(rows)])
        rows, keys = self._smallest(*both)
        self.rows, self.keys = [rows], [keys]

    def _smallest(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        order = keys.argsort(stable=True)[: self.limit]
        return rows[order], keys[order]


def _hash(rows: Float[Tensor, "B K"]) -> Tensor:
    """63-bit keys from the bits of each row: integer arithmetic, so equal rows have equal keys everywhere."""
    bits = rows.contiguous().view(torch.int32 if rows.element_size() == 4 else torch.int64).long()
    places = torch.arange(1, bits.shape[1] + 1, device=rows.device)
    mixed = (bits ^ (places * 0x9E3779B97F4A7C1)) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * 0x369DEA0F31A53F85
    keys = (mixed ^ (mixed >> 32)).sum(dim=1) * 0x5851F42D4C957F2D
    return (keys ^ (keys >> 31)) & (2**63 - 1)
