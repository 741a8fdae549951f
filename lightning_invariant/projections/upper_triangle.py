"""Symmetric matrices as vectors of the same norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.projections.exact_tables import ExactTables

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


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
