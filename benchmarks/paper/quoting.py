"""The figures that pages quote, written into them between two marks, so that no page holds a number of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from benchmarks.paper.averages import tables_of
from benchmarks.paper.publishing import RESULTS
from benchmarks.paper.sections import SECTIONS, section

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PAGES = ("README.md", "hub_configs/README.md")
START, END = "<!-- from here, python -m benchmarks.paper writes -->", "<!-- to here -->"
COLUMNS = ("recipe", "asked of the latents", "raw", "projected")


def write_quotes(out: Path) -> list[Path]:
    """Put the table of all recipes' main figures between the marks of each page that has them.

    Args:
        out: Checkout, or a folder laid out as one; pages that are not there are not made.

    Returns:
        The pages that were written.

    Raises:
        ValueError: A page has one of the marks without the other, or more than one of each.
    """
    texts = {page: page.read_text(encoding="utf-8") for page in (out / name for name in PAGES) if page.is_file()}
    marked = {page: text for page, text in texts.items() if START in text or END in text}
    for page, text in marked.items():
        before, start, rest = text.partition(START)
        _, end, after = rest.partition(END)
        if not (start and end) or END in before or START in rest or END in after:
            raise ValueError(f"Expected {START} once and then {END} once in {page}; mend the page.")
        page.write_text("\n".join([before + start, "", *quoted(out), "", end + after]), encoding="utf-8")
    return list(marked)


def quoted(out: Path) -> list[str]:
    """Lines of the table, from the results of the recipes in a checkout."""
    rows, runs = [], []
    for recipe in SECTIONS:
        path = out / "hub_configs" / recipe / RESULTS
        headline = getattr(section(recipe), "headline", None)
        if headline is None or not path.is_file():
            continue
        kept = json.loads(path.read_text(encoding="utf-8"))
        rows += [(recipe, one.asked, one.raw, one.projected) for one in headline(tables_of(kept["tables"]))]
        runs.append(f"{recipe}: {_run(kept['conditions'])}")
    cells = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    return [*(f"| {' | '.join(map(str, row))} |" for row in cells), "", *_grouped(runs)]


def _run(about: Mapping[str, Any]) -> str:
    seeds = about["seeds"].split()
    several = f"means of {len(seeds)} seeds ± half of the 95% interval" if len(seeds) > 1 else "one seed"
    return f"{about['run']} run, {several}"


def _grouped(runs: list[str]) -> list[str]:
    """One line for what all recipes have in common, or one each."""
    kinds = {run.partition(": ")[2] for run in runs}
    text = [f"{kinds.pop().capitalize()}."] if len(kinds) == 1 else [f"{run}." for run in runs]
    return [" ".join(text)] if runs else []
