"""Results tables that say where, when and with what they were measured."""

from __future__ import annotations

import datetime
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Section:
    """One table of a report.

    Args:
        title: Heading.
        columns: Column names, units included.
        rows: One sequence a row, as long as `columns`; floats are given three digits.
        notes: Sentences under the table, one a line.
        numbers: The same for programs, JSON-able.
        holds: Whether what is claimed was found.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    notes: Sequence[str] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)
    holds: bool = True


def conditions(command: str) -> dict[str, str]:
    """Where and when this runs: command, date, processor, versions, devices."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return {
        "command": command,
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "processor": f"{_processor()}, {os.cpu_count()} logical cores, torch threads {torch.get_num_threads()}",
        "gpu": gpu,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def write_table(
    path: str | os.PathLike[str],
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    command: str,
    notes: Sequence[str] = (),
) -> Path:
    """Write one Markdown table with the conditions under it.

    Args:
        path: File to write; folders are made.
        title: Heading.
        columns: Column names, units included.
        rows: One sequence a row, as long as `columns`; floats are given three digits.
        command: The exact command that measured this.
        notes: Sentences under the table, one a line.

    Returns:
        The path.

    Raises:
        ValueError: If a row has another length than `columns`.
    """
    lines = [f"# {title}", "", *_table(columns, rows), "", *_items(notes), *_conditions(command)]
    return _write(path, lines)


def write_report(
    path: str | os.PathLike[str],
    title: str,
    sections: Sequence[Section],
    command: str,
    also: Mapping[str, str] | None = None,
) -> Path:
    """Write several Markdown tables, each under its heading, with the conditions at the end.

    Args:
        path: File to write; folders are made.
        title: Of the whole.
        sections: In order.
        command: The exact command that measured this.
        also: More conditions, such as seeds.

    Returns:
        The path.

    Raises:
        ValueError: If a row has another length than its `columns`.
    """
    lines = [f"# {title}", ""]
    for section in sections:
        verdict = [] if section.holds else ["**This does not hold.**", ""]
        lines += [f"## {section.title}", "", *verdict, *_table(section.columns, section.rows), ""]
        lines += [*_items(section.notes), ""] if section.notes else []
    more = _items(f"{name}: {value}" for name, value in (also or {}).items())
    return _write(path, [*lines, "## Conditions", "", *_conditions(command), *more])


def write_json(path: str | os.PathLike[str], results: Mapping[str, Any], command: str) -> Path:
    """Write the same numbers for programs: `{"conditions": ..., **results}`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"conditions": conditions(command), **results}, indent=2) + "\n", encoding="utf-8")
    return path


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    for row in rows:
        if len(row) != len(columns):
            raise ValueError(f"Expected {len(columns)} cells in every row but got {len(row)}: {list(row)}.")
    return [_line(columns), _line(["---"] * len(columns)), *(_line(row) for row in rows)]


def _conditions(command: str) -> list[str]:
    found = conditions(command).items()
    return _items(f"{name}: {f'`{value}`' if name == 'command' else value}" for name, value in found)


def _items(sentences: Iterable[str]) -> list[str]:
    return [f"- {sentence}" for sentence in sentences]


def _write(path: str | os.PathLike[str], lines: Sequence[str]) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _line(cells: Sequence[Any]) -> str:
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value).replace("|", "\\|")
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in _lines(cpuinfo) if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
