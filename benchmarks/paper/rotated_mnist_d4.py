"""Recipe 1 with reflections: what projections are worth on the latents of a D4-equivariant classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.paper import pictures
from benchmarks.paper.probing import Labelled, probe_accuracies, quotient_accuracy
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import encoded, fitted
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.turned_digits import (
    ELEMENTS,
    FULL,
    LIMITS,
    QUICK,
    digits_of,
    elements,
    heads,
    score_row,
)
from lightning_invariant import projections as P

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchmarks.paper.averages import Table
    from benchmarks.paper.turned_digits import Digits

RECIPE = "rotated-mnist-d4"
TITLE = "Rotated and mirrored MNIST: a D4-equivariant classifier trained on upright digits"
TABLE = "Probes fitted on upright digits, queries turned and mirrored"
BEST, SIZE = "MaxFilter 1024", 1024
ASKED = "accuracy of 5 nearest upright digits on turned and mirrored ones"
NOTES = (
    "Queries are test digits turned bilinearly by uniformly drawn angles, half of them mirrored; some mirrored digits "
    "are no digits. The network was trained on upright ones.",
    "Probes and columns are those of rotated-mnist-c8. D4 turns by quarters only; angles between them were never seen "
    "in training.",
)


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """All tables of one seed."""
    sizes = QUICK if quick else FULL
    fit = fitted(RECIPE, folder, seed, sizes.changes(data_dir))
    digits = digits_of(fit.data, sizes, seed, mirrored=True)
    text = f"D4: {fit.network.hparams.fields} regular"
    z, z_query = (encoded(fit.network.encoder, x) for x in (digits.bank, digits.queries))
    best = P.MaxFilter(text, SIZE, seed)
    pictures.latents({"raw latents": z_query, BEST: best(z_query)}, digits.labels, folder / PICTURES)
    return [
        *_probes(z, z_query, digits, text, seed),
        *heads({"equivariant": fit}, digits),
        *elements(fit.network, text, digits.upright),
    ]


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """The equivariance error of each element."""
    rows = [row for part in found.values() for row in part if row.table == ELEMENTS]
    return [pictures.bars(rows, "error", LIMITS[1], folder / "equivariance_error.png")]


def expected(tables: list[Table]) -> list[Claim]:
    """Projected latents beat raw ones, and lose little against exact distances."""
    probes = next(table for table in tables if table.title == TABLE)
    projected, raw, exact = (probes.mean(label, "kNN") for label in (BEST, "raw", "exact quotient metric"))
    return [
        Claim(f"kNN of {BEST} at least 0.25 above raw", f"{projected - raw:+.3f}", projected >= raw + 0.25),
        Claim(f"kNN of {BEST} within 0.02 of the exact metric", f"{projected - exact:+.3f}", projected >= exact - 0.02),
    ]


def headline(tables: list[Table]) -> list[Headline]:
    """Neighbours of raw and of projected latents."""
    probes = next(table for table in tables if table.title == TABLE)
    return [Headline(ASKED, *(probes.cell(label, "kNN") for label in ("raw", BEST)))]


def _probes(z: Tensor, z_query: Tensor, digits: Digits, text: str, seed: int) -> list[Row]:
    bank, queries = Labelled(z, digits.bank_labels), Labelled(z_query, digits.labels)
    rows = [
        score_row(TABLE, "raw", probe_accuracies(bank, [queries], seed)[0], text),
        score_row(TABLE, "exact quotient metric", {"kNN": quotient_accuracy(text, bank, queries)}, text),
    ]
    maps = {
        "mean": P.OrbitMean(text),
        "channel-wise max": P.ChannelMax(text),
        BEST: P.MaxFilter(text, SIZE, seed),
        f"SortedCoorbits {SIZE}": P.SortedCoorbits(text, SIZE, seed),
    }
    for label, project in maps.items():
        scores = probe_accuracies(bank.mapped(project), [queries.mapped(project)], seed)[0]
        rows.append(score_row(TABLE, label, scores, text, project.out_features))
    return rows
