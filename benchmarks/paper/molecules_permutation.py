"""An auto-encoder of molecules with one latent number a node, as in Hansen, Calissano and Feragen 2024 (2401.12588).

Sorting is an isometric cross section, and the decoder is equivariant: what is decoded from sorted latents is the same
molecule, its nodes in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.paper import graph_latents
from benchmarks.paper.graph_latents import PROBES, PROPERTIES, Setting
from benchmarks.paper.molecule_pictures import grouped_bars
from benchmarks.paper.sections import Row
from lightning_invariant.zoo.molecule_graphs import NODES

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.paper.averages import Table
    from benchmarks.paper.sections import Claim, Headline

RECIPE = "molecules-permutation-vae"
TITLE = "Molecules as graphs: an equivariant auto-encoder with one latent number a node, raw and sorted"
SETTING = Setting(RECIPE, f"S{NODES}: {NODES} points", "sorted", "sorted")
REBUILT, VALID = 0.77, 0.24
NOTES = (
    *graph_latents.NOTES,
    "The network is trained with 8 numbers a node, 7 of which fade out in the first quarter of the training.",
)


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """Train and measure with one seed."""
    return graph_latents.measured(SETTING, data_dir, seed, quick, folder)


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """R² of every property and probe, raw and sorted."""
    return [bars_of(SETTING, found, folder)]


def bars_of(setting: Setting, found: dict[int, list[Row]], folder: Path) -> Path:
    """A bar for each property and probe, raw and projected."""
    turned = []
    for part in found.values():
        lines = {row.label: row.values for row in part if row.table == PROPERTIES}
        columns = sorted(lines[setting.projected], key=lambda column: PROBES.index(column.rpartition(", ")[2]))
        turned += [Row("", column, {label: lines[label][column] for label in lines}) for column in columns]
    axis = "R² (1 is perfect, 0 is the mean)"
    return grouped_bars(turned, ("raw", setting.projected), axis, folder / "properties.png")


def expected(tables: list[Table]) -> list[Claim]:
    """Judge reconstruction, paths and probes."""
    return graph_latents.expected(SETTING, tables, REBUILT, VALID)


def headline(tables: list[Table]) -> list[Headline]:
    """Say what sorting is worth."""
    return graph_latents.headline(SETTING, tables)
