"""Latents of a graph auto-encoder, one number a node: raw under random orders of the nodes, and sorted.

Sorting is an isometric cross section, and the decoder is equivariant: what is decoded from sorted latents is the same
molecule, its nodes in another order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.paper.molecule_checks import (
    SMOOTH,
    Graphs,
    changes,
    decoded,
    path_graphs,
    same,
    smiles_of,
    tells_apart,
)
from benchmarks.paper.molecule_pictures import grouped_bars, molecule_strips, property_maps
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import fitted
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.value_probes import forest_predictions, knn_predictions, ridge_predictions
from lightning_invariant.probes import r2
from lightning_invariant.projections import Sort
from lightning_invariant.zoo.graph_vae import labels_of
from lightning_invariant.zoo.molecule_action import GraphAction
from lightning_invariant.zoo.molecule_graphs import NODES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from benchmarks.paper.averages import Mean, Table
    from lightning_invariant.zoo.graph_vae import GraphVae

RECIPE = "molecules-permutation-vae"
TITLE = "Molecules as graphs: an equivariant auto-encoder with one latent number a node, raw and sorted"
PROPERTIES, DECODING, PATHS = "R² of properties", "Molecules decoded from latents", "Paths between two molecules"
BANK, QUICK_BANK, STEPS, SHOWN = 10_000, 2000, 20, 2000
NOTES = (
    "Molecules come in a random order of their nodes, but where 'order of the SMILES' is said.",
    f"Probes are fitted on {BANK:,} molecules, {QUICK_BANK:,} in the quick run. A forest learns part of the symmetry "
    "from many molecules in random orders, so that sorting adds less to it than to neighbours.",
    "Nodes that a symmetry of the molecule exchanges get the same number, and then the same bonds from any equivariant "
    "decoder; a molecule could be rebuilt if that contradicts none of its bonds.",
    f"A path has {STEPS} steps on a straight line between the latents of two molecules of the validation set; it is "
    f"smooth if no step changes more than {SMOOTH} of the 45 entries (nodes and pairs of nodes). Valid: RDKit accepts "
    "it, and it is in one piece.",
)
QUICK = {"data.limit": 8000, "trainer.max_epochs": 80}
REPRESENTATION = f"S{NODES}: {NODES} points"
LINES = ("raw", "sorted")
"""Those that are drawn."""
PROBES = ("kNN", "ridge", "forest")
NAMES = {"logp": "logP", "mol_weight": "weight"}
"""Of properties, where they differ from the column's."""
SAME = "same graph as from raw latents"


class Moved(NamedTuple):
    """Latents of molecules in the order of their SMILES and in a random order, and their properties by name."""

    given: Float[Tensor, "N n"]
    shuffled: Float[Tensor, "N n"]
    values: dict[str, Float[Tensor, "N"]]


def run(data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """Train and measure with one seed."""
    settings = {"data.data_dir": data_dir, **(QUICK if quick else {})}
    fit = fitted(RECIPE, folder, seed, settings)
    names = [NAMES.get(name, name) for name in fit.data.properties]
    queries = fit.data.validation.tensors
    _pictures(fit.network, queries, names, seed, folder / PICTURES)
    bank = tuple(column[: QUICK_BANK if quick else BANK] for column in fit.data.training.tensors)
    return rows_of(fit.network, bank, queries, names, seed, pairs=200 if quick else 1000)


def rows_of(
    network: GraphVae,
    bank: tuple[Tensor, ...],
    queries: tuple[Tensor, ...],
    names: Sequence[str],
    seed: int,
    *,
    pairs: int,
) -> list[Row]:
    """All lines of the three tables.

    Args:
        network: Trained, in eval mode.
        bank: Graphs (N, 9, 9, 7) and their properties, that the probes are fitted on.
        queries: The same of other molecules.
        names: Of the properties.
        seed: Of orders, pairs and forests.
        pairs: Paths between molecules.
    """
    generator = torch.Generator().manual_seed(seed)
    known, asked = (_moved(network, part, names, generator) for part in (bank, queries))
    rows = _regressions(known, asked, seed) + _decodings(network, queries[0], asked)
    return rows + _paths(network, asked, pairs, generator)


def draw(found: dict[int, list[Row]], folder: Path) -> list[Path]:
    """R² of every property and probe, raw and sorted."""
    turned = []
    for part in found.values():
        lines = {row.label: row.values for row in part if row.table == PROPERTIES}
        columns = lines["sorted"]
        turned += [Row("", column, {label: lines[label][column] for label in lines}) for column in columns]
    return [grouped_bars(turned, LINES, "R² (1 is perfect, 0 is the mean)", folder / "properties.png")]


def expected(tables: list[Table]) -> list[Claim]:
    """Sorting helps the regression of two properties at least, and changes no molecule."""
    found = {table.title: table for table in tables}
    same_graph = found[DECODING].mean("sorted", SAME)
    return [
        *(_gain(found[PROPERTIES], probe) for probe in PROBES),
        Claim("what is decoded is the same for all molecules, sorted or not", f"{same_graph:.2%}", same_graph == 1),
    ]


def _gain(table: Table, probe: str) -> Claim:
    """What sorting adds to the R² of one probe."""
    columns = [column for column in table.columns if column.endswith(f", {probe}")]
    gains = {column.rpartition(", ")[0]: table.mean("sorted", column) - table.mean("raw", column) for column in columns}
    return Claim(
        f"sorting the latents raises the R² of two properties by at least 0.2: {probe}",
        ", ".join(f"{name} {gain:+.2f}" for name, gain in gains.items()),
        sum(gain >= 0.2 for gain in gains.values()) >= 2,
    )


def headline(tables: list[Table]) -> list[Headline]:
    """R² of each property by the best probe of raw and of sorted latents."""
    found = next(table for table in tables if table.title == PROPERTIES)
    raw, sorted_ = (_best(found, label) for label in LINES)
    return [Headline(f"R² of {name}, best probe, nodes in any order", raw[name], sorted_[name]) for name in raw]


def _best(table: Table, label: str) -> dict[str, Mean]:
    """R² of each property by its best probe."""
    probes: dict[str, list[Mean]] = {}
    for column in table.columns:
        probes.setdefault(column.rpartition(", ")[0], []).append(table.cell(label, column))
    return {name: max(cells, key=lambda cell: cell.mean) for name, cells in probes.items()}


def _moved(network: GraphVae, columns: Any, names: Sequence[str], generator: torch.Generator) -> Moved:
    action, (x, *values) = GraphAction(), columns
    shuffled = action.transform(x, action.group.sample(len(x), generator))
    with torch.no_grad():
        z, moved = (torch.cat([network.encoder(part) for part in graphs.split(512)]) for graphs in (x, shuffled))
    return Moved(z, moved, dict(zip(names, values, strict=True)))


def _pictures(network: GraphVae, queries: tuple[Tensor, ...], names: Sequence[str], seed: int, folder: Path) -> None:
    """Latents coloured by properties, and molecules along two paths, raw and sorted."""
    generator = torch.Generator().manual_seed(seed)
    asked = _moved(network, queries, names, generator)
    latents = {"raw": asked.shuffled, "sorted": Sort(REPRESENTATION)(asked.shuffled)}
    property_maps(
        {name: z[:SHOWN] for name, z in latents.items()},
        {name: column[:SHOWN] for name, column in asked.values.items()},
        folder / "properties_pca.png",
    )
    whole = [i for i, text in enumerate(smiles_of(decoded(network.decoder, asked.given))) if text]
    strips = {}
    for pair in range(min(2, len(whole) // 2)):
        for name, z in latents.items():
            path = path_graphs(network.decoder, z[whole[2 * pair]][None], z[whole[2 * pair + 1]][None], 8)
            strips[f"{name} {pair + 1}"] = [smiles_of(graphs)[0] for graphs in path]
    if strips:
        molecule_strips(strips, folder / "interpolation.png")


def _regressions(bank: Moved, asked: Moved, seed: int) -> list[Row]:
    sort = Sort(REPRESENTATION)
    lines: Mapping[str, tuple[Tensor, Tensor]] = {
        "raw, bank and queries in the order of the SMILES": (bank.given, asked.given),
        "raw, bank in the order of the SMILES": (bank.given, asked.shuffled),
        "raw": (bank.shuffled, asked.shuffled),
        "sorted": (sort(bank.shuffled), sort(asked.shuffled)),
    }
    return [Row(PROPERTIES, label, _scores(*pair, bank, asked, seed)) for label, pair in lines.items()]


def _scores(fit: Tensor, query: Tensor, bank: Moved, asked: Moved, seed: int) -> dict[str, float]:
    found = {}
    for name, truth in asked.values.items():
        y = bank.values[name]
        predicted = (
            *knn_predictions(fit, y, [query]),
            *ridge_predictions(fit, y, [query]),
            *forest_predictions(fit, y, [query], seed),
        )
        found |= {
            f"{name}, {probe}": r2(values.to(truth), truth) for probe, values in zip(PROBES, predicted, strict=True)
        }
    return found


def _decodings(network: GraphVae, x: Tensor, asked: Moved) -> list[Row]:
    truth = Graphs(*labels_of(x))
    given, sorted_ = decoded(network.decoder, asked.given), decoded(network.decoder, asked.given.sort(dim=1).values)
    texts, sorted_texts = smiles_of(given), smiles_of(sorted_)
    unchanged = same(given.ordered(asked.given.argsort(dim=1, stable=True)), sorted_)
    original = smiles_of(truth)
    rows = []
    for label, graphs, decoded_texts, kept in (
        ("raw", given, texts, torch.ones(len(x), dtype=torch.bool)),
        ("sorted", sorted_, sorted_texts, unchanged),
    ):
        values = {
            SAME: kept.double().mean().item(),
            "same SMILES as from raw latents": _share(a == b for a, b in zip(decoded_texts, texts, strict=True)),
            "valid": _share(text != "" for text in decoded_texts),
            "the molecule that was encoded": _share(a == b for a, b in zip(decoded_texts, original, strict=True)),
        }
        if label == "raw":
            values["could be rebuilt"] = tells_apart(asked.given, truth).double().mean().item()
            values["entries right"] = (graphs.entries() == truth.entries()).double().mean().item()
        rows.append(Row(DECODING, label, values))
    return rows


def _paths(network: GraphVae, asked: Moved, pairs: int, generator: torch.Generator) -> list[Row]:
    start, end = (torch.randint(len(asked.given), (pairs,), generator=generator) for _ in range(2))
    rows = []
    for label, z in (("raw", asked.shuffled), ("sorted", Sort(REPRESENTATION)(asked.shuffled))):
        path = path_graphs(network.decoder, z[start], z[end], STEPS)
        steps = changes(path)
        inner = [text != "" for graphs in path[1:-1] for text in smiles_of(graphs)]
        values = {
            "valid molecules between the ends": _share(inner),
            "smooth paths": (steps.amax(dim=1) <= SMOOTH).double().mean().item(),
            "changed entries a path": steps.sum(dim=1).double().mean().item(),
            "length of a path": (z[start] - z[end]).norm(dim=1).mean().item(),
        }
        rows.append(Row(PATHS, label, values))
    return rows


def _share(found: Any) -> float:
    values = list(found)
    return sum(values) / len(values)
