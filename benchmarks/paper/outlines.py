"""Outlines as closed curves: where a curve starts means nothing, and shifts change every number of a latent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.paper import pictures
from benchmarks.paper.class_probes import ALONE, BEST, RAW, Samples, drawn, map_lines
from benchmarks.paper.exact_groups import EQUIVARIANT, Task, claims_of, headline_of, rows_of, titles
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import Fitted, fitted
from lightning_invariant.groups import Translations
from lightning_invariant.groups.actions import ShiftAction
from lightning_invariant.zoo.outlines import PLACES, read_outlines

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.paper.averages import Table
    from benchmarks.paper.sections import Claim, Headline, Row

RECIPE = "outlines-t32"
TITLE = "Outlines of leaves and arrowheads as closed curves: circular convolutions, T32"
SETS = ("OSULeaf", "ArrowHead")
ACTION = ShiftAction(Translations(PLACES))
ALL = 10_000
EPOCHS = {False: 60, True: 4}
NOTES = (
    "Queries are test outlines that start at another point, a random multiple of 8 of 256 points on: the shifts under "
    "which the network is exactly equivariant. The bank holds training outlines that start where the file says.",
    "Training and test sets of the UCR archive are joined and split anew by every seed, so that these are not the "
    "archive's own tasks. The sets are small: a quarter of OSULeaf are 110 queries, of ArrowHead 53.",
    f"'{ALONE}' has a maximum over each field before its classifier, and is trained likewise.",
)


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """The tables of both sets."""
    rows = []
    for name in SETS:
        task = Task(name, _fitted(data_dir, name, seed, quick, folder), ACTION, "")
        network, data = task.fits[EQUIVARIANT].network, task.fits[EQUIVARIANT].data
        task = task._replace(representation=f"T{PLACES}: {network.hparams.fields} regular")
        generator = torch.Generator().manual_seed(seed)
        bank, queries = (drawn(part.tensors, ALL, generator) for part in (data.training, data.testing))
        rows += rows_of(task, bank, queries, seed)
        if name == SETS[0]:
            _pictures(task, bank, queries, seed, folder / PICTURES)
    return rows


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Neighbours by each map, for both sets."""
    rows = [row for part in found.values() for row in part]
    return [
        pictures.line_bars(
            {name: [row for row in rows if row.table == titles(name)[0]] for name in SETS},
            "kNN",
            "kNN accuracy on outlines that start elsewhere",
            folder / "accuracy.png",
        )
    ]


def expected(tables: list[Table]) -> list[Claim]:
    """The gap, the exact metric and the network's exactness, for both sets."""
    return [claim for name in SETS for claim in claims_of(name, tables)]


def headline(tables: list[Table]) -> list[Headline]:
    """Neighbours of raw and of projected latents of leaves."""
    return [headline_of(SETS[0], "accuracy of 5 nearest leaves for outlines that start elsewhere", tables)]


def _fitted(data_dir: str | None, name: str, seed: int, quick: bool, folder: Path) -> dict[str, Fitted]:
    """Both networks; that of the first set exports its encoder."""
    classes = int(read_outlines(data_dir, name)[1].max()) + 1
    common = {
        "data.data_dir": data_dir,
        "data.name": name,
        "model.classes": classes,
        "trainer.max_epochs": EPOCHS[quick],
        "trainer.check_val_every_n_epoch": max(EPOCHS[quick] // 3, 1),
    }
    silent = {"trainer.callbacks": []}
    first = {} if name == SETS[0] else silent
    return {
        EQUIVARIANT: fitted(RECIPE, folder, seed, common | first, name=f"{name}-equivariant"),
        ALONE: fitted(RECIPE, folder, seed, common | silent | {"model.head": "max"}, name=f"{name}-invariant"),
    }


def _pictures(task: Task, bank: Samples, queries: Samples, seed: int, folder: Path) -> None:
    moved = queries.moved(ACTION, ACTION.group, torch.Generator().manual_seed(seed))
    lines = {
        line.label: line.queries.rows
        for line in map_lines(task.fits[EQUIVARIANT].network.encoder, task.representation, bank, moved)
    }
    pictures.latents({"raw latents": lines[RAW], BEST: lines[BEST]}, moved.labels, folder)
