"""What is known of each point, as columns of plain values and as the projector's table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

Column: TypeAlias = Sequence[Any] | Tensor | np.ndarray
Labels: TypeAlias = Column | Mapping[str, Column]

MAX_WORDS = 50
"""Most different words of a column that the projector colours by."""


def label_columns(labels: Labels | None) -> dict[str, Column]:
    """Return the columns by name: those of a mapping, a lone one as "label", none without labels."""
    if labels is None:
        return {}
    return dict(labels) if isinstance(labels, Mapping) else {"label": labels}


def plain_values(column: Column) -> list[Any]:
    """Return a column's values as Python's own numbers and words."""
    if isinstance(column, Tensor | np.ndarray):
        return column.tolist()
    return [value.item() if isinstance(value, Tensor | np.generic) else value for value in column]


def coloured_column(labels: Labels, rows: Sequence[int]) -> str | None:
    """Return the first column that the projector can colour by: numbers, or at most 50 words; None if there is none.

    Args:
        labels: N labels, or a mapping of column names to N labels each.
        rows: Indices of the points that are written.

    Returns:
        The name that the page gives to the column.
    """
    columns = label_columns(labels)
    for name, column in columns.items():
        values = plain_values(column)
        words = {_cell(values[row]) for row in rows}
        if len(words) <= MAX_WORDS or all(map(_is_number, words)):
            return _cell(name) if len(columns) > 1 else "label"  # a lone column has no header
    return None


def metadata_table(labels: Labels, rows: Sequence[int]) -> bytes:
    """Return the projector's metadata file: one line a point, and a header only with several columns.

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


def _is_number(word: str) -> bool:
    try:
        return isfinite(float(word))
    except ValueError:
        return False


def _cell(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = text.replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")
    # The projector skips blank lines, which moves every later label to the wrong point.
    return text if text.replace("\ufeff", "").strip() else "(empty)"
