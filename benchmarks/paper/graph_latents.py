"""Tables and figures of a graph auto-encoder's latents: raw under random orders of the nodes, and modulo the order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.paper.molecule_checks import SMOOTH, Graphs, changes, decoded, same, smiles_of, tells_apart
from benchmarks.paper.molecule_pictures import Placed, molecule_strips, principal, property_maps
from benchmarks.paper.publishing import PICTURES
from benchmarks.paper.recipes import fitted
from benchmarks.paper.sections import Claim, Headline, Row
from benchmarks.paper.value_probes import forest_predictions, knn_predictions, ridge_predictions
from lightning_invariant import choose, quotient
from lightning_invariant.probes import r2
from lightning_invariant.zoo.graph_vae import labels_of
from lightning_invariant.zoo.molecule_action import GraphAction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from benchmarks.paper.averages import Mean, Table
    from lightning_invariant.zoo.graph_vae import GraphVae

PROPERTIES, DECODING, PATHS = "R² of properties", "Molecules decoded from latents", "Paths between two molecules"
TRAINING, TRAINED = "Training", "training.json"
"""Table of how the networks were trained, and the file of a seed that says so where the recipe's trainer did not."""
BANK, QUICK_BANK, FOREST, STEPS, SHOWN = 10_000, 2000, 2000, 20, 1000
QUICK = {"data.limit": 8000, "trainer.max_epochs": 20}
PROBES = ("kNN", "ridge", "forest")
NAMES = {"logp": "logP", "mol_weight": "weight"}
"""Properties whose names differ from the column's."""
REBUILT, VALID, SAME = "the molecule that was encoded", "valid inner steps", "same graph as from raw latents"
NOTES = (
    "Molecules come in a random order of their nodes, but where 'order of the SMILES' is said.",
    f"Probes are fitted on {BANK:,} molecules, {QUICK_BANK:,} in the quick run, the forest on {FOREST:,}. A forest "
    "learns part of the symmetry from many molecules in random orders, so that a projection adds less to it.",
    "One input channel numbers the nodes of each set that a symmetry of the molecule exchanges. The network is "
    "equivariant in graph and channel together. A molecule could be rebuilt if no two nodes with the same latent "
    "differ in their bonds.",
    f"A path has {STEPS} steps on a straight line between the latents of two molecules of the validation set, all of "
    f"which count as they are decoded; inner steps are those between its ends. A step is smooth if it changes at most "
    f"{SMOOTH} of 45 entries (nodes and pairs of nodes). Valid: RDKit accepts it, and it is in one piece. New: valid, "
    "and neither end's molecule.",
    "Where a table 'Training' stands, `python -m benchmarks.paper.side_by_side` has trained the networks of all seeds "
    "at once on a GPU; otherwise the recipe's own trainer does, for as many epochs.",
)


class Setting(NamedTuple):
    """What the two auto-encoders differ in.

    Args:
        recipe: Folder in hub_configs.
        representation: How the order of the nodes acts on the latents.
        projected: Name of the projection that probes are given.
        brought: What is done to the second latent of a path.
    """

    recipe: str
    representation: str
    projected: str
    brought: str


class Moved(NamedTuple):
    """Latents of molecules in the order of their SMILES and in a random order, and their properties by name."""

    given: Float[Tensor, "N *z"]
    shuffled: Float[Tensor, "N *z"]
    values: dict[str, Float[Tensor, "N"]]


def measured(setting: Setting, data_dir: str | None, seed: int, quick: bool, folder: Path) -> list[Row]:
    """Train and measure with one seed."""
    fit = fitted(setting.recipe, folder, seed, {"data.data_dir": data_dir, **(QUICK if quick else {})})
    names = [NAMES.get(name, name) for name in fit.data.properties]
    queries, training = fit.data.validation.tensors, fit.data.training.tensors
    _figures(setting, fit.network, queries, names, seed, folder / PICTURES)
    bank = tuple(column[: QUICK_BANK if quick else BANK] for column in training)
    rows = rows_of(setting, fit.network, bank, queries, names, seed, pairs=100 if quick else 500)
    return [*rows, *_training(folder)]


def _training(folder: Path) -> list[Row]:
    """How a network came about that `benchmarks.paper.side_by_side` has trained."""
    path = folder / TRAINED
    if not path.is_file():
        return []
    about = json.loads(path.read_text(encoding="utf-8"))
    fixed = {name: about.pop(name) for name in ("device", "batch", "seconds")}
    return [Row(TRAINING, "side by side, as CUDA graphs", about, fixed)]


def rows_of(
    setting: Setting,
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
        setting: Which auto-encoder.
        network: Trained, in eval mode.
        bank: Graphs (N, 9, 9, 8) and their properties, that the probes are fitted on.
        queries: The same of other molecules.
        names: Of the properties.
        seed: Of orders, pairs and forests.
        pairs: Paths between molecules.
    """
    generator = torch.Generator().manual_seed(seed)
    known, asked = (_moved(network, part, names, generator) for part in (bank, queries))
    rows = _regressions(setting, known, asked, seed) + _decodings(setting, network, queries[0], asked, generator)
    return rows + _paths(setting, network, asked, pairs, generator)


def expected(setting: Setting, tables: list[Table], rebuilt: float, valid: float) -> list[Claim]:
    """Judge what was expected of reconstruction, paths and probes, on means over seeds."""
    found = {table.title: table for table in tables}
    decodes, paths = found[DECODING], found[PATHS]
    right, inner = decodes.mean("raw", REBUILT), paths.mean(setting.brought, VALID)
    same_graph = decodes.mean(setting.brought, SAME)
    return [
        Claim(f"at least {rebuilt:.1%} of the held-out molecules are rebuilt", f"{right:.1%}", right >= rebuilt),
        Claim(
            f"at least {valid:.0%} of the inner steps of {setting.brought} paths are valid, more than of raw ones",
            f"{inner:.1%} against {paths.mean('raw', VALID):.1%}",
            inner >= max(valid, paths.mean("raw", VALID)),
        ),
        Claim(
            f"what is decoded is the same for all molecules, {setting.brought} or not",
            f"{same_graph:.2%}",
            same_graph == 1,
        ),
        *(_gain(setting, found[PROPERTIES], probe) for probe in PROBES),
    ]


def _gain(setting: Setting, table: Table, probe: str) -> Claim:
    """What the projection adds to the R² of one probe."""
    columns = [column for column in table.columns if column.endswith(f", {probe}")]
    gains = {
        column.rpartition(", ")[0]: table.mean(setting.projected, column) - table.mean("raw", column)
        for column in columns
    }
    return Claim(
        f"{setting.projected} latents raise the R² of two properties by at least 0.2 over raw ones: {probe}",
        ", ".join(f"{name} {gain:+.2f}" for name, gain in gains.items()),
        sum(gain >= 0.2 for gain in gains.values()) >= 2,
    )


def headline(setting: Setting, tables: list[Table]) -> list[Headline]:
    """R² of each property by the best probe of raw and of projected latents, and valid steps of paths."""
    found = {table.title: table for table in tables}
    raw, projected = (_best(found[PROPERTIES], label) for label in ("raw", setting.projected))
    scores = [Headline(f"R² of {name}, best probe, nodes in any order", raw[name], projected[name]) for name in raw]
    paths = [found[PATHS].cell(label, VALID) for label in ("raw", setting.brought)]
    return [*scores, Headline("share of valid molecules on a path between two", *paths)]


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


def _figures(
    setting: Setting,
    network: GraphVae,
    queries: tuple[Tensor, ...],
    names: Sequence[str],
    seed: int,
    folder: Path,
) -> None:
    """Draw latents coloured by properties, and molecules along two paths."""
    asked = _moved(network, queries, names, torch.Generator().manual_seed(seed))
    z = asked.shuffled[:SHOWN]
    modulo = quotient.pca(z, setting.representation)
    with torch.no_grad():
        placed = {
            "raw": principal(z),
            setting.projected: principal(choose(setting.representation)(z)),
            "on the quotient": Placed(modulo.coordinates, modulo.explained_variance_ratio),
        }
    values = {name: column[:SHOWN] for name, column in asked.values.items()}
    property_maps(placed, values, folder / "properties_pca.png")
    rebuilt = same(decoded(network.decoder, asked.given), Graphs(*labels_of(queries[0]))).nonzero()[:, 0]
    strips = {}
    for number, (i, j) in enumerate(rebuilt[: len(rebuilt) // 2 * 2][:6].view(-1, 2).tolist(), start=1):
        ends = asked.shuffled[i : i + 1], asked.shuffled[j : j + 1]
        for name, points in _both_ways(setting, *ends, 8).items():
            strips[f"{name} {number}"] = [smiles_of(decoded(network.decoder, z))[0] for z in points.unbind(dim=1)]
    if strips:
        molecule_strips(strips, folder / "interpolation.png")


def _both_ways(setting: Setting, start: Tensor, end: Tensor, steps: int) -> dict[str, Float[Tensor, "P steps+1 *z"]]:
    """Straight lines between latents as they come, and shortest paths between their orbits."""
    shares = torch.linspace(0, 1, steps + 1).view(1, -1, *(1,) * (start.dim() - 1))
    raw = torch.lerp(start[:, None], end[:, None], shares)
    return {"raw": raw, setting.brought: quotient.path(start, end, setting.representation, steps + 1).latents}


def _regressions(setting: Setting, bank: Moved, asked: Moved, seed: int) -> list[Row]:
    project = choose(setting.representation)
    with torch.no_grad():
        lines: Mapping[str, tuple[Tensor, Tensor]] = {
            "raw, bank and queries in the order of the SMILES": (bank.given, asked.given),
            "raw, bank in the order of the SMILES": (bank.given, asked.shuffled),
            "raw": (bank.shuffled, asked.shuffled),
            setting.projected: (project(bank.shuffled), project(asked.shuffled)),
        }
    return [
        Row(PROPERTIES, label, _scores(fit.flatten(1), query.flatten(1), bank, asked, seed))
        for label, (fit, query) in lines.items()
    ]


def _scores(fit: Tensor, query: Tensor, bank: Moved, asked: Moved, seed: int) -> dict[str, float]:
    found = {}
    for name, truth in asked.values.items():
        y = bank.values[name]
        predicted = (
            *knn_predictions(fit, y, [query]),
            *ridge_predictions(fit, y, [query]),
            *forest_predictions(fit[:FOREST], y[:FOREST], [query], seed),
        )
        found |= {
            f"{name}, {probe}": r2(values.to(truth), truth) for probe, values in zip(PROBES, predicted, strict=True)
        }
    return found


def _decodings(setting: Setting, network: GraphVae, x: Tensor, asked: Moved, generator: torch.Generator) -> list[Row]:
    """What the decoder makes of latents, and of the same latents brought to those of another molecule."""
    truth = Graphs(*labels_of(x))
    other = asked.given[torch.randperm(len(x), generator=generator)]
    end = quotient.align(asked.given, other, setting.representation)
    given, brought = (decoded(network.decoder, z) for z in (asked.given, end.latents))
    unchanged = same(given.ordered(end.element.argsort(dim=1)), brought)
    original, texts = smiles_of(truth), smiles_of(given)
    rows = []
    for label, graphs, kept in (("raw", given, torch.ones_like(unchanged)), (setting.brought, brought, unchanged)):
        found = smiles_of(graphs)
        values = {
            REBUILT: _share(a == b for a, b in zip(found, original, strict=True)),
            "valid": _share(text != "" for text in found),
            SAME: kept.double().mean().item(),
            "same SMILES as from raw latents": _share(a == b for a, b in zip(found, texts, strict=True)),
        }
        if label == "raw":
            values["every node and bond right"] = same(given, truth).double().mean().item()
            values["entries right"] = (graphs.entries() == truth.entries()).double().mean().item()
            values["could be rebuilt"] = tells_apart(asked.given, truth).double().mean().item()
        rows.append(Row(DECODING, label, values))
    return rows


def _paths(setting: Setting, network: GraphVae, asked: Moved, pairs: int, generator: torch.Generator) -> list[Row]:
    """What lies between two molecules, on straight lines and on shortest paths between orbits."""
    start, end = (torch.randint(len(asked.given), (pairs,), generator=generator) for _ in range(2))
    rows = []
    for label, points in _both_ways(setting, asked.shuffled[start], asked.shuffled[end], STEPS).items():
        path = [decoded(network.decoder, z) for z in points.unbind(dim=1)]
        texts, steps = [smiles_of(graphs) for graphs in path], changes(path)
        ends = [set(pair) for pair in zip(texts[0], texts[-1], strict=True)]
        inner = [(text, ends[number]) for step in texts[1:-1] for number, text in enumerate(step)]
        others = [text for text, both in inner if not text or text not in both]
        values = {
            VALID: _share(text != "" for text, _ in inner),
            "steps that repeat an end's molecule": _share(text != "" and text in both for text, both in inner),
            "new molecules": _share(text != "" and text not in both for text, both in inner),
            "valid among the others": _share(text != "" for text in others) if others else 1.0,
            "smooth steps": (steps <= SMOOTH).double().mean().item(),
            "changed entries a path": steps.sum(dim=1).double().mean().item(),
            "length of a path": (points[:, 0] - points[:, -1]).flatten(1).norm(dim=1).mean().item(),
        }
        rows.append(Row(PATHS, label, values))
    return rows


def _share(found: Iterable[bool]) -> float:
    values = list(found)
    return sum(values) / len(values)
