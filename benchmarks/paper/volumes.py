"""Volumes that lie one way in training and any way when asked: the 24 rotations of the cube, exact on voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.paper import pictures
from benchmarks.paper.class_probes import ALONE, BEST, RAW, drawn, map_lines
from benchmarks.paper.exact_groups import EQUIVARIANT, Task, claims_of, headline_of, rows_of, titles
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import fitted
from lightning_invariant.groups import Cube
from lightning_invariant.groups.actions import VolumeAction

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.paper.averages import Table
    from benchmarks.paper.sections import Claim, Headline, Row

RECIPE = "volumes-cube"
TITLE = "Volumes, generated: the 29 pentacubes under the rotations of the cube, with 3-D group convolutions"
NAME = "Pentacubes"
ACTION = VolumeAction(Cube())
ALL = 10_000
SIZES = {False: (3000, 20), True: (300, 2)}
"""Volumes and epochs of the training, in full and quick."""
SHOWN = 8
NOTES = (
    "The volumes are generated, not measured: 6 x 6 x 6 voxels with one of the 29 pieces of five voxels that no "
    "rotation moves onto each other (six pairs are mirror images), at any place, and noise of deviation 0.2. In "
    "training and bank each piece lies one way; queries are turned by a random one of the 24 rotations, without "
    "interpolation.",
    f"'{ALONE}' has a maximum over each field before its classifier, and is trained likewise.",
)


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """All tables of one seed; the data is generated, so that no folder is read."""
    size, epochs = SIZES[quick]
    common = {"data.size": size, "trainer.max_epochs": epochs}
    alone = common | {"trainer.callbacks": [], "model.head": "max"}
    fits = {
        EQUIVARIANT: fitted(RECIPE, folder, seed, common),
        ALONE: fitted(RECIPE, folder, seed, alone, name="invariant"),
    }
    network, data = fits[EQUIVARIANT].network, fits[EQUIVARIANT].data
    task = Task(NAME, fits, ACTION, f"Cube: {network.hparams.fields} regular")
    generator = torch.Generator().manual_seed(seed)
    bank, queries = (drawn(part.tensors, ALL, generator) for part in (data.training, data.testing))
    few = queries._replace(**{name: column[queries.labels < SHOWN] for name, column in queries._asdict().items()})
    moved = few.moved(ACTION, ACTION.group, torch.Generator().manual_seed(seed))
    lines = {line.label: line.queries.rows for line in map_lines(network.encoder, task.representation, bank, moved)}
    maps = {"raw latents": lines[RAW], BEST: lines[BEST]}
    pictures.latents(maps, moved.labels, folder / PICTURES)
    return rows_of(task, bank, queries, seed)


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Neighbours by each map."""
    rows = {NAME: [row for part in found.values() for row in part if row.table == titles(NAME)[0]]}
    return [pictures.line_bars(rows, "kNN", "kNN accuracy on turned volumes", folder / "accuracy.png")]


def expected(tables: list[Table]) -> list[Claim]:
    """The gap, the exact metric and the network's exactness."""
    return claims_of(NAME, tables)


def headline(tables: list[Table]) -> list[Headline]:
    """Neighbours of raw and of projected latents."""
    return [headline_of(NAME, "accuracy of 5 nearest volumes for turned ones", tables)]
