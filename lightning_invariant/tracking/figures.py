"""Figures for a report: raw beside projected latents, and the equivariance error of each group element.

Drawn with matplotlib's object interface on its own canvas: nothing global is touched, and no window system is needed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking.labels import plain_values
from lightning_invariant.tracking.rows import spread_rows
from lightning_invariant.tracking.umap_layout import umap_positions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float, UInt8
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Ten colours that colour-blind readers tell apart. Source: Petroff 2021, arXiv:2107.02270, table 1.
PALETTE = (
    "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6", "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
)  # fmt: skip
Reduction = Literal["pca", "umap"]
_MAX_SHOWN = 3000
_INK, _GREY = "#222222", "#8a8f98"


def scatter_pair(
    raw: Float[Tensor, "N D"],
    projected: Float[Tensor, "N K"],
    labels: Sequence[Any] | Tensor | np.ndarray | None = None,
    *,
    moved: Bool[Tensor, " N"] | None = None,
    title: str | None = None,
    names: tuple[str, str] = ("raw latents", "projected"),
    method: Reduction = "pca",
) -> Figure:
    """Draw both sets of points by their own two principal components, or by UMAP, side by side.

    Args:
        raw: Latents before the projection, shape (N, D).
        projected: Features of the same samples, shape (N, K).
        labels: N class labels or N numbers. Up to ten classes get a legend, more a colour map, floats a colour bar.
        moved: Which rows come from moved inputs, shape (N,). Those are drawn as rings: where the projection does its
            work, every ring has a dot of its colour inside.
        title: Heading over both panels.
        names: Heading of each panel.
        method: "pca", or "umap" with a fixed seed (takes seconds and needs umap-learn).

    Returns:
        A figure 900 pixels wide at its own resolution.

    Raises:
        ValueError: If the lengths differ or the points are no matrices.
        InvariantError: If matplotlib, or umap-learn where it is asked for, is not installed.
    """
    lengths = {len(column) for column in (raw, projected, labels, moved) if column is not None}
    if raw.ndim != 2 or projected.ndim != 2 or lengths != {len(raw)} or len(raw) == 0:
        raise ValueError(
            f"Expected two matrices with one row a sample but got {tuple(raw.shape)} and {tuple(projected.shape)}, "
            f"lengths {sorted(lengths)}; give raw, projected, labels and moved of the same samples."
        )
    rows = spread_rows(len(raw), _MAX_SHOWN)
    known = None if labels is None else plain_values(labels)
    colours = Colours(known and [known[row] for row in rows.tolist()])
    hollow = torch.zeros(len(rows), dtype=torch.bool) if moved is None else moved.detach().cpu().bool()[rows]
    figure = _figure(9.0, 4.5)
    panels = figure.subplots(1, 2)
    for axes, name, points in zip(panels, names, (raw, projected), strict=True):
        _scatter(axes, name, points.detach()[rows.to(points.device)], colours, hollow.numpy(), method)
    colours.explain(figure, panels, hollow=None if moved is None else bool(hollow.any()))
    if title:
        figure.suptitle(title, fontsize=12, color=_INK)
    return figure


def equivariance_bars(errors: Mapping[str, float], threshold: float, *, title: str | None = None) -> Figure:
    """Draw the layer's relative equivariance error for each group element, on a logarithmic axis.

    Args:
        errors: Name of each element, for example "r90", to its relative error, dimensionless, at least 0.
        threshold: Error up to which an element counts as held, dimensionless, above 0.
        title: Heading; without one it says for how many elements the layer is equivariant.

    Returns:
        A figure 900 pixels wide at its own resolution.

    Raises:
        ValueError: If there is no element or the threshold is not positive.
        InvariantError: If matplotlib is not installed.
    """
    if not errors or not threshold > 0:
        raise ValueError(
            f"Expected at least one element and a threshold above 0 but got {len(errors)} and {threshold}."
        )
    values = np.array([float(value) for value in errors.values()])
    held = values <= threshold
    shown = values[np.isfinite(values) & (values > 0)]
    floor = 10.0 ** math.floor(math.log10(min([threshold / 10, *shown]) / 2))
    top = 3.0 * max([threshold, *shown])
    figure = _figure(9.0, 3.6)
    axes = figure.subplots()
    # A NaN error is a failure: it gets a bar to the top, not a gap that reads like zero.
    heights = np.where(np.isfinite(values), np.maximum(values, floor), top)
    bars = axes.bar(range(len(values)), heights, color=np.where(held, PALETTE[0], PALETTE[2]), width=0.72)
    for bar, ok, value in zip(bars, held, values, strict=True):
        bar.set_hatch("" if ok else "//")
        bar.set_edgecolor("white")
        if len(values) <= 16:
            at = (bar.get_x() + bar.get_width() / 2, bar.get_height())
            axes.annotate(_short(value), at, (0, 2), textcoords="offset points", ha="center", fontsize=8, color=_INK)
    axes.set_yscale("log")
    axes.minorticks_off()
    # Powers as plain text: setting "10^-3" as mathematics takes a third of the drawing.
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e+00", "").replace("e-0", "e-"))
    axes.set_ylim(floor, top * 2)
    axes.axhline(threshold, color=_INK, linewidth=1, linestyle="--")
    axes.annotate(f"{threshold:g}", (1, threshold), (4, 0), ("axes fraction", "data"), "offset points", va="center")
    step = math.ceil(len(values) / 40)
    axes.set_xticks(range(0, len(values), step), list(errors)[::step])
    if len(values) > 16 or max(map(len, errors)) > 6 or sum(map(len, errors)) > 50:
        axes.tick_params(axis="x", labelrotation=60, labelsize=8)
    axes.set_ylabel("relative equivariance error")
    heading = f"equivariant for {int(held.sum())} of {len(values)} elements (error at most {threshold:g})"
    axes.set_title(title or heading, fontsize=12, color=_INK)
    _tidy(axes)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    return figure


def figure_to_image(figure: Figure) -> UInt8[np.ndarray, "H W 3"]:
    """Return the figure's pixels, shape (H, W, 3), uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


class Colours:
    """How labels become colours, the same in both panels."""

    def __init__(self, labels: list[Any] | None) -> None:
        self.classes: list[Any] = []
        self.norm: Any = None
        if labels is None:
            self.values: Any = PALETTE[0]
            return
        if any(isinstance(label, float) for label in labels):
            self._continuous(np.array(labels, dtype=float))
            return
        self.classes = sorted(
            set(labels), key=lambda label: (not isinstance(label, int), label if isinstance(label, int) else str(label))
        )
        index = {label: i for i, label in enumerate(self.classes)}
        if len(self.classes) > len(PALETTE):
            self._continuous(np.array([index[label] for label in labels], dtype=float))
        else:
            self.values = np.array([PALETTE[index[label]] for label in labels])

    def _continuous(self, values: np.ndarray) -> None:
        from matplotlib import colormaps
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        finite = values[np.isfinite(values)]
        self.norm = Normalize(*((finite.min(), finite.max()) if len(finite) else (0.0, 1.0)))
        self.map = ScalarMappable(self.norm, colormaps["viridis"].with_extremes(bad="#cccccc"))
        self.values = self.map.to_rgba(np.ma.masked_invalid(values))

    def explain(self, figure: Figure, panels: Any, *, hollow: bool | None) -> None:
        """Add the legend or colour bar, and what hollow marks are."""
        from matplotlib.lines import Line2D

        marks = [
            Line2D([], [], linestyle="", marker="o", markersize=6, color=colour, label=str(label))
            for label, colour in zip(self.classes, PALETTE, strict=False)
            if self.norm is None
        ]
        if hollow:
            marks += [
                Line2D([], [], linestyle="", marker="o", markersize=6, color=_GREY, label="as given"),
                Line2D(
                    [],
                    [],
                    linestyle="",
                    marker="o",
                    markersize=6,
                    color=_GREY,
                    markerfacecolor="none",
                    label="transformed",
                ),
            ]
        if marks:
            figure.legend(handles=marks, loc="outside right center", frameon=False, fontsize=10, handletextpad=0.2)
        if self.norm is not None:
            bar = figure.colorbar(self.map, ax=panels, fraction=0.04, pad=0.02)
            bar.outline.set_visible(False)
            if self.classes:
                at = np.linspace(0, len(self.classes) - 1, 6).round().astype(int)
                bar.set_ticks(at.tolist(), labels=[str(self.classes[i])[:16] for i in at])
                bar.set_label(f"{len(self.classes)} classes")


def _scatter(
    axes: Axes, name: str, points: Tensor, colours: Colours, hollow: np.ndarray, method: Reduction = "pca"
) -> None:
    if method == "umap":
        positions, finite = umap_positions(points)
        captions = ["UMAP 1", "UMAP 2"]
    else:
        positions, shares, finite = principal(points)
        captions = [f"component 1 ({shares[0]:.0%} of variance)", f"component 2 ({shares[1]:.0%})"]
    hollow = hollow[finite]
    values = colours.values if isinstance(colours.values, str) else colours.values[finite]
    size = float(np.clip(9000 / max(len(positions), 1), 6, 30))
    paint = [values, values] if isinstance(values, str) else [values[~hollow], values[hollow]]
    axes.scatter(*positions[~hollow].T, s=size, c=paint[0], linewidths=0, alpha=0.85)
    axes.scatter(*positions[hollow].T, s=3 * size, edgecolors=paint[1], facecolors="none", linewidths=0.8, alpha=0.85)
    lost = len(finite) - int(finite.sum())
    axes.set_title(name + (f" ({lost} rows not finite)" if lost else ""), fontsize=11, color=_INK)
    axes.set_xlabel(captions[0], fontsize=9, color=_GREY)
    axes.set_ylabel(captions[1], fontsize=9, color=_GREY)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal", adjustable="datalim")
    _tidy(axes)


def principal(points: Tensor, count: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coordinates (n, count), shares of variance (count,), and which rows (N,) were finite, n of them."""
    values = points.double().cpu()
    finite = torch.isfinite(values).all(dim=1)
    centred = values[finite]
    if len(centred) == 0:
        return np.zeros((0, count)), np.zeros(count), finite.numpy()
    centred = centred - centred.mean(dim=0)
    # Centred in double, decomposed in single: half the memory for a latent of many thousand numbers.
    _, spread, directions = torch.linalg.svd(centred.float(), full_matrices=False)
    directions = directions[:count]
    # The sign of a component is arbitrary; fixed by its largest entry, consecutive reports do not flip.
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    coordinates = centred.float() @ (directions * torch.where(largest < 0, -1.0, 1.0)).T
    shares = (spread**2 / (spread**2).sum().clamp_min(torch.finfo(torch.float32).tiny))[:count]
    missing = count - len(directions)
    coordinates = torch.nn.functional.pad(coordinates, (0, missing))
    return coordinates.numpy(), torch.nn.functional.pad(shares, (0, missing)).numpy(), finite.numpy()


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise InvariantError(
            'Expected matplotlib for figures but it is not installed; pip install "lightning-invariant[figures]".'
        ) from error
    return Figure(figsize=(width, height), dpi=100, layout="constrained", facecolor="white")


def _tidy(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#c9cdd3")
    axes.tick_params(length=0, labelcolor=_INK)
    axes.set_axisbelow(True)


def _short(value: float) -> str:
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-") if value < 0.01 else f"{value:.2g}"
