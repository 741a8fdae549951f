"""Writes what a run found: the paper's tables, and each recipe's results.json, pictures and encoder."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from benchmarks.paper.averages import numbers
from benchmarks.paper.sections import section
from benchmarks.tables import Section, write_json, write_report
from lightning_invariant.hub.bundled import EXPORT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.paper.averages import Table
    from benchmarks.paper.sections import Row

PICTURES = "pictures"
"""Folder of a seed with what was drawn while its latents were at hand; goes beside the other pictures."""


def write_paper(out: Path, tables: Mapping[str, Sequence[Table]], command: str, conditions: Mapping[str, str]) -> Path:
    """All tables in one Markdown file.

    Args:
        out: The file is benchmarks/results/paper.md in it.
        tables: Of each recipe.
        command: What was run.
        conditions: Seeds, versions.

    Returns:
        The file.
    """
    sections = []
    for recipe, found in tables.items():
        about = section(recipe)
        for number, table in enumerate(found):
            notes = [f"{about.TITLE}.", *about.NOTES] if number == 0 else []
            columns = ["", *table.fixed, *table.columns]
            sections.append(Section(f"{recipe}: {table.title}", columns, table.cells(), notes))
        expected = getattr(about, "expected", None)
        if expected is not None:
            rows = [[claim.text, claim.found, "yes" if claim.holds else "NO"] for claim in expected(list(found))]
            sections.append(Section(f"{recipe}: expected and found", ["expected", "found", "holds"], rows))
    path = out / "benchmarks" / "results" / "paper.md"
    title = "The recipes on real data: means over seeds, ± half of the 95% interval (Student's t)"
    return write_report(path, title, sections, command, conditions)


def write_recipe(
    out: Path, recipe: str, tables: Sequence[Table], found: Mapping[int, Sequence[Row]], seed_folder: Path, command: str
) -> Path:
    """A recipe's results.json, pictures, and the encoder that the first seed exported, with its card and picture.

    Args:
        out: The files go to hub_configs/RECIPE in it.
        recipe: Its name.
        tables: Means over seeds.
        found: Rows of each seed, for the pictures.
        seed_folder: Of the first seed.
        command: What was run.

    Returns:
        The folder.
    """
    folder = out / "hub_configs" / recipe
    write_json(folder / "results.json", {"seeds": list(found), "tables": numbers(tables)}, command)
    draw = getattr(section(recipe), "draw", None)
    if draw is not None:
        draw(dict(found), folder)
    if (seed_folder / PICTURES).is_dir():
        shutil.copytree(seed_folder / PICTURES, folder, dirs_exist_ok=True)
    encoder = seed_folder / EXPORT
    if encoder.is_dir():
        shutil.rmtree(folder / EXPORT, ignore_errors=True)
        shutil.copytree(encoder, folder / EXPORT)
    return folder
