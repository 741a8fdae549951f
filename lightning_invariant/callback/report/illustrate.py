"""The points and figures of a report, drawn from what was measured."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from lightning_invariant.errors import InvariantError
from lightning_invariant.probes import target_kind
from lightning_invariant.tracking import Embedding, equivariance_bars, quotient_pair, scatter_pair, spread_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    from lightning_invariant.callback.support.findings import Findings
    from lightning_invariant.evaluation import Evaluation
    from lightning_invariant.groups import Representation
    from lightning_invariant.tracking.labels import Labels

Figures = Literal["pca", "umap", "quotient"]
DRAWN = 400
"""Samples in the scatter figure, each drawn as it came and as it was transformed."""
MODULO = 200
"""The same where each is aligned modulo the group."""
COLUMNS = 8
"""Most values a sample that are written beside a point."""
CEILING = 1e6
"""Largest error that is drawn."""


def points_of(measured: Evaluation, tag: str) -> dict[str, Embedding]:
    """Return projector points, raw and projected: transformed samples where there are some, else the bank.

    Args:
        measured: What was measured.
        tag: With a %s for the kind of points.
    """
    latents = measured.latents
    raw, projected, labels = latents.bank, measured.features, latents.labels
    if latents.transformed is not None and measured.transformed_features is not None:
        raw, projected = latents.transformed, measured.transformed_features
        labels = None if labels is None else labels[latents.own.to(labels.device)]
    named = _named(None if labels is None else labels.cpu())
    thumbnails = latents.thumbnails if latents.transformed is not None else None
    found = {tag % "raw": Embedding(raw.cpu(), named, thumbnails)}
    if projected is not None:
        found[tag % "invariant"] = Embedding(projected.cpu(), named, thumbnails)
    return found


def figures_of(
    measured: Evaluation, tag: str, method: Figures, representation: Representation
) -> dict[str, Callable[[], Figure]]:
    """Return what draws the figures: raw beside projected latents, and the error of each group element.

    Args:
        measured: What was measured.
        tag: With a %s for the kind of figure.
        method: How points are put into the plane.
        representation: What acts on the latents.
    """
    found: dict[str, Callable[[], Figure]] = {}
    scatter = scatter_of(measured, method, representation)
    if scatter is not None:
        found[tag % "invariance_figures/latents"] = scatter
    if measured.elements:
        bounded = {name: min(error, CEILING) for name, error in measured.elements.items()}
        found[tag % "invariance_figures/equivariance"] = partial(
            equivariance_bars, bounded, round(measured.tolerance, 3)
        )
    return found


def scatter_of(
    measured: Evaluation, method: Figures = "pca", representation: Representation | None = None
) -> Callable[[], Figure] | None:
    """Return what draws raw beside projected latents, samples as they came and transformed; None without features."""
    latents, features = measured.latents, measured.features
    if features is None:
        return None
    labels = None if latents.labels is None or latents.labels.ndim > 1 else latents.labels.cpu()
    if method == "quotient":
        return None if representation is None else _modulo_group(measured, labels, representation)
    if latents.transformed is None or measured.transformed_features is None:
        rows = spread_rows(len(latents.bank), 2 * DRAWN)
        shown = None if labels is None else labels[rows]
        return partial(scatter_pair, _at(latents.bank, rows), _at(features, rows), shown, method=method)
    rows = spread_rows(len(latents.own), DRAWN)
    own = latents.own.cpu()[rows]
    raw = torch.cat([_at(latents.bank, own), _at(latents.transformed, rows)])
    projected = torch.cat([_at(features, own), _at(measured.transformed_features, rows)])
    shown = None if labels is None else labels[own].repeat(2)
    return partial(scatter_pair, raw, projected, shown, moved=torch.arange(2 * len(rows)) >= len(rows), method=method)


def _modulo_group(measured: Evaluation, labels: Tensor | None, representation: Representation) -> Callable[[], Figure]:
    """Raw latents beside components modulo the group, samples as they came and transformed."""
    latents = measured.latents
    rows = spread_rows(len(latents.own), MODULO)
    own = latents.own.cpu()[rows]
    raw, shown = _at(latents.bank, own), None if labels is None else labels[own]
    if latents.transformed is None:
        return partial(quotient_pair, raw, representation, shown)
    both = torch.cat([raw, _at(latents.transformed, rows)])
    moved = torch.arange(2 * len(rows)) >= len(rows)
    return partial(quotient_pair, both, representation, None if shown is None else shown.repeat(2), moved=moved)


def figure_png(measured: Evaluation, findings: Findings) -> bytes | None:
    """Return the scatter as PNG; None where there is none, or matplotlib is missing, which is said."""
    draw = scatter_of(measured)
    if draw is None:
        return None
    try:
        buffer = BytesIO()
        draw().savefig(buffer, format="png")
    except InvariantError as error:
        findings.add("figure", str(error))
        return None
    return buffer.getvalue()


def _at(z: Tensor, rows: Tensor) -> Tensor:
    return z[rows.to(z.device)].cpu()


def _named(labels: Tensor | None) -> Labels | None:
    """What the projector shows of each point: a label, the numbers of several labels, or a few values."""
    if labels is None or labels.ndim == 1:
        return labels
    if target_kind(labels) == "labels":
        return [" ".join(str(i) for i in row.nonzero()[:, 0].tolist()) for row in labels]
    return {f"value {i}": column for i, column in enumerate(labels[:, :COLUMNS].unbind(1))}
