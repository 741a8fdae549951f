"""Text of others on the terminal: shown as it is, without the control characters that a terminal obeys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def harmless(text: Any) -> str:
    """Text without anything that a terminal would act on; line ends stay."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(text).replace("\t", "    "))


def show_markdown(text: str) -> None:
    """Markdown, formatted where Rich is installed and somebody looks."""
    try:
        from rich.console import Console
        from rich.markdown import Markdown
    except ImportError:
        print(harmless(text))
        return
    if not sys.stdout.isatty():
        print(harmless(text))
        return
    Console().print(Markdown(harmless(text), hyperlinks=False))


def show_table(headings: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Columns of plain text."""
    cells = [[harmless(cell).replace("\n", " ") for cell in row] for row in [headings, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    for row in cells:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
