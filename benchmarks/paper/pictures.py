"""Pictures of the tables: legible at the width of a README, in colours that colour-blind readers tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.paper.averages import Mean, mean_of
from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking.figures import PALETTE, equivariance_bars, scatter_pair
from lightning_invariant.tracking.umap_layout import require_umap

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

    from benchmarks.paper.sections import Row
    from lightning_invariant.tracking.figures import Reduction

MARKERS, DASHES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)))
SHOWN = 1000
SINGLES = "X*Pp<>h8dv"


def bars(rows: Sequence[Row], column: str, threshold: float, path: Path) -> Path:
    """The equivariance error of each element, means over seeds.

    Args:
        rows: One line an element, from all seeds.
        column: Of the error.
        threshold: Error up to which an element counts as held.
        path: PNG to write.
    """
    labels = dict.fromkeys(row.label for row in rows)
    errors = {label: _mean(rows, label, column).mean for label in labels}
    return _saved(equivariance_bars(errors, threshold), path)


def against_size(rows: Sequence[Row], size: str, column: str, families: Sequence[str], path: Path) -> Path:
    """A score against the number of features: a curve for each family "NAME SIZE", a single mark for the rest.

    Args:
        rows: Lines of one table, from all seeds.
        size: Fixed column with the number of features.
        column: Of the score.
        families: First words of the labels that differ in size only.
        path: PNG to write.
    """
    figure, axes = _axes("features", f"{column} accuracy on turned digits")
    for number, family in enumerate(families):
        labels = list(dict.fromkeys(row.label for row in rows if row.label.split()[0] == family))
        sizes = [next(row.fixed[size] for row in rows if row.label == label) for label in labels]
        _curve(axes, (number, number), family, sizes, [_mean(rows, label, column) for label in labels])
    others = [label for label in dict.fromkeys(row.label for row in rows) if label.split()[0] not in families]
    for number, label in enumerate(others):
        place = next(row.fixed[size] for row in rows if row.label == label)
        height, colour = _mean(rows, label, column).mean, PALETTE[(len(families) + number) % len(PALETTE)]
        axes.plot(
            [place], [height], SINGLES[number % len(SINGLES)], color=colour, markersize=9, label=label, linestyle="none"
        )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return _saved(figure, path)


def against_samples(curves: dict[str, list[tuple[float, Mean]]], x: str, y: str, path: Path, *, log: bool) -> Path:
    """Curves against a number of samples, on a logarithmic axis.

    Args:
        curves: Name to (x, mean over seeds); two that follow each other share a colour.
        x: Axis label.
        y: Axis label.
        path: PNG to write.
        log: Whether y is logarithmic too.
    """
    figure, axes = _axes(x, y)
    for number, (name, points) in enumerate(curves.items()):
        _curve(axes, (number // 2, number % 2), name, [place for place, _ in points], [mean for _, mean in points])
    axes.set_xscale("log", base=2)
    axes.set_xticks(sorted({place for points in curves.values() for place, _ in points}))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    if log:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_major_formatter("{x:.2g}")
    figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return _saved(figure, path)


def line_bars(tables: Mapping[str, Sequence[Row]], column: str, axis: str, path: Path) -> Path:
    """One score of every line of some tables, as bars side by side, with intervals over seeds.

    Args:
        tables: Name to the lines of a table, from all seeds; all have the same lines.
        column: Of the score.
        axis: What the score is.
        path: PNG to write.
    """
    figure, axes = _axes(axis, "")
    labels = list(dict.fromkeys(row.label for rows in tables.values() for row in rows))
    height = 0.8 / len(tables)
    for number, (name, rows) in enumerate(tables.items()):
        means = [_mean(rows, label, column) for label in labels]
        places = [place + height * (number - (len(tables) - 1) / 2) for place in range(len(labels))]
        axes.barh(
            places,
            [mean.mean for mean in means],
            height,
            xerr=[mean.half or 0.0 for mean in means],
            color=PALETTE[number % len(PALETTE)],
            capsize=2,
            label=name,
        )
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    if len(tables) > 1:
        figure.legend(frameon=False, fontsize=9, loc="outside right upper")
    return _saved(figure, path)


def latents(maps: Mapping[str, Float[Tensor, "N K"]], labels: Tensor, folder: Path) -> list[Path]:
    """Moved samples by raw latents beside projected ones, coloured by class: PCA, and UMAP if it is there.

    Args:
        maps: Name of the raw latents, then of the projected ones, to points; the first thousand are drawn.
        labels: Classes.
        folder: Of latents_pca.png and latents_umap.png.
    """
    first, second = (points[:SHOWN] for points in maps.values())
    methods: list[Reduction] = ["pca", "umap"] if has_umap() else ["pca"]
    return [
        _saved(
            scatter_pair(first, second, labels[:SHOWN], names=tuple(maps), method=method),  # pyright: ignore[reportArgumentType]
            folder / f"latents_{method}.png",
        )
        for method in methods
    ]


def has_umap() -> bool:
    """Whether umap-learn is installed, which not all pictures are worth."""
    try:
        require_umap()
    except InvariantError:
        return False
    return True


def _mean(rows: Sequence[Row], label: str, column: str) -> Mean:
    return mean_of([row.values[column] for row in rows if row.label == label])


def _curve(axes: Any, look: tuple[int, int], name: str, places: Sequence[float], means: Sequence[Mean]) -> None:
    """Colour by the first number of the look, mark and line by the second."""
    colour, style = look
    axes.errorbar(
        places,
        [mean.mean for mean in means],
        yerr=[mean.half or 0.0 for mean in means],
        color=PALETTE[colour % len(PALETTE)],
        marker=MARKERS[style % len(MARKERS)],
        linestyle=DASHES[style % len(DASHES)],
        capsize=3,
        label=name,
    )


def _axes(x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    return figure, axes


def _saved(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path
