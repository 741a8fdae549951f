"""Inner products of all rows of a bank with some queries, by the fastest kernel at hand.

On x86 processors torch's matrix product is MKL's, which leaves the wide vector units of other makers' processors idle;
a convolution of kernel size 1 is the same product by oneDNN, which does not (`python -m benchmarks.probes`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LARGEST = 2**28
"""Most numbers of a bank that the convolution takes: its offsets are 32-bit."""
WORTH = 2**22
"""Multiplications below which setting up a convolution of a new shape costs more than it saves."""


class RowProducts:
    """Products of fixed rows with blocks of queries.

    Args:
        rows: Shape (N, K).
    """

    def __init__(self, rows: Float[Tensor, "N K"]) -> None:
        self.rows = rows.contiguous()
        count, size = rows.shape
        # The rows as an image of N pixels and K channels whose memory has the channels last.
        self._image = self.rows.as_strided((1, size, count, 1), (count * size, 1, size, size))
        self._suits = rows.is_cpu and rows.dtype == torch.float32 and rows.numel() <= LARGEST and _onednn_is_exact()

    def __call__(self, queries: Float[Tensor, "M K"]) -> Float[Tensor, "N M"]:
        """All inner products."""
        if self._suits and self.rows.numel() * len(queries) >= WORTH:
            products = torch.conv2d(self._image, queries[:, :, None, None])
            return products[0, :, :, 0].t().contiguous()
        return self.rows @ queries.t()


def _onednn_is_exact() -> bool:
    """Whether convolutions are oneDNN's and multiply float32 as it is."""
    onednn = torch.backends.mkldnn
    precision = getattr(getattr(onednn, "conv", None), "fp32_precision", "none")
    return onednn.is_available() and bool(onednn.enabled) and precision in ("none", "ieee")
