"""Recipe 1: what projections are worth on the latents of a C8-equivariant classifier of upright digits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from benchmarks.paper import pictures
from benchmarks.paper.linear_invariants import LinearInvariants
from benchmarks.paper.probing import Labelled, probe_accuracies, quotient_accuracy
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import encoded, fitted
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.turned_digits import (
    ASKED,
    COPIES,
    ELEMENTS,
    FULL,
    LIMITS,
    QUICK,
    Digits,
    digits_of,
    elements,
    heads,
    score_row,
)
from lightning_invariant import projections as P

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.paper.averages import Table

RECIPE = "rotated-mnist-c8"
TITLE = "Rotated MNIST: a C8-equivariant classifier trained on upright digits"
UPRIGHT, TURNED = "Probes fitted on upright digits", "Probes fitted on turned digits"
BEST, ALONE = "MaxFilter 1024", "invariant by itself"
SIZES = (32, 64, 256, 1024)
RANDOM = ("RandomFeatures", "MaxFilter", "SortedCoorbits")
LINEAR = "LinearInvariants"
NOTES = (
    "Queries are test digits turned bilinearly by uniformly drawn angles; the network was trained on upright digits.",
    "kNN: 5 neighbours. Ridge, logistic regression and an MLP of 128 hidden units are fitted on the same bank.",
    f"Raw, augmented probe: fitted on {COPIES} turned copies of each digit of the bank, without projection.",
    "Exact quotient metric: neighbours by the smallest distance over all eight elements, without projection.",
    f"{LINEAR}: what the paper projects with, random invariant linear maps of the feature map before the last layer "
    "pools it (7 x 7 positions), where ours read the pooled latent of 256 numbers.",
    "Invariant by itself: the same network with a maximum over each field before its classifier, trained likewise; the "
    "probes read those maxima. Below it stand its latents by a projection and by exact distance: what these win over "
    "the same lines above is due to the training, not to the map.",
    "Equivariance errors are relative to the distance between latents of different digits. Beside them: how far images "
    "that are moved there and back change, which is what interpolation alone costs.",
)


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """All tables of one seed."""
    sizes = QUICK if quick else FULL
    changes = sizes.changes(data_dir)
    plain = fitted(RECIPE, folder, seed, changes)
    alone = {**changes, "trainer.callbacks": [], "model.invariant": True}
    invariant = fitted(RECIPE, folder, seed, alone, name="invariant")
    digits = digits_of(plain.data, sizes, seed)
    text = f"C8: {plain.network.hparams.fields} regular"
    z = encoded(plain.network.encoder, digits.queries)
    pictures.latents({"raw latents": z, BEST: dict(_maps(text, seed))[BEST](z)}, digits.labels, folder / PICTURES)
    return [
        *_probes(plain.network, invariant.network, digits, seed),
        *heads({"equivariant": plain, ALONE: invariant}, digits),
        *elements(plain.network, text, digits.upright),
    ]


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Accuracy against feature size, and the equivariance error by angle."""
    rows = [row for part in found.values() for row in part]
    sized = [row for row in rows if row.table == UPRIGHT]
    return [
        pictures.against_size(sized, "size", "kNN", (*RANDOM, LINEAR), folder / "accuracy_against_size.png"),
        pictures.bars(
            [row for row in rows if row.table == ELEMENTS], "error", LIMITS[1], folder / "equivariance_error.png"
        ),
    ]


def expected(tables: list[Table]) -> list[Claim]:
    """Projected latents beat raw ones, and lose little against exact distances and an invariant architecture."""
    upright = next(table for table in tables if table.title == UPRIGHT)
    projected, raw, exact, alone, linear = (
        upright.mean(label, "kNN") for label in (BEST, "raw", "exact quotient metric", ALONE, f"{LINEAR} {max(SIZES)}")
    )
    return [
        Claim(f"kNN of {BEST} at least 0.25 above raw", f"{projected - raw:+.3f}", projected >= raw + 0.25),
        Claim(f"kNN of {BEST} within 0.02 of the exact metric", f"{projected - exact:+.3f}", projected >= exact - 0.02),
        Claim(
            f"kNN of {BEST} within 0.02 of the invariant architecture",
            f"{projected - alone:+.3f}",
            projected >= alone - 0.02,
        ),
        Claim(
            f"kNN of {BEST} at least that of the paper's {LINEAR} of the same size",
            f"{projected - linear:+.3f}",
            projected >= linear,
        ),
    ]


def headline(tables: list[Table]) -> list[Headline]:
    """Neighbours of raw and of projected latents."""
    probes = next(table for table in tables if table.title == UPRIGHT)
    return [Headline(ASKED, *(probes.cell(label, "kNN") for label in ("raw", BEST)))]


def _probes(plain: Any, invariant: Any, digits: Digits, seed: int) -> list[Row]:
    text = f"C8: {plain.hparams.fields} regular"
    upright = Labelled(encoded(plain.encoder, digits.bank), digits.bank_labels)
    turned = Labelled(encoded(plain.encoder, digits.turned_bank), digits.bank_labels)
    copies = Labelled(encoded(plain.encoder, digits.copies), digits.bank_labels.repeat(COPIES))
    queries = Labelled(encoded(plain.encoder, digits.queries), digits.labels)
    easy = Labelled(encoded(plain.encoder, digits.upright), digits.labels)
    rows = [
        score_row(UPRIGHT, "raw, queries upright too", probe_accuracies(upright, [easy], seed)[0], text),
        score_row(UPRIGHT, "raw, augmented probe", probe_accuracies(copies, [queries], seed)[0], text),
    ]
    for table, bank in ((UPRIGHT, upright), (TURNED, turned)):
        rows.append(score_row(table, "raw", probe_accuracies(bank, [queries], seed)[0], text))
        rows.append(score_row(table, "exact quotient metric", {"kNN": quotient_accuracy(text, bank, queries)}, text))
        for label, project in tqdm(_maps(text, seed), desc=f"{RECIPE}: {table}", leave=False):
            scores = probe_accuracies(bank.mapped(project), [queries.mapped(project)], seed)[0]
            rows.append(score_row(table, label, scores, text, project.out_features))
    return rows + _linear(plain, digits, seed) + _alone(invariant, digits, seed)


def _linear(network: Any, digits: Digits, seed: int) -> list[Row]:
    """The paper's own projection: the first of its random maps for each size."""
    largest = LinearInvariants(network.encoder, network.hparams.group, max(SIZES), seed)
    queries, rows = encoded(largest, digits.queries), []
    for table, images in ((UPRIGHT, digits.bank), (TURNED, digits.turned_bank)):
        bank = encoded(largest, images)
        for size in SIZES:
            known, asked = Labelled(bank[:, :size], digits.bank_labels), Labelled(queries[:, :size], digits.labels)
            scores = probe_accuracies(known, [asked], seed)[0]
            rows.append(score_row(table, f"{LINEAR} {size}", scores, network.hparams.group, size))
    return rows


def _alone(network: Any, digits: Digits, seed: int) -> list[Row]:
    """The invariant architecture by its own features, and its latents by projection and exact distance."""
    text = f"C8: {network.hparams.fields} regular"
    queries, rows = Labelled(encoded(network.encoder, digits.queries), digits.labels), []
    maps = {ALONE: P.ChannelMax(text), f"{ALONE}: {BEST}": dict(_maps(text, seed))[BEST]}
    for table, images in ((UPRIGHT, digits.bank), (TURNED, digits.turned_bank)):
        bank = Labelled(encoded(network.encoder, images), digits.bank_labels)
        for label, project in maps.items():
            scores = probe_accuracies(bank.mapped(project), [queries.mapped(project)], seed)[0]
            rows.append(score_row(table, label, scores, text, project.out_features))
        exact = quotient_accuracy(text, bank, queries)
        rows.append(score_row(table, f"{ALONE}: exact quotient metric", {"kNN": exact}, text))
    return rows


def _maps(text: str, seed: int) -> list[tuple[str, P.Projection]]:
    """The projections that are compared, by their label."""
    fixed = {
        "mean": P.OrbitMean(text),
        "channel-wise max": P.ChannelMax(text),
        "channel-wise norm": P.ChannelNorm(text),
    }
    sized = [
        (
            f"{name} {size}",
            P.Projection.from_config({"name": name, "representation": text, "out_features": size, "seed": seed}),
        )
        for name in RANDOM
        for size in SIZES
    ]
    return [*fixed.items(), *sized]
