"""Recipe 1: what projections are worth on the latents of a C8-equivariant classifier of upright digits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tqdm.auto import tqdm

from benchmarks.paper import pictures
from benchmarks.paper.probing import Labelled, probe_accuracies, quotient_accuracy
from benchmarks.paper.recipes import Fitted, fitted
from benchmarks.paper.sections import Claim, Row
from lightning_invariant import projections as P
from lightning_invariant.groups import O2, SO2, Representation
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import equivariance_errors, holding_subgroup
from lightning_invariant.probes import accuracy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from benchmarks.paper.averages import Table

RECIPE = "rotated-mnist-c8"
TITLE = "Rotated MNIST: a C8-equivariant classifier trained on upright digits"
UPRIGHT, TURNED = "Probes fitted on upright digits", "Probes fitted on turned digits"
HEADS, ELEMENTS, HOLDS = "The networks' own classifiers", "Equivariance error by angle", "The symmetry that holds"
D4 = "The same with D4, queries turned and mirrored"
BEST, ALONE = "MaxFilter 1024", "invariant by itself"
SIZES = (32, 64, 256, 1024)
RANDOM = ("RandomFeatures", "MaxFilter", "SortedCoorbits")
COPIES = 8
"""Turned copies of each bank image for the probe that is augmented."""
LIMITS = (1e-3, 0.05, 0.3)
"""Equivariance errors, over the distance between different digits, up to which an angle is said to hold: rounding, what
the callback accepts where images are moved exactly, and the most that it lets interpolation excuse."""
NOTES = (
    "Queries are test digits turned bilinearly by uniformly drawn angles; the network was trained on upright digits.",
    "kNN: 5 neighbours. Ridge, logistic regression and an MLP of 128 hidden units are fitted on the same bank.",
    f"Raw, augmented probe: fitted on {COPIES} turned copies of each digit of the bank, without projection.",
    "Exact quotient metric: neighbours by the smallest distance over all eight elements, without projection.",
    "Invariant by itself: the same network with a maximum over each field before its classifier, trained likewise; the "
    "probes read those maxima. Below it stand its latents by a projection and by exact distance: what these win over "
    "the same lines above is due to the training, not to the map.",
    "Training times are those of the clock; that of the first network holds the callback's reports and the export.",
    "Equivariance errors are relative to the distance between latents of different digits. Beside them: how far images "
    "that are turned there and back move, which is what interpolation alone costs.",
)


class Sizes(NamedTuple):
    """How many images are trained on, in how many epochs; how many the probes and the callback's report see."""

    train: int
    epochs: int
    bank: int
    queries: int
    validation: int


FULL, QUICK = Sizes(50_000, 4, 10_000, 10_000, 2000), Sizes(3000, 2, 1000, 1000, 500)


class Digits(NamedTuple):
    """Images and labels of the bank and of the queries, as they come and turned."""

    bank: Tensor
    bank_labels: Tensor
    turned_bank: Tensor
    copies: Tensor
    upright: Tensor
    queries: Tensor
    labels: Tensor


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """All tables of one seed."""
    sizes = QUICK if quick else FULL
    changes: dict[str, Any] = {
        "data.data_dir": data_dir,
        "data.train_size": sizes.train,
        "data.validation_size": sizes.validation,
        "trainer.max_epochs": sizes.epochs,
    }
    plain = fitted(RECIPE, folder, seed, changes)
    alone = {**changes, "trainer.callbacks": []}
    invariant = fitted(RECIPE, folder, seed, {**alone, "model.invariant": True}, name="invariant")
    mirrored = fitted(RECIPE, folder, seed, {**alone, "model.group": "D4"}, name="d4")
    digits = _digits(plain, sizes, seed)
    return [
        *_probes(plain.network, invariant.network, digits, seed),
        *_heads({"equivariant": plain, ALONE: invariant, "equivariant, D4": mirrored}, digits),
        *_elements(plain.network, digits),
        *_mirrored(mirrored.network, digits, seed),
    ]


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Accuracy against feature size, and the equivariance error by angle."""
    rows = [row for part in found.values() for row in part]
    sized = [row for row in rows if row.table == UPRIGHT]
    return [
        pictures.against_size(sized, "size", "kNN", RANDOM, folder / "accuracy_against_size.png"),
        pictures.bars(
            [row for row in rows if row.table == ELEMENTS], "error", LIMITS[1], folder / "equivariance_error.png"
        ),
    ]


def expected(tables: list[Table]) -> list[Claim]:
    """Projected latents beat raw ones, and lose little against exact distances and an invariant architecture."""
    upright = next(table for table in tables if table.title == UPRIGHT)
    projected, raw, exact, alone = (
        upright.mean(label, "kNN") for label in (BEST, "raw", "exact quotient metric", ALONE)
    )
    return [
        Claim(f"kNN of {BEST} at least 0.25 above raw", f"{projected - raw:+.3f}", projected >= raw + 0.25),
        Claim(f"kNN of {BEST} within 0.02 of the exact metric", f"{projected - exact:+.3f}", projected >= exact - 0.02),
        Claim(
            f"kNN of {BEST} within 0.02 of the invariant architecture",
            f"{projected - alone:+.3f}",
            projected >= alone - 0.02,
        ),
    ]


def _digits(fit: Fitted, sizes: Sizes, seed: int) -> Digits:
    generator = torch.Generator().manual_seed(seed)
    bank, bank_labels = (column[: sizes.bank] for column in fit.data.training.tensors)
    upright, labels = (column[: sizes.queries] for column in fit.data.testing.tensors)
    turn = partial(_turned, generator=generator)
    copies = torch.cat([bank, *(turn(bank) for _ in range(COPIES - 1))])
    return Digits(bank, bank_labels, turn(bank), copies, upright, turn(upright), labels)


def _turned(x: Tensor, generator: torch.Generator, *, mirrored: bool = False) -> Tensor:
    group = O2() if mirrored else SO2()
    return ImageAction(group).move(x, group.sample(len(x), generator))


def _encoded(network: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([network.encoder(part).flatten(1) for part in x.split(256)])


def _probes(plain: Any, invariant: Any, digits: Digits, seed: int) -> list[Row]:
    text = f"C8: {plain.hparams.fields} regular"
    upright = Labelled(_encoded(plain, digits.bank), digits.bank_labels)
    turned = Labelled(_encoded(plain, digits.turned_bank), digits.bank_labels)
    copies = Labelled(_encoded(plain, digits.copies), digits.bank_labels.repeat(COPIES))
    queries = Labelled(_encoded(plain, digits.queries), digits.labels)
    easy = Labelled(_encoded(plain, digits.upright), digits.labels)
    rows = [
        _row(UPRIGHT, "raw, queries upright too", probe_accuracies(upright, [easy], seed)[0], text),
        _row(UPRIGHT, "raw, augmented probe", probe_accuracies(copies, [queries], seed)[0], text),
    ]
    for table, bank in ((UPRIGHT, upright), (TURNED, turned)):
        rows.append(_row(table, "raw", probe_accuracies(bank, [queries], seed)[0], text))
        rows.append(_row(table, "exact quotient metric", {"kNN": quotient_accuracy(text, bank, queries)}, text))
        for label, project in tqdm(_maps(text, seed), desc=f"{RECIPE}: {table}", leave=False):
            scores = probe_accuracies(bank.mapped(project), [queries.mapped(project)], seed)[0]
            rows.append(_row(table, label, scores, text, project.out_features))
    return rows + _alone(invariant, digits, seed)


def _alone(network: Any, digits: Digits, seed: int) -> list[Row]:
    """The invariant architecture by its own features, and its latents by projection and exact distance."""
    text = f"C8: {network.hparams.fields} regular"
    queries, rows = Labelled(_encoded(network, digits.queries), digits.labels), []
    maps = {ALONE: P.ChannelMax(text), f"{ALONE}: {BEST}": dict(_maps(text, seed))[BEST]}
    for table, images in ((UPRIGHT, digits.bank), (TURNED, digits.turned_bank)):
        bank = Labelled(_encoded(network, images), digits.bank_labels)
        for label, project in maps.items():
            scores = probe_accuracies(bank.mapped(project), [queries.mapped(project)], seed)[0]
            rows.append(_row(table, label, scores, text, project.out_features))
        exact = quotient_accuracy(text, bank, queries)
        rows.append(_row(table, f"{ALONE}: exact quotient metric", {"kNN": exact}, text))
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


def _row(table: str, label: str, scores: dict[str, float], text: str, size: int | None = None) -> Row:
    return Row(table, label, scores, {"size": Representation.parse(text).size if size is None else size})


def _heads(fits: dict[str, Fitted], digits: Digits) -> list[Row]:
    """Accuracy of the classifiers that the networks were trained with, and what the training took."""
    rows = []
    for label, fit in fits.items():
        with torch.no_grad():
            found = {
                name: accuracy(torch.cat([fit.network(part).argmax(1) for part in x.split(256)]), digits.labels)
                for name, x in (("upright", digits.upright), ("turned", digits.queries))
            }
        rows.append(Row(HEADS, label, {**found, "training, s": fit.seconds}))
    return rows


def _elements(network: Any, digits: Digits) -> list[Row]:
    """The error of each element, and the order of the subgroup that holds."""
    representation = Representation.parse(f"C8: {network.hparams.fields} regular")
    group, x = representation.group, digits.upright[:500]
    z, action = _encoded(network, x), ImageAction(group)
    rows, errors = [], {}
    for g in group.elements()[1:]:
        every = g.expand(len(x))
        errors |= equivariance_errors(_encoded(network, action.move(x, every)), z, representation, every)
        values = {"error": errors[group.label(g)], "images turned there and back": action.round_trip_error(x, every)}
        rows.append(Row(ELEMENTS, group.label(g), values))
    orders = {f"error at most {limit:g}": holding_subgroup(errors, group, limit) for limit in LIMITS}
    return rows + [Row(HOLDS, name, {"rotations that hold": float(_order(found))}) for name, found in orders.items()]


def _order(name: str) -> int:
    return int(name[1:]) if name[1:].isdigit() else 1


def _mirrored(network: Any, digits: Digits, seed: int) -> list[Row]:
    text = f"D4: {network.hparams.fields} regular"
    moved = _turned(digits.upright, torch.Generator().manual_seed(seed), mirrored=True)
    bank = Labelled(_encoded(network, digits.bank), digits.bank_labels)
    queries = Labelled(_encoded(network, moved), digits.labels)
    rows = [
        _row(D4, "raw", probe_accuracies(bank, [queries], seed)[0], text),
        _row(D4, "exact quotient metric", {"kNN": quotient_accuracy(text, bank, queries)}, text),
    ]
    maps: dict[str, Callable[[Tensor], Tensor] | Any] = {
        "mean": P.OrbitMean(text),
        "channel-wise max": P.ChannelMax(text),
        "MaxFilter 1024": P.MaxFilter(text, 1024, seed),
        "SortedCoorbits 1024": P.SortedCoorbits(text, 1024, seed),
    }
    for label, project in maps.items():
        scores = probe_accuracies(bank.mapped(project), [queries.mapped(project)], seed)[0]
        rows.append(_row(D4, label, scores, text, project.out_features))
    return rows
