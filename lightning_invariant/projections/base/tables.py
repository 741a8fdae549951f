"""Modules whose tables stay exact when a network is cast, and symmetric matrices as vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float
    from torch import Tensor


class ExactTables(nn.Module):
    """Keeps buffers whose names start with "table" in float64 through `.to(dtype)`, `.half()` and the like.

    Invariance is only as exact as the tables of the action: rounded to bfloat16 they would break it by a percent.
    Templates may be rounded, since every template is as good as any other.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        kept = {
            name: buffer for name, buffer in self._buffers.items() if name.startswith("table") and buffer is not None
        }
        super()._apply(fn, recurse)
        for name, buffer in kept.items():
            self._buffers[name] = buffer.to(self.get_buffer(name).device)
        return self


class UpperTriangle(ExactTables):
    """The n (n + 1) / 2 entries of the upper triangle, row by row, those beside the diagonal times sqrt(2).

    The vector has the Frobenius norm of the matrix, so distances are kept.

    Args:
        n: Size of the matrices, at least 1.
    """

    entries: Tensor
    table_weight: Tensor

    def __init__(self, n: int) -> None:
        super().__init__()
        rows, columns = torch.triu_indices(n, n)
        self.size = len(rows)
        self.register_buffer("entries", rows * n + columns)
        weight = (2.0 - (rows == columns).double()).sqrt()
        self.register_buffer("table_weight", weight)

    def forward(self, matrix: Float[Tensor, "*B n n"]) -> Float[Tensor, "*B K"]:
        """Weighted entries of symmetric matrices."""
        return matrix.flatten(-2).index_select(-1, self.entries) * self.table_weight.to(matrix.dtype)

    def extra_repr(self) -> str:
        """Number of entries."""
        return f"{self.size}"
