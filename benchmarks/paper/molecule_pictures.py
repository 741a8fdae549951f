"""Pictures of the molecules' tables, of their latents, and of paths between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lightning_invariant.tracking.figures import PALETTE
from lightning_invariant.zoo.molecule_graphs import require_rdkit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from matplotlib.figure import Figure
    from torch import Tensor

    from benchmarks.paper.sections import Row

HATCHES = ("", "///", "...")
EMPTY = "no molecule"


def grouped_bars(
    rows: Sequence[Row], columns: Sequence[str], axis: str, path: Path, *, log: bool = False, line: float | None = None
) -> Path:
    """A bar for each column of each line, means over seeds, with the spread of the seeds.

    Args:
        rows: Lines of one table, from all seeds.
        columns: Those that are drawn.
        axis: Label of the numbers, unit included.
        path: PNG to write.
        log: Whether the axis is logarithmic.
        line: Where a dashed line is drawn, if anywhere.
    """
    labels = list(dict.fromkeys(row.label for row in rows))
    figure = _figure(9.0, 1.2 + 0.14 * len(labels) * (len(columns) + 1))
    axes = figure.subplots()
    height = 0.8 / len(columns)
    for number, column in enumerate(columns):
        values = [torch.tensor([row.values[column] for row in rows if row.label == label]) for label in labels]
        places = [index + height * (number - (len(columns) - 1) / 2) for index in range(len(labels))]
        means = [float(value.mean()) for value in values]
        ends = [[mean - float(v.min()) for mean, v in zip(means, values, strict=True)]]
        ends.append([float(v.max()) - mean for mean, v in zip(means, values, strict=True)])
        style = {"color": PALETTE[number], "hatch": HATCHES[number % len(HATCHES)], "edgecolor": "white"}
        axes.barh(places, means, height, xerr=ends, label=column, error_kw={"linewidth": 0.8}, **style)
    if line is not None:
        axes.axvline(line, color="#222222", linestyle="--", linewidth=1)
    axes.set_xscale("log" if log else "linear")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set_xlabel(axis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    figure.legend(loc="outside upper center", ncols=len(columns), frameon=False)
    return _saved(figure, path)


class Placed(NamedTuple):
    """Points on a page.

    Args:
        points: Two coordinates each.
        explained: Shares of the variance of all latents that the two axes have.
    """

    points: Float[Tensor, "N 2"]
    explained: Float[Tensor, "2"]


def principal(points: Float[Tensor, "N K"] | Float[Tensor, "N n d"]) -> Placed:
    """The two principal components of latents."""
    flat = points.flatten(1).double()
    centred = flat - flat.mean(dim=0)
    _, scales, directions = torch.linalg.svd(centred, full_matrices=False)
    return Placed(centred @ directions[:2].T, (scales.square() / scales.square().sum())[:2])


def property_maps(maps: Mapping[str, Placed], values: Mapping[str, Float[Tensor, "N"]], path: Path) -> Path:
    """Principal components of each set of latents, one row each, coloured by each property, one column each.

    Args:
        maps: Name to the components of latents of the same molecules.
        values: Name and unit to properties.
        path: PNG to write.
    """
    figure = _figure(max(4.5, 3.2 * len(values)), 0.3 + 2.9 * len(maps))
    panels = figure.subplots(len(maps), len(values), squeeze=False)
    for row, (name, placed) in zip(panels, maps.items(), strict=True):
        for axes, (title, numbers) in zip(row, values.items(), strict=True):
            low, high = (float(numbers.quantile(share)) for share in (0.02, 0.98))
            shown = axes.scatter(*placed.points.T, c=numbers, s=5, cmap="viridis", vmin=low, vmax=high, linewidths=0)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{name}: {title}", fontsize=10)
            axes.set_xlabel(f"PC 1 ({float(placed.explained[0]):.1%})", fontsize=8)
            axes.set_ylabel(f"PC 2 ({float(placed.explained[1]):.1%})", fontsize=8)
            axes.spines[["top", "right"]].set_visible(False)
            figure.colorbar(shown, ax=axes, fraction=0.05, pad=0.02)
    return _saved(figure, path)


def molecule_strips(strips: Mapping[str, Sequence[str]], path: Path) -> Path:
    """Rows of molecules, as along a path.

    Args:
        strips: Name of each row to SMILES, an empty one for what is no molecule.
        path: PNG to write.
    """
    count = max(map(len, strips.values()))
    figure = _figure(0.9 * count + 0.3, 1.2 * len(strips))
    panels = figure.subplots(len(strips), count, squeeze=False)
    for row, (name, texts) in zip(panels, strips.items(), strict=True):
        for axes, text in zip(row, texts, strict=False):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if text:
                axes.imshow(_drawn(text))
            else:
                axes.text(0.5, 0.5, EMPTY.replace(" ", "\n"), ha="center", va="center", fontsize=8, color="#8a8f98")
        row[0].set_ylabel(name, fontsize=11)
    return _saved(figure, path)


def _drawn(text: str) -> Any:
    chem = require_rdkit()
    from rdkit.Chem import Draw

    return Draw.MolToImage(chem.MolFromSmiles(text), size=(240, 240))


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def _saved(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
