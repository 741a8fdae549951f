"""Text of others on the terminal: shown as it is, without the control characters that a terminal obeys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, TextIO

from lightning_invariant.errors import printable

if TYPE_CHECKING:
    from collections.abc import Sequence


def show(text: Any, file: TextIO | None = None) -> None:
    """Print text, escaped where a terminal would act on it."""
    print(printable(str(text)), file=file or sys.stdout, flush=True)


def one_line(text: Any) -> str:
    """Return text as one line, escaped where a terminal would act on it."""
    return printable(" ".join(str(text).split()))


def show_markdown(text: str) -> None:
    """Print Markdown, formatted where Rich is installed and somebody looks."""
    try:
        from rich.console import Console
        from rich.markdown import Markdown
    except ImportError:
        show(text)
        return
    if not sys.stdout.isatty():
        show(text)
        return
    Console().print(Markdown(printable(text), hyperlinks=False))


def show_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print columns of plain text."""
    cells = [[one_line(cell) for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    for row in cells:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
