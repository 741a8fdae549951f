"""What a pretrained potential's latents of degree l > 0 are worth once rotations are divided out; nothing is trained.

The latents are those of 7net-0, atom by atom; they are projected per atom and then summed over a molecule.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from benchmarks.paper.molecule_pictures import grouped_bars
from benchmarks.paper.potential_latents import (
    ASPHERICITY,
    ENERGY,
    GAP,
    HANDEDNESS,
    LAYERS,
    LOGP,
    REPRESENTATION,
    Molecules,
    atom_latents,
    qm7_molecules,
    qm9_molecules,
)
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.value_probes import kernel_predictions, knn_predictions, ridge_predictions
from lightning_invariant.artifact.card import Card
from lightning_invariant.encoder import export_projection
from lightning_invariant.encoder.export import Measurements
from lightning_invariant.hub.download import EXPORT
from lightning_invariant.probes import mae
from lightning_invariant.projections import ChannelNorm, Mixed, SphericalBispectrum, SphericalPowerSpectrum

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from benchmarks.paper.averages import Table
    from benchmarks.paper.potential_latents import AtomLatents

RECIPE = "sevennet-descriptors"
TITLE = "Descriptors of molecules from a pretrained potential, 7net-0: what its vectors and tensors add to its scalars"
SCALARS, SIZE = 128, 512
REDUCED = "SO3: 128x0 + 22x1 + 15x2"
"""To which vectors and tensors are mixed before all their products are taken: 128 + 253 + 120 = 501 features."""
ONLY, RAW, NORMS, POWER, BISPECTRUM = "l = 0", "raw, as oriented", "norms", "power spectrum", "bispectrum"
SMALL, CONTROL, COMPOSITION = "products of l = 0, as many as norms", "products of l = 0", "composition alone"
MAPS = (RAW, ONLY, NORMS, SMALL, POWER, BISPECTRUM, CONTROL)
EACH = ", per element"
BY_ELEMENT = tuple(f"{name}{EACH}" for name in (ONLY, POWER))
ELEMENTS = (1, 6, 7, 8, 9, 16)
PROBES = ("ridge", "kernel ridge", "kNN")
SETS = {ENERGY: "QM7", GAP: "QM9", LOGP: "QM9", ASPHERICITY: "QM9", HANDEDNESS: "QM9"}
BASE = "MDIL-SNU/SevenNet"
COUNTS, QUICK_COUNTS = {"QM7": 3000, "QM9": 3200}, {"QM7": 400, "QM9": 300}
HELD, KERNEL_BANK, CHUNK = 0.25, 2000, 4096
NOTES = (
    "A seed is a split of the molecules, three quarters to fit the probes; potential, conformers and maps stay. QM7 "
    "comes in the geometries of its file, QM9 in conformers by RDKit (ETKDG, MMFF94) or their mirror images, each "
    "molecule turned at random before the potential sees it.",
    "'products of l = 0' is the control: random products (a·s)(b·s) / |s| of the 128 scalars, beside the scalars, as "
    "many features in all as the map above it. It says whether l > 0 adds anything that a quadratic map of the scalars "
    "does not.",
    "Ridge and kernel ridge (RBF, fitted on 2,000 molecules) get standardised features, and choose penalty and width "
    "within the bank; kNN (5 neighbours) gets them as they are, since standardising ruins it on energies.",
    "Handedness is sum over atoms of det [v_0, v_1, v_2], v_k = sum over neighbours within 3 angstrom of "
    "(Z / 8)^k w(r) r / |r|, in units of its deviation: a product of three vectors that changes its sign in a mirror. "
    "Asphericity is the relative shape anisotropy of the conformer.",
    "'per element' sums the atoms of each element by themselves.",
)


class Split(NamedTuple):
    """Rows of the bank and of the queries."""

    bank: Tensor
    queries: Tensor


class Descriptors(NamedTuple):
    """Features of molecules, by layer and map, and what is asked of them."""

    features: dict[tuple[int, str], Float[Tensor, "M K"]]
    values: dict[str, Float[Tensor, "M"]]


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """Measure on one split; latents and features are made once, beside the seeds' folders."""
    rows: list[Row] = []
    for name, load in (("QM7", qm7_molecules), ("QM9", qm9_molecules)):
        place = folder.parent / name
        found = descriptors(_molecules(load, data_dir, (QUICK_COUNTS if quick else COUNTS)[name], place), place)
        rows += rows_of(found, name, seed)
    _export(rows, folder / EXPORT)
    return rows


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """Draw errors of kernel ridge over those of l = 0, a figure for each layer."""
    paths = []
    for layer in LAYERS:
        lines = []
        for rows in found.values():
            errors = _by_kernel(rows, layer)
            base = errors[ONLY]
            for name in (NORMS, SMALL, POWER, BISPECTRUM, CONTROL):
                relative = {target: errors[name][target] / base[target] for target in base}
                lines.append(Row("", name, relative))
        path = folder / f"errors_layer{layer}.png"
        axis = f"error of kernel ridge over that of l = 0 alone, layer {layer}"
        paths.append(grouped_bars(lines, list(lines[0].values), axis, path, line=1.0))
    return paths


def _by_kernel(rows: list[Row], layer: int) -> dict[str, dict[str, float]]:
    """Errors of kernel ridge in one layer, by map and target."""
    found: dict[str, dict[str, float]] = {}
    for row in rows:
        if "kernel ridge" in row.table and row.label.startswith(f"layer {layer}: "):
            found.setdefault(row.label.partition(": ")[2], {}).update(row.values)
    return found


def descriptors(molecules: Molecules, folder: Path) -> Descriptors:
    """Every map of every layer, summed over the atoms of each molecule; kept in the folder."""
    path, count = folder / "features.npz", len(molecules.atoms)
    if not path.is_file():
        latents = atom_latents(molecules.atoms, folder)
        wanted = [(layer, name) for layer in LAYERS for name in MAPS] + [(LAYERS[0], name) for name in BY_ELEMENT]
        found = {f"{layer} {name}": _summed(latents, layer, name, count) for layer, name in wanted}
        found[f"0 {COMPOSITION}"] = _counts(molecules.atoms)
        part = path.with_suffix(".part.npz")
        np.savez(part, **{name: features.numpy() for name, features in found.items()})
        part.replace(path)
    with np.load(path) as arrays:
        features = {
            (int(name.partition(" ")[0]), name.partition(" ")[2]): torch.from_numpy(arrays[name]) for name in arrays
        }
    return Descriptors(features, molecules.values)


def rows_of(found: Descriptors, name: str, seed: int) -> list[Row]:
    """Lines of the tables of one set of molecules.

    Args:
        found: Features and values.
        name: Of the set.
        seed: Of the split.
    """
    count = len(next(iter(found.values.values())))
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    split = Split(order[int(HELD * count) :], order[: int(HELD * count)])
    rows = []
    for (layer, label), features in found.features.items():
        of_layer = label if label == COMPOSITION else f"layer {layer}: {label}"
        fixed = {"features": features.shape[1]}
        errors = _errors(features, found.values, split, kernel=not label.endswith(EACH))
        for probe in PROBES:
            values = {target: errors[target, probe] for target in found.values if (target, probe) in errors}
            if values:
                rows.append(Row(table_of(name, probe), of_layer, values, fixed))
    return rows


def table_of(name: str, probe: str) -> str:
    """Heading of a table."""
    return f"{name}, {probe}: mean absolute error"


def _errors(features: Tensor, values: dict[str, Tensor], split: Split, *, kernel: bool) -> dict[tuple[str, str], float]:
    bank, queries = features[split.bank], features[split.queries]
    scale = bank.std(dim=0).clamp(min=1e-6 * float(bank.std()))
    fitted, asked = ((part - bank.mean(dim=0)) / scale for part in (bank, queries))
    y = torch.stack(list(values.values()), dim=1)
    predicted = {
        "ridge": ridge_predictions(fitted, y[split.bank], [asked])[0],
        "kNN": knn_predictions(bank, y[split.bank], [queries])[0],
    }
    if kernel:
        predicted["kernel ridge"] = kernel_predictions(fitted[:KERNEL_BANK], y[split.bank][:KERNEL_BANK], asked)
    truth = y[split.queries]
    return {
        (target, probe): mae(found[:, column].to(truth), truth[:, column])
        for probe, found in predicted.items()
        for column, target in enumerate(values)
    }


def projection() -> SphericalPowerSpectrum | Mixed:
    """The map that is published: the power spectrum of mixed channels."""
    return Mixed(REPRESENTATION, SphericalPowerSpectrum(REDUCED))


@functools.cache
def maps() -> dict[str, Callable[[Tensor], Tensor]]:
    """Maps of one atom's latent."""
    return {
        RAW: lambda z: z,
        ONLY: lambda z: z[:, :SCALARS],
        NORMS: ChannelNorm(REPRESENTATION),
        SMALL: _Products(ChannelNorm(REPRESENTATION).out_features),
        POWER: projection(),
        BISPECTRUM: SphericalBispectrum(REPRESENTATION, SIZE),
        CONTROL: _Products(projection().out_features),
    }


class _Products:
    """The scalars, and random products of them, as the power spectrum divided by the norm."""

    def __init__(self, size: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.a, self.b = (torch.randn(SCALARS, size - SCALARS, generator=generator) / SCALARS**0.5 for _ in range(2))

    def __call__(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        s = z[:, :SCALARS]
        norm = s.norm(dim=1, keepdim=True).clamp(min=1e-12)
        return torch.cat([s, (s @ self.a) * (s @ self.b) / norm], dim=1)


def _summed(latents: AtomLatents, layer: int, label: str, count: int) -> Float[Tensor, "M K"]:
    """Projected atoms, summed over each molecule, or over its atoms of each element."""
    project, by_element = maps()[label.removesuffix(EACH)], label.endswith(EACH)
    array = latents.layers[LAYERS.index(layer)]
    starts = range(0, len(array), CHUNK)
    with torch.no_grad():
        parts = [project(torch.from_numpy(np.array(array[start : start + CHUNK]))) for start in starts]
    features, place, rows = torch.cat(parts), latents.molecule, count
    if by_element:
        kinds = torch.tensor(ELEMENTS)
        place = place * len(ELEMENTS) + (latents.charges[:, None] == kinds).long().argmax(dim=1)
        rows = count * len(ELEMENTS)
    total = torch.zeros(rows, features.shape[1], dtype=torch.float64).index_add_(0, place, features.double())
    return total.reshape(count, -1).float()


def _counts(atoms: Float[Tensor, "M n 4"]) -> Float[Tensor, "M E"]:
    return torch.stack([(atoms[..., 0] == z).sum(dim=1) for z in ELEMENTS], dim=1).float()


def _molecules(
    load: Callable[[str | None, int], Molecules], data_dir: str | None, count: int, folder: Path
) -> Molecules:
    """Molecules in space, made once and kept in the folder."""
    path = folder / "molecules.npz"
    if not path.is_file():
        made = load(data_dir, count)
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, atoms=made.atoms.numpy(), **{name: column.numpy() for name, column in made.values.items()})
    with np.load(path) as arrays:
        found = {name: torch.from_numpy(arrays[name]) for name in arrays}
    return Molecules(found.pop("atoms"), found)


def expected(tables: list[Table]) -> list[Claim]:
    """Judge what l > 0 adds to l = 0, and to as many products of l = 0, under kernel ridge."""
    claims = []
    for layer in LAYERS:
        means = {
            target: {name: _kernel_mean(tables, layer, name, target) for name in (ONLY, POWER, CONTROL)}
            for target in (ENERGY, GAP, LOGP)
        }
        against = {name: [found[POWER] / found[name] - 1 for found in means.values()] for name in (ONLY, CONTROL)}
        for name, most, wanted in ((ONLY, -0.1, 3), (CONTROL, 0.0, 2)):
            claims.append(
                Claim(
                    f"layer {layer}, kernel ridge: the power spectrum errs {'at least 10% ' if most else ''}less than "
                    f"{name} on {'all three' if wanted == 3 else 'two of three'} properties",
                    ", ".join(f"{target} {change:+.0%}" for target, change in zip(means, against[name], strict=True)),
                    sum(change <= most for change in against[name]) >= wanted,
                )
            )
    first = {name: _kernel_mean(tables, 0, name, HANDEDNESS) for name in (ONLY, POWER, BISPECTRUM)}
    claims.append(
        Claim(
            "layer 0, kernel ridge: of handedness only the bispectrum sees anything, 20% or more below l = 0",
            ", ".join(f"{name} {error:.3f}" for name, error in first.items()),
            first[BISPECTRUM] < 0.8 * first[ONLY] and first[POWER] > 0.9 * first[ONLY],
        )
    )
    return claims


def _kernel_mean(tables: list[Table], layer: int, name: str, target: str) -> float:
    table = next(table for table in tables if table.title == table_of(SETS[target], "kernel ridge"))
    return table.mean(f"layer {layer}: {name}", target)


def headline(tables: list[Table]) -> list[Headline]:
    """Kernel ridge on l = 0 of the first layer, and on the power spectrum of all l."""
    found = {table.title: table for table in tables}
    return [
        Headline(
            f"error of kernel ridge on {target}, layer 0 (raw: only l = 0)",
            *(found[table_of(SETS[target], "kernel ridge")].cell(f"layer 0: {name}", target) for name in (ONLY, POWER)),
        )
        for target in (ENERGY, GAP, LOGP)
    ]


def _export(rows: list[Row], folder: Path) -> None:
    """Write the projection alone; the potential is its base model."""
    errors = _by_kernel(rows, 0)[POWER]
    numbers = {f"kernel ridge, mean absolute error: {target}": error for target, error in errors.items()}
    card = Card(name=RECIPE, license="mit", base_model=BASE)
    export_projection(folder, projection(), measured=Measurements(numbers=numbers), card=card)
