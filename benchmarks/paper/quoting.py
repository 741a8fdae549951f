"""The figures that pages quote, written into them between marks, so that no page holds a number of its own."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from benchmarks.paper.averages import tables_of
from benchmarks.paper.publishing import RESULTS
from benchmarks.paper.sections import SECTIONS, section
from lightning_invariant.cli.recipes import RECIPE
from lightning_invariant.hub.download import EXPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PAGES = {"README.md": 8, "hub_configs/README.md": None}
"""Pages with the main figures: at most so many rows, then one a recipe; None for all."""
START, END = "<!-- from here, python -m benchmarks.paper writes -->", "<!-- to here -->"
LISTED, LISTED_END = "<!-- from here, python -m benchmarks.paper lists -->", "<!-- listed -->"
COLUMNS = ("recipe", "asked of the latents", "raw", "projected")
ABOUT = ("recipe", "what it is", "latent", "projection", "features")


def write_quotes(out: Path) -> list[Path]:
    """Put the main figures, and the list of recipes, between the marks of each page that has them.

    Args:
        out: Checkout, or a folder laid out as one; pages that are not there are not made.

    Returns:
        The pages that were written.

    Raises:
        ValueError: A page has one of two marks without the other, or more than one of each.
    """
    written = []
    for name, most in PAGES.items():
        page = out / name
        if not page.is_file():
            continue
        text = page.read_text(encoding="utf-8")
        changed = _between(page, text, START, END, quoted(out, most))
        changed = _between(page, changed, LISTED, LISTED_END, listed(out))
        if START in text or LISTED in text:
            page.write_text(changed, encoding="utf-8")
            written.append(page)
    return written


def quoted(out: Path, most: int | None = None) -> list[str]:
    """Lines of the table of main figures, from the results of the recipes in a checkout.

    Args:
        out: The checkout.
        most: Largest number of rows, of which each recipe then has one; None for all rows.
    """
    rows, runs = [], []
    for recipe in SECTIONS:
        path = out / "hub_configs" / recipe / RESULTS
        headline = getattr(section(recipe), "headline", None)
        if headline is None or not path.is_file() or (most is not None and len(rows) == most):
            continue
        kept = json.loads(path.read_text(encoding="utf-8"))
        found = [(recipe, one.asked, one.raw, one.projected) for one in headline(tables_of(kept["tables"]))]
        rows += found if most is None else found[:1]
        runs.append((recipe, _run(kept["conditions"])))
    return [*_table(COLUMNS, rows), "", *_grouped(runs)]


def listed(out: Path) -> list[str]:
    """Lines of the list of recipes: what each is by the first sentence of its file, and what it exported."""
    rows = []
    for path in sorted((out / "hub_configs").glob(f"*/{RECIPE}")):
        name, config = path.parent.name, path.parent / EXPORT / "config.json"
        cells = [f"[{name}]({name}/{RECIPE})", _first_sentence(path.read_text(encoding="utf-8"))]
        if config.is_file():
            about = json.loads(config.read_text(encoding="utf-8"))
            cells += [f"`{about['representation']}`", about["projection"]["name"], about["features"]]
        rows.append([*cells, *[""] * (len(ABOUT) - len(cells))])
    return _table(ABOUT, rows)


def _first_sentence(recipe: str) -> str:
    """The comment before the line that says how to run it."""
    lines = re.match(r"(?:#.*\n)*", recipe)
    words = " ".join(line.lstrip("# ") for line in (lines.group() if lines else "").splitlines())
    return words.partition(" Run it:")[0].rstrip(".").replace("|", "\\|")


def _between(page: Path, text: str, start: str, end: str, lines: Sequence[str]) -> str:
    """The text with other lines between two marks; as it is if it has neither."""
    if start not in text and end not in text:
        return text
    before, first, rest = text.partition(start)
    _, last, after = rest.partition(end)
    if not (first and last) or end in before or start in rest or end in after:
        raise ValueError(f"Expected {start} once and then {end} once in {page}; mend the page.")
    return "\n".join([before + first, "", *lines, "", last + after])


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    return [f"| {' | '.join(map(str, row))} |" for row in (columns, ["---"] * len(columns), *rows)]


def _run(about: Mapping[str, Any]) -> str:
    seeds = about["seeds"].split()
    several = f"means of {len(seeds)} seeds ± half of the 95% interval" if len(seeds) > 1 else "one seed"
    return f"{about['run']} run, {several}"


def _grouped(runs: Sequence[tuple[str, str]]) -> list[str]:
    """One line: how most recipes were run, then the others with their names."""
    kinds: dict[str, list[str]] = {}
    for recipe, run in runs:
        kinds.setdefault(run, []).append(recipe)
    usual, *others = sorted(kinds.items(), key=lambda kind: -len(kind[1])) or [("", [])]
    if not usual[0]:
        return []
    exceptions = "".join(f" {run.capitalize()}: {', '.join(names)}." for run, names in others)
    return [f"{usual[0].capitalize()}.{exceptions}"]
