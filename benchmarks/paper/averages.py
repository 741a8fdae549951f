"""Means over seeds with 95% intervals, as tables for readers and as numbers for programs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.paper.sections import Row


class Mean(NamedTuple):
    """A mean over seeds.

    Args:
        mean: The mean.
        half: Half the width of its 95% interval by Student's t; None for a single seed.
        values: One a seed, in the order of the seeds.
    """

    mean: float
    half: float | None
    values: list[float]

    def __str__(self) -> str:
        if self.half is None and self.mean == int(self.mean) and self.mean > 1:
            return f"{self.mean:.0f}"
        digits = 3 if abs(self.mean) < 100 else 1
        text = f"{self.mean:.2g}" if 0 < abs(self.mean) < 1e-3 else f"{self.mean:.{digits}f}"
        if self.half is None:
            return text
        return f"{text} ± {self.half:.0f}" if self.half >= 100 else f"{text} ± {self.half:.2g}"


class Table(NamedTuple):
    """One table: its columns, and for each line the fixed cells and the means."""

    title: str
    fixed: list[str]
    columns: list[str]
    lines: dict[str, tuple[dict[str, Any], dict[str, Mean]]]

    def mean(self, label: str, column: str) -> float:
        """One mean."""
        return self.cell(label, column).mean

    def cell(self, label: str, column: str) -> Mean:
        """One mean with its interval."""
        return self.lines[label][1][column]

    def cells(self) -> list[list[Any]]:
        """Cells of every line; empty where a line has no such column."""
        return [
            [label, *(fixed.get(name, "") for name in self.fixed), *(str(means.get(name, "")) for name in self.columns)]
            for label, (fixed, means) in self.lines.items()
        ]


def averaged(found: Mapping[int, Sequence[Row]]) -> list[Table]:
    """Tables in the order in which their rows first occur.

    Args:
        found: Rows of each seed.

    Raises:
        ValueError: A number is not finite, or a seed lacks a line or column that another one has.
    """
    tables: dict[str, Table] = {}
    for table, label in _unique((row.table, row.label) for rows in found.values() for row in rows):
        lines = [
            next((row for row in rows if (row.table, row.label) == (table, label)), None) for rows in found.values()
        ]
        whole = tables.setdefault(table, Table(table, [], [], {}))
        whole.lines[label] = _line(f"{table}: {label}", lines)
        _widen(whole, label)
    return list(tables.values())


def numbers(tables: Sequence[Table]) -> dict[str, Any]:
    """The same, JSON-able: table, line, column to mean, half-width and the values of the seeds."""
    return {
        table.title: {
            label: {**fixed, **{name: mean._asdict() for name, mean in means.items()}}
            for label, (fixed, means) in table.lines.items()
        }
        for table in tables
    }


def tables_of(kept: Mapping[str, Any]) -> list[Table]:
    """Tables from what `numbers` made of them."""
    tables = []
    for title, lines in kept.items():
        whole = Table(title, [], [], {})
        for label, cells in lines.items():
            means = {name: Mean(**cell) for name, cell in cells.items() if isinstance(cell, dict)}
            whole.lines[label] = {name: cell for name, cell in cells.items() if name not in means}, means
            _widen(whole, label)
        tables.append(whole)
    return tables


def mean_of(values: Sequence[float]) -> Mean:
    """Mean and half-width of its 95% interval, t s / sqrt(n)."""
    count = len(values)
    mean = sum(values) / count
    if count == 1:
        return Mean(mean, None, list(values))
    from scipy.stats import t

    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (count - 1))
    return Mean(mean, float(t.ppf(0.975, count - 1)) * spread / math.sqrt(count), list(values))


def _widen(table: Table, label: str) -> None:
    """Give a table the columns of one of its lines."""
    fixed, means = table.lines[label]
    table.fixed.extend(name for name in fixed if name not in table.fixed)
    table.columns.extend(name for name in means if name not in table.columns)


def _line(name: str, rows: Sequence[Row | None]) -> tuple[dict[str, Any], dict[str, Mean]]:
    present = [row for row in rows if row is not None]
    columns = list(present[0].values)
    if len(present) < len(rows) or any(list(row.values) != columns for row in present):
        raise ValueError(f"Expected '{name}' with columns {columns} from every seed but one differs; run with --fresh.")
    if any(not math.isfinite(value) for row in present for value in row.values.values()):
        raise ValueError(f"Expected finite numbers of '{name}' but got {[dict(row.values) for row in present]}.")
    means = {column: mean_of([float(row.values[column]) for row in present]) for column in columns}
    return dict(present[0].fixed), means


def _unique(pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(pairs))
