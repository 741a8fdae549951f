"""Writes what a run found: the results page, and each recipe's results.json, pictures, card and encoder."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from benchmarks.paper.averages import averaged, numbers, tables_of
from benchmarks.paper.recipe_card import expectations, write_card
from benchmarks.paper.sections import SECTIONS, section
from benchmarks.tables import Section, write_report
from lightning_invariant.hub.download import EXPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.paper.sections import Row

HEADING = "Results of the recipes: means over seeds, ± half of the 95% interval (Student's t)"
OPENING = (
    "Written by `python -m benchmarks.paper`, which trains every recipe of hub_configs. Main figures first; then each "
    "recipe's tables, what was expected beside what was found, and where it was measured. The conditions at the end "
    "are those of the command that wrote this page."
)
RESULTS = "results.json"
"""A recipe's tables and conditions."""
PICTURES = "pictures"
"""Folder of a seed with what was drawn while its latents were at hand; goes beside the other pictures."""


def write_paper(out: Path, command: str, opening: Sequence[str] = ()) -> Path:
    """The results page: the tables of all recipes in one file, from what `write_recipe` wrote, with their conditions.

    A run of some recipes so leaves the tables of the others as they were.

    Args:
        out: The file is docs/results.md in it.
        command: What was run last.
        opening: Lines above the tables, such as the main figures.

    Returns:
        The file.
    """
    parts = []
    for recipe in SECTIONS:
        path = out / "hub_configs" / recipe / RESULTS
        if path.is_file():
            kept = json.loads(path.read_text(encoding="utf-8"))
            _write_results(path, recipe, kept)
            parts += _sections(recipe, kept)
    path = write_report(out / "docs" / "results.md", HEADING, parts, command)
    heading, _, tables = path.read_text(encoding="utf-8").partition("\n\n")
    path.write_text("\n\n".join([heading, "\n".join([OPENING, "", *opening]), tables]), encoding="utf-8")
    return path


def _write_results(path: Path, recipe: str, content: Mapping[str, Any]) -> None:
    """Write results with the main figures as text, for `lightning-invariant list`."""
    headline = getattr(section(recipe), "headline", None)
    figures = [] if headline is None else headline(tables_of(content["tables"]))
    said = [{name: str(value) for name, value in vars(figure).items()} for figure in figures]
    path.write_text(json.dumps({**content, "headline": said}, indent=2) + "\n", encoding="utf-8")


def _sections(recipe: str, results: Mapping[str, Any]) -> list[Section]:
    about, tables, parts = section(recipe), tables_of(results["tables"]), []
    for number, table in enumerate(tables):
        notes = [f"{about.TITLE}.", *about.NOTES] if number == 0 else []
        parts.append(Section(f"{recipe}: {table.title}", ["", *table.fixed, *table.columns], table.cells(), notes))
    parts += expectations(recipe, tables)
    rows = [[name, value] for name, value in results["conditions"].items()]
    return [*parts, Section(f"{recipe}: conditions", ["", ""], rows)]


def write_recipe(
    out: Path, recipe: str, found: Mapping[int, Sequence[Row]], seed_folder: Path, about: Mapping[str, str]
) -> Path:
    """A recipe's results.json, pictures, card, and the encoder that the first seed exported.

    Args:
        out: The files go to hub_configs/RECIPE in it.
        recipe: Its name.
        found: Rows of each seed.
        seed_folder: Of the first seed.
        about: Conditions: the command, the kind of run, the seeds, machine and versions.

    Returns:
        The folder.

    Raises:
        ValueError: The rows cannot be averaged.
    """
    folder = out / "hub_configs" / recipe
    folder.mkdir(parents=True, exist_ok=True)
    tables = averaged(found)
    content = {"conditions": dict(about), "seeds": list(found), "tables": numbers(tables)}
    _write_results(folder / RESULTS, recipe, content)
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
