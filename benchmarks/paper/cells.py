"""Cells, or other images of which those of one group are alike: what projections are worth, with many labels and few.

The networks are trained on images as they lie; probes are fitted on latents of training images as they lie, and asked
about test images of other groups that random elements of D8 transform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tqdm.auto import tqdm

from benchmarks.paper import pictures
from benchmarks.paper.averages import mean_of
from benchmarks.paper.class_probes import (
    ALONE,
    BEST,
    EXACT,
    MAXIMUM,
    MEAN,
    RAW,
    Answers,
    Line,
    Samples,
    alone_lines,
    answered,
    answers,
    drawn,
    gap_row,
    line_rows,
    map_lines,
    scores,
)
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import encoded, fitted
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.turned_digits import ELEMENTS, LIMITS, elements
from lightning_invariant import projections as P
from lightning_invariant.groups import O2, Dihedral
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.zoo.grouped_images import read_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.paper.averages import Table
    from benchmarks.paper.recipes import Fitted
    from lightning_invariant.groups import Group

RECIPE = "cells-o2"
TITLE = "Red blood cells in 13 classes: convolutions equivariant under D8, trained on cells as they lie, split by smear"
ALL, GAPS, MOVES = (
    "All labels",
    "Projected minus raw latents, with the 95% interval over groups",
    "share of the variance that moves",
)
KINDS, HEADS = "kNN accuracy by what transforms the queries", "The networks' own classifiers"
EQUIVARIANT, THROUGH, AUGMENTED = "equivariant", "trained through the projection", "CNN trained with augmentation"
SIDE, GROUP = 48, Dihedral(8)
LABELS = (5, 20, 100)
NETWORKS: dict[str, dict[str, Any]] = {
    EQUIVARIANT: {},
    ALONE: {"model.head": "max"},
    AUGMENTED: {"model.group": None, "model.augment": True},
    THROUGH: {"model.head": "projection"},
}
NOTES = (
    "Training, validation and test images come from different groups (smears); every seed splits them anew. Queries "
    "are test images, each transformed by a random element of D8: turned by a multiple of 45 degrees, half of them "
    "mirrored; the bank holds training images as they lie.",
    "Balanced: the mean over classes. kNN: 5 neighbours; precision at 10: share of the 10 nearest that are of the "
    "query's class. The penalty of the ridge is chosen by leaving out groups of the bank.",
    "Exact quotient metric: neighbours by the smallest distance over all sixteen elements, without projection.",
    f"'{ALONE}' is the same network with a maximum over each field before its classifier, trained likewise; the probes "
    "read those maxima. Below it stand its latents by projection and by exact distance: what these win over the same "
    "lines above is due to the training, not to the map.",
    f"'{THROUGH}' has the max filter itself before its classifier. '{AUGMENTED}' has ordinary convolutions with as "
    "many channels, a latent of the same size, and 33 times as many weights.",
    "Other sets than Chula-RBC-12 run through the same command: an .npz file with images, labels and groups.",
)


class Sizes(NamedTuple):
    """How many images are trained and validated on (None for all), in how many epochs; sizes of bank and queries."""

    train: int | None
    validation: int
    epochs: int
    bank: int
    queries: int


FULL, QUICK = Sizes(None, 2000, 8, 6000, 4000), Sizes(640, 200, 2, 500, 250)


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """All tables of one seed."""
    sizes = QUICK if quick else FULL
    fits = _fitted(data_dir, seed, sizes, folder)
    network, data = fits[EQUIVARIANT].network, fits[EQUIVARIANT].data
    generator = torch.Generator().manual_seed(seed)
    bank, queries = (
        drawn(part.tensors, count, generator)
        for part, count in ((data.training, sizes.bank), (data.testing, sizes.queries))
    )
    moved = queries.moved(ImageAction(GROUP), GROUP, generator)
    text = f"{GROUP}: {network.hparams.fields} regular"
    lines = _lines(fits, bank, moved, text)
    known, easy = lines[0].bank, queries.encoded(network.encoder)
    rows = [
        Row(
            ALL,
            f"{RAW}, queries as they lie too",
            scores(answers(known, easy), easy.labels),
            {"size": easy.rows.shape[1]},
        )
    ]
    found = answered(lines)
    rows += line_rows(ALL, lines, found)
    rows.append(gap_row(GAPS, "all labels", found[BEST], found[RAW], lines[0].queries))
    for count in tqdm(LABELS, desc=f"{RECIPE}: labels", leave=False):
        rows += _few(lines, count, generator)
    rows += _by_kind(fits, lines, queries, text, generator)
    shown = {line.label: line.queries.rows for line in lines}
    maps = {"raw latents": shown[RAW], BEST: shown[BEST]}
    pictures.latents(maps, moved.labels, folder / PICTURES)
    return rows + _heads(fits, queries, moved) + elements(network, text, queries.x)


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Accuracy against labels a class, and the equivariance error of each element."""
    rows = [row for part in found.values() for row in part]
    curves: dict[str, list[tuple[float, Any]]] = {}
    for label in (RAW, BEST, MEAN, EXACT, MAXIMUM, ALONE):
        for count in LABELS:
            lines = [row for row in rows if (row.table, row.label) == (few_title(count), label)]
            mean = mean_of([line.values["kNN"] for line in lines])
            curves.setdefault(label, []).append((float(count), mean))
    axis, path = "labelled images of each class", folder / "accuracy_against_labels.png"
    errors = [row for row in rows if row.table == ELEMENTS]
    return [
        pictures.against_samples(curves, axis, "kNN accuracy", path, log=False),
        pictures.bars(errors, "error", LIMITS[1], folder / "equivariance_error.png"),
    ]


def expected(tables: list[Table]) -> list[Claim]:
    """The gap at every number of labels, the exact metric, and where an invariant architecture's lead comes from."""
    full, gaps = (next(table for table in tables if table.title == title) for title in (ALL, GAPS))
    claims = []
    for line in gaps.lines:
        lower = gaps.cell(line, "kNN gap from")
        text = f"{line}: the interval of the kNN gap excludes 0 in every seed"
        ends = ", ".join(f"{value:+.3f}" for value in lower.values)
        claims.append(Claim(text, f"gap {gaps.mean(line, 'kNN gap'):+.3f}, lower ends {ends}", min(lower.values) > 0))
    middle = gaps.mean(few_title(20), "kNN gap")
    ridge = full.mean(BEST, "ridge") - full.mean(RAW, "ridge")
    exact = full.mean(BEST, "kNN") - full.mean(EXACT, "kNN")
    lead = full.mean(ALONE, "kNN") - full.mean(BEST, "kNN")
    same = full.mean(f"{ALONE}: {BEST}", "kNN") - full.mean(ALONE, "kNN")
    return [
        *claims,
        Claim("kNN gap at 20 labels a class at least +0.05", f"{middle:+.3f}", middle >= 0.05),
        Claim("ridge gap with all labels at least +0.08", f"{ridge:+.3f}", ridge >= 0.08),
        Claim(f"kNN of {BEST} equal to the exact metric within 0.01", f"{exact:+.3f}", abs(exact) <= 0.01),
        Claim(f"an architecture {ALONE} leads {BEST} by 0.04 to 0.05 in kNN", f"{lead:+.3f}", 0.04 <= lead <= 0.05),
        Claim(
            f"what it leads by is its training, not the map: {BEST} of its latents is within 0.01 of its own features, "
            "or above",
            f"{same:+.3f}",
            same >= -0.01,
        ),
    ]


def headline(tables: list[Table]) -> list[Headline]:
    """Ridge with all labels, and neighbours with 20 labels a class."""
    found = {table.title: table for table in tables}
    few, full = found[few_title(20)], found[ALL]
    return [
        Headline(
            "accuracy of a ridge on transformed cells of other smears",
            full.cell(RAW, "ridge"),
            full.cell(BEST, "ridge"),
        ),
        Headline("accuracy of 5 nearest of 20 cells a class", few.cell(RAW, "kNN"), few.cell(BEST, "kNN")),
    ]


def _fitted(data_dir: str | None, seed: int, sizes: Sizes, folder: Path) -> dict[str, Fitted]:
    """The four networks; the first, which is the recipe itself, exports its encoder."""
    classes = int(read_images(data_dir, SIDE).labels.max()) + 1
    common = {
        "data.data_dir": data_dir,
        "data.side": SIDE,
        "data.train_size": sizes.train,
        "data.validation_size": sizes.validation,
        "model.classes": classes,
        "trainer.max_epochs": sizes.epochs,
    }
    fits: dict[str, Fitted] = {}
    for label, changes in NETWORKS.items():
        own: dict[str, Any] = {"trainer.callbacks": []} if fits else {}
        fits[label] = fitted(
            RECIPE, folder, seed, {**common, **changes, **own}, name=label.replace(",", "").replace(" ", "-")
        )
    return fits


def few_title(count: int) -> str:
    return f"{count} labels a class"


def _lines(fits: dict[str, Fitted], bank: Samples, moved: Samples, text: str) -> list[Line]:
    """One for each map of each network's latents."""
    lines = map_lines(fits[EQUIVARIANT].network.encoder, text, bank, moved)
    lines += alone_lines(fits[ALONE].network.encoder, text, bank, moved)
    for name in (THROUGH, AUGMENTED):
        network = fits[name].network
        known, asked = (part.encoded(network.encoder).mapped(network.project) for part in (bank, moved))
        lines.append(Line(name, known, asked))
    return lines


def _few(lines: Sequence[Line], count: int, generator: torch.Generator) -> list[Row]:
    """The same with so many labels of each class, or all of a class that has fewer."""
    labels = lines[0].bank.labels
    order = torch.randperm(len(labels), generator=generator)
    rows = torch.cat([order[labels[order] == label][:count] for label in labels.unique()])
    few = [line._replace(bank=line.bank.at(rows)) for line in lines]
    found = {label: one._replace(near=None) for label, one in answered(few).items()}
    title = few_title(count)
    return [*line_rows(title, few, found), gap_row(GAPS, title, found[BEST], found[RAW], lines[0].queries)]


def _by_kind(
    fits: dict[str, Fitted], lines: Sequence[Line], queries: Samples, text: str, generator: torch.Generator
) -> list[Row]:
    """Neighbours of queries as they lie, and under ever larger groups."""
    kinds = {"as they lie": queries}
    named: tuple[tuple[str, Group], ...] = (
        ("quarter turns and flips, exact", Dihedral(4)),
        ("elements of D8", GROUP),
        ("any angle, half mirrored", O2()),
    )
    for kind, group in named:
        kinds[kind] = queries.moved(ImageAction(group), group, generator)  # pyright: ignore[reportArgumentType]
    banks = {line.label: line.bank for line in lines}
    sources = {EQUIVARIANT: {RAW: None, BEST: P.MaxFilter(text, 512)}, ALONE: {ALONE: P.ChannelMax(text)}}
    values: dict[str, dict[str, float]] = {}
    for name, maps in {**sources, AUGMENTED: {AUGMENTED: None}}.items():
        for kind, part in kinds.items():
            asked = part.encoded(fits[name].network.encoder)
            for label, project in maps.items():
                found = answers(banks[label], asked.mapped(project), ridge=False)
                values.setdefault(label, {})[kind] = scores(found, asked.labels)["kNN"]
    return [Row(KINDS, label, found) for label, found in values.items()]


def _heads(fits: dict[str, Fitted], queries: Samples, moved: Samples) -> list[Row]:
    """Accuracy of the classifiers that the networks were trained with."""
    rows = []
    for label, fit in fits.items():
        found = {}
        for name, part in (("as they lie", queries), ("transformed", moved)):
            guess = encoded(fit.network, part.x).argmax(dim=1)
            own = scores(Answers(guess, None, None), part.labels)
            found |= {name: own["kNN"], f"{name}, balanced": own["kNN, balanced"]}
        rows.append(Row(HEADS, label, found))
    return rows
