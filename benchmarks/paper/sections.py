"""What a section of the paper's tables is, and which there are.

A section is a module here: TITLE, NOTES, `run(data_dir, seed, quick, folder) -> list[Row]` for ONE seed, and if it has
pictures `draw(found: dict[int, list[Row]], folder: Path) -> list[Path]`; `folder` is its own, one a seed in `run`.
If something was expected: `expected(tables: list[averages.Table]) -> list[Claim]`, judged on means over seeds. If pages
are to quote it: `headline(tables) -> list[Headline]`.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

SECTIONS = {
    "rotated-mnist-c8": "rotated_mnist",
    "cells-o2": "cells",
    "outlines-t32": "outlines",
    "volumes-cube": "volumes",
    "molecules-permutation-vae-8": "molecules_permutation_8",
    "molecules-o3": "molecules_o3",
    "sevennet-descriptors": "sevennet_descriptors",
    "augmented-cnn": "augmented",
    "molecules-permutation-vae": "molecules_permutation",
    "rotated-mnist-d4": "rotated_mnist_d4",
}
"""Name of a recipe, as its folder in hub_configs, to its module in this package; README quotes the first eight."""


@dataclass(frozen=True)
class Row:
    """What one seed gave for one line of one table; lines with equal table and label are averaged over seeds.

    Args:
        table: Heading of the table that the line belongs to, the same for all of its lines.
        label: First cell of the line.
        values: Column name, units included, to the number; all finite.
        fixed: Column name to a cell that no seed changes, such as the size or a guarantee; these columns come first.
    """

    table: str
    label: str
    values: Mapping[str, float]
    fixed: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """What was expected before it was measured.

    Args:
        text: The expectation, a sentence.
        found: What was measured.
        holds: Whether it is so.
    """

    text: str
    found: str
    holds: bool


@dataclass(frozen=True)
class Headline:
    """What projecting the latents is worth, in one line.

    Args:
        asked: Probe, unit and queries.
        raw: What it found in raw latents; prints as a figure.
        projected: What it found in projected ones.
    """

    asked: str
    raw: object
    projected: object


class Section(Protocol):
    """A module of this package, as seen by the command."""

    TITLE: str
    NOTES: Sequence[str]

    def run(self, data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
        """Train and measure with one seed; data is downloaded where `data_dir` is None."""
        ...


def available() -> list[str]:
    """The recipes whose section is there."""
    return [name for name, module in SECTIONS.items() if importlib.util.find_spec(f"benchmarks.paper.{module}")]


def section(name: str) -> Section:
    """The module of a recipe.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in SECTIONS:
        raise ValueError(f"Expected a recipe among {', '.join(SECTIONS)} but got {name!r}.")
    return cast("Section", importlib.import_module(f"benchmarks.paper.{SECTIONS[name]}"))
