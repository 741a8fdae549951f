"""The auto-encoder of molecules with eight latent numbers a node, and shortest paths modulo the order of the nodes.

No cross section of several numbers a node is isometric, so probes are given FSW features, and the second latent of a
path is aligned to the first: `quotient.path` matches the nodes exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.paper import graph_latents
from benchmarks.paper.graph_latents import Setting
from benchmarks.paper.molecules_permutation import bars_of
from lightning_invariant.zoo.molecule_graphs import NODES

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.paper.averages import Table
    from benchmarks.paper.sections import Claim, Headline, Row

RECIPE = "molecules-permutation-vae-8"
TITLE = "Molecules as graphs: an equivariant auto-encoder with eight latent numbers a node, raw and aligned"
SETTING = Setting(RECIPE, f"S{NODES}: {NODES} points x 8", "FSW", "aligned")
REBUILT, VALID = 0.985, 0.80
NOTES = graph_latents.NOTES


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """Train and measure with one seed."""
    return graph_latents.measured(SETTING, data_dir, seed, quick, folder)


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """R² of every property and probe, raw and projected."""
    return [bars_of(SETTING, found, folder)]


def expected(tables: list[Table]) -> list[Claim]:
    """Judge reconstruction, paths and probes."""
    return graph_latents.expected(SETTING, tables, REBUILT, VALID)


def headline(tables: list[Table]) -> list[Headline]:
    """Say what the projection and the alignment are worth."""
    return graph_latents.headline(SETTING, tables)
