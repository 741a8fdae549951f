"""Recipe 3: networks that know rotations only as an augmentation, and sampled orbit means and maxima."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tqdm.auto import tqdm

from benchmarks.paper import pictures
from benchmarks.paper.averages import mean_of
from benchmarks.paper.probing import Labelled, probe_accuracies
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import Fitted, fitted
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.turned_digits import ASKED, of_set
from lightning_invariant import projections as P
from lightning_invariant.groups import SO2
from lightning_invariant.groups.actions import ImageAction, mean_distance
from lightning_invariant.metrics import invariance_error

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from benchmarks.paper.averages import Table

RECIPE = "augmented-cnn"
TITLE = "Augmented MNIST: an ordinary CNN and a small vision transformer, with and without random turns in training"
NETWORKS = {
    "CNN, trained on turned digits": {"model.backbone": "cnn", "model.augment": True},
    "CNN, trained on upright digits": {"model.backbone": "cnn", "model.augment": False},
    "ViT, trained on turned digits": {"model.backbone": "vit", "model.augment": True},
    "ViT, trained on upright digits": {"model.backbone": "vit", "model.augment": False},
}
SAMPLES = (1, 2, 4, 8, 16, 32)
MAPS = {"mean": P.SampledMean, "max": P.SampledMax}
RESIDUAL, ERROR = "residual", "invariance error"
CHUNK = 64


class Sizes(NamedTuple):
    """How many images are trained on, in how many epochs; how many the probes and the callback's report see."""

    train: int
    epochs: int
    transformer_epochs: int
    bank: int
    queries: int
    validation: int


FULL, QUICK = Sizes(12_000, 6, 10, 2000, 2000, 2000), Sizes(3000, 3, 3, 400, 400, 500)
NOTES = (
    f"In full the CNN is trained for {FULL.epochs} epochs and the transformer for {FULL.transformer_epochs}; in the "
    f"quick run both for {QUICK.epochs}, too short for the transformer: its latents tell little of any digit.",
    "Queries are test digits turned by angles drawn uniformly from all; probes are fitted on upright digits. For "
    "'mean of K' and 'max of K' every image of both, as it is, is turned by K random angles once more.",
    "Residual: the standard error that the projection states (jackknife over the K transforms), over the mean distance "
    "between the features of different digits; there is none for K = 1.",
    "Invariance error: how far the features of the turned digit are from those of the upright one, over the same "
    "distance; 1 is as far as another digit.",
)


class Latents(NamedTuple):
    """Latents of one network for one set of images: as they come (N, D) and of K transforms (N, K, D)."""

    single: Tensor
    sampled: Tensor


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """One table a network."""
    sizes = QUICK if quick else FULL
    fits = _fitted(data_dir, seed, sizes, folder)
    networks, data = {label: fit.network for label, fit in fits.items()}, next(iter(fits.values())).data
    generator = torch.Generator().manual_seed(seed)
    bank, bank_labels = (column[: sizes.bank] for column in data.training.tensors)
    upright, labels = (column[: sizes.queries] for column in data.testing.tensors)
    turned = _turned(upright, generator)
    found = [_latents(networks, x, generator) for x in (bank, upright, turned)]
    shown = found[-1][next(iter(networks))]
    maps = {"raw latents": shown.single, f"mean of {max(SAMPLES)} turns": shown.sampled.mean(dim=1)}
    pictures.latents(maps, labels, folder / PICTURES)
    return [
        row
        for label in tqdm(networks, desc=f"{RECIPE}: probes", leave=False)
        for row in _rows(label, *(part[label] for part in found), bank_labels, labels, seed)
    ]


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Residual and accuracy against the number of transforms."""
    axis = "sampled transforms K"
    return [
        pictures.against_samples(
            _curves(found, RESIDUAL), axis, "residual over distance of digits", folder / "residual.png", log=True
        ),
        pictures.against_samples(
            _curves(found, "kNN"),
            axis,
            "kNN accuracy on turned digits",
            folder / "accuracy_against_samples.png",
            log=False,
        ),
    ]


def expected(tables: list[Table]) -> list[Claim]:
    """The residual falls with K, and projected latents beat raw ones, for each network."""
    most, claims = f"mean of {max(SAMPLES)}", []
    for table in tables:
        residuals = [table.mean(f"mean of {count}", RESIDUAL) for count in SAMPLES if count > 1]
        falling = all(later < earlier for earlier, later in pairwise(residuals))
        gap = table.mean(most, "kNN") - table.mean("raw", "kNN")
        path = " to ".join(f"{value:.3f}" for value in (residuals[0], residuals[-1]))
        claims.append(Claim(f"{table.title}: the residual of the mean falls at every step of K", path, falling))
        claims.append(Claim(f"{table.title}: kNN of the {most} above raw", f"{gap:+.3f}", gap > 0))
    return claims


def headline(tables: list[Table]) -> list[Headline]:
    """Neighbours of raw latents and of their means over turns."""
    most = f"mean of {max(SAMPLES)}"
    return [
        Headline(f"{ASKED}; {table.title}", *(table.cell(label, "kNN") for label in ("raw", most))) for table in tables
    ]


def _fitted(data_dir: str | None, seed: int, sizes: Sizes, folder: Path) -> dict[str, Fitted]:
    """The four networks; the first, which is the recipe itself, exports its encoder."""
    common = of_set(data_dir, sizes.train, sizes.validation) | {"trainer.max_epochs": sizes.epochs}
    fits: dict[str, Fitted] = {}
    for label, changes in NETWORKS.items():
        own: dict[str, Any] = {"trainer.callbacks": []} if fits else {}
        if changes["model.backbone"] == "vit":
            own["trainer.max_epochs"] = sizes.transformer_epochs
        name = f"{changes['model.backbone']}-{'turned' if changes['model.augment'] else 'upright'}"
        fits[label] = fitted(RECIPE, folder, seed, {**common, **changes, **own}, name=name)
    return fits


def _curves(found: dict[int, list[Row]], column: str) -> dict[str, list[tuple[float, Any]]]:
    rows = [row for part in found.values() for row in part]
    curves = {}
    for network in NETWORKS:
        for kind in MAPS:
            means = []
            for count in SAMPLES:
                lines = [
                    r for r in rows if r.table == network and r.label == f"{kind} of {count}" and column in r.values
                ]
                means += [(float(count), mean_of([line.values[column] for line in lines]))] if lines else []
            curves[f"{network.replace('trained on ', '').replace(' digits', '')}, {kind}"] = means
    return {name: points for name, points in curves.items() if points}


def _turned(x: Tensor, generator: torch.Generator) -> Tensor:
    return ImageAction(SO2()).transform(x, SO2().sample(len(x), generator))


def _latents(networks: dict[str, Any], x: Tensor, generator: torch.Generator) -> dict[str, Latents]:
    """Latents of every network for the same images and the same transforms of them."""
    count = max(SAMPLES)
    singles: dict[str, list[Tensor]] = {label: [] for label in networks}
    sampled: dict[str, list[Tensor]] = {label: [] for label in networks}
    with torch.no_grad():
        for part in tqdm(x.split(CHUNK), desc=f"{RECIPE}: {count} transforms", leave=False):
            moved = _turned(part.repeat_interleave(count, dim=0), generator)
            for label, network in networks.items():
                singles[label].append(network.encoder(part))
                z = torch.cat([network.encoder(few) for few in moved.split(512)])
                sampled[label].append(z.unflatten(0, (len(part), count)))
    return {label: Latents(torch.cat(singles[label]), torch.cat(sampled[label])) for label in networks}


def _rows(
    table: str, bank: Latents, upright: Latents, turned: Latents, bank_labels: Tensor, labels: Tensor, seed: int
) -> list[Row]:
    known = Labelled(bank.single, bank_labels)
    easy, raw = probe_accuracies(known, [Labelled(upright.single, labels), Labelled(turned.single, labels)], seed)
    error = {ERROR: invariance_error(turned.single, upright.single)}
    rows = [Row(table, "raw, queries upright too", easy), Row(table, "raw", {**raw, **error})]
    size = bank.single.shape[1]
    for kind, Kind in MAPS.items():
        project = Kind(f"Sampled: {size} trivial")
        for count in SAMPLES:
            f_bank, f_upright, f_turned = (project(part.sampled[:, :count]) for part in (bank, upright, turned))
            values = probe_accuracies(Labelled(f_bank, bank_labels), [Labelled(f_turned, labels)], seed)[0]
            values |= {ERROR: invariance_error(f_turned, f_upright)}
            if count > 1:
                residual = project.residual(turned.sampled[:, :count]).mean().item()
                values |= {RESIDUAL: residual / mean_distance(f_turned)}
            rows.append(Row(table, f"{kind} of {count}", values))
    return rows
