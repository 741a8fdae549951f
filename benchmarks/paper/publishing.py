"""Writes what a run found: the paper's tables, and each recipe's results.json, pictures, card and encoder."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from benchmarks.paper.averages import averaged, numbers, tables_of
from benchmarks.paper.recipe_card import expectations, write_card
from benchmarks.paper.sections import SECTIONS, section
from benchmarks.tables import Section, conditions, write_report
from lightning_invariant.hub.download import EXPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.paper.sections import Row

HEADING = "The recipes on real data: means over seeds, ± half of the 95% interval (Student's t)"
RESULTS = "results.json"
"""A recipe's tables and conditions."""
PICTURES = "pictures"
"""Folder of a seed with what was drawn while its latents were at hand; goes beside the other pictures."""


def write_paper(out: Path, command: str) -> Path:
    """The tables of all recipes in one Markdown file, from what `write_recipe` wrote, each with its conditions.

    A run of some recipes so leaves the tables of the others as they were.

    Args:
        out: The file is benchmarks/results/paper.md in it.
        command: What was run last.

    Returns:
        The file.
    """
    parts = [
        part
        for recipe in SECTIONS
        if (kept := out / "hub_configs" / recipe / RESULTS).is_file()
        for part in _sections(recipe, json.loads(kept.read_text(encoding="utf-8")))
    ]
    return write_report(out / "benchmarks" / "results" / "paper.md", HEADING, parts, command)


def _sections(recipe: str, results: Mapping[str, Any]) -> list[Section]:
    about, tables, parts = section(recipe), tables_of(results["tables"]), []
    for number, table in enumerate(tables):
        notes = [f"{about.TITLE}.", *about.NOTES] if number == 0 else []
        parts.append(Section(f"{recipe}: {table.title}", ["", *table.fixed, *table.columns], table.cells(), notes))
    parts += expectations(recipe, tables)
    rows = [[name, value] for name, value in results["conditions"].items()]
    return [*parts, Section(f"{recipe}: conditions", ["", ""], rows)]


def write_recipe(
    out: Path, recipe: str, found: Mapping[int, Sequence[Row]], seed_folder: Path, command: str, also: Mapping[str, str]
) -> Path:
    """A recipe's results.json, pictures, card, and the encoder that the first seed exported.

    Args:
        out: The files go to hub_configs/RECIPE in it.
        recipe: Its name.
        found: Rows of each seed.
        seed_folder: Of the first seed.
        command: What was run.
        also: More conditions, such as versions.

    Returns:
        The folder.

    Raises:
        ValueError: The rows cannot be averaged.
    """
    folder = out / "hub_configs" / recipe
    folder.mkdir(parents=True, exist_ok=True)
    about = {**conditions(command), "seeds": " ".join(map(str, found)), **also}
    tables = averaged(found)
    content = {"conditions": about, "seeds": list(found), "tables": numbers(tables)}
    (folder / RESULTS).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    draw = getattr(section(recipe), "draw", None)
    if draw is not None:
        draw(dict(found), folder)
    if (seed_folder / PICTURES).is_dir():
        shutil.copytree(seed_folder / PICTURES, folder, dirs_exist_ok=True)
    encoder = seed_folder / EXPORT
    if encoder.is_dir():
        shutil.rmtree(folder / EXPORT, ignore_errors=True)
        shutil.copytree(encoder, folder / EXPORT)
    write_card(folder, recipe, tables, about)
    return folder
