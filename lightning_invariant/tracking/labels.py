"""What is known of each point, as columns of plain values and as the projector's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Column: TypeAlias = Sequence[Any] | Tensor | np.ndarray
Labels: TypeAlias = Column | Mapping[str, Column]


def label_columns(labels: Labels | None) -> dict[str, Column]:
    """The columns by name: those of a mapping, a lone one as "label", none without labels."""
    if labels is None:
        return {}
    return dict(labels) if isinstance(labels, Mapping) else {"label": labels}


def plain_values(column: Column) -> list[Any]:
    """A column's values as Python's own numbers and words."""
    if isinstance(column, Tensor | np.ndarray):
        return column.tolist()
    return [value.item() if isinstance(value, Tensor | np.generic) else value for value in column]


def metadata_table(labels: Labels, rows: Sequence[int]) -> bytes:
    """The projector's metadata file: one line a point, and a header only with several columns.

    Args:
        labels: N labels, or a mapping of column names to N labels each.
        rows: Indices of the points that are written, in their order.

    Returns:
        Tab-separated lines in UTF-8. Line breaks and tabs inside a label are escaped, blank labels read "(empty)".
    """
    columns = label_columns(labels)
    values = [plain_values(column) for column in columns.values()]
    lines = ["\t".join(map(_cell, columns))] if len(columns) > 1 else []
    lines += ["\t".join(_cell(column[row]) for column in values) for row in rows]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    # The projector skips blank lines, which moves every later label to the wrong point.
    return text if text.replace("\ufeff", "").strip() else "(empty)"
