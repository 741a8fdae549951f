"""Features for engines that cut a data set into batches with names: Hugging Face datasets, Ray Data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_invariant.encoder.encoder import InvariantEncoder


class BatchFunction:
    """A function from a batch to the same batch with features; it pickles, weights included.

    Several inputs have a name each: `column` is a tuple then.
    """

    def __init__(
        self, encoder: InvariantEncoder, column: str | tuple[str, ...], output: str, settings: Mapping[str, Any]
    ) -> None:
        self.encoder, self.column, self.output = encoder, column, output
        self.settings = {"progress": False, **settings}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Add features (B, K) to arrays, or lists of arrays or images, by name."""
        names = (self.column,) if isinstance(self.column, str) else self.column
        columns = tuple(_joined(batch[name]) for name in names)
        features = self.encoder.encode(columns[0] if len(columns) == 1 else columns, **self.settings)
        return {**batch, self.output: features}


def _joined(values: Any) -> Any:
    """Rows that came as lists of numbers or arrays as one array; images stay as they are."""
    import numpy as np

    if isinstance(values, np.ndarray) and values.dtype == object:
        values = list(values)
    if not isinstance(values, list) or not values or hasattr(values[0], "convert"):
        return values
    rows = [np.asarray(row) for row in values]
    floats = [row.astype(np.float32) if row.dtype == np.float64 else row for row in rows]
    return np.stack(floats)
