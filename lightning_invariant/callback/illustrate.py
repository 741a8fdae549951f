"""The points and pictures of a report, drawn from its evidence."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import torch

from lightning_invariant.callback.names import CEILING
from lightning_invariant.errors import InvariantError
from lightning_invariant.probes import target_kind
from lightning_invariant.tracking import Embedding, Report, equivariance_bars, scatter_pair, spread_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure
    from torch import Tensor

    from lightning_invariant.callback.findings import Findings
    from lightning_invariant.callback.measure import Measurement
    from lightning_invariant.tracking.figures import Reduction
    from lightning_invariant.tracking.labels import Labels

PICTURED = 400
"""Samples in the scatter picture, each drawn as it came and as it was moved."""
COLUMNS = 8
"""Most values a sample that are written beside a point."""
SCATTER, BARS = "latents", "equivariance"
"""Tags of the raw beside projected picture and of the equivariance error of each element."""


def illustrated(report: Report, measured: Measurement, *, prefix: str = "", scatter: Reduction = "pca") -> Report:
    """The report with projector points and pictures.

    Args:
        report: Its numbers and messages.
        measured: What they say, and the latents that they were computed from.
        prefix: Put before every tag.
        scatter: How the picture puts points into the plane.
    """
    evidence = measured.raw
    labels = None if evidence.labels is None else evidence.labels.cpu()
    named = _named(labels)
    embeddings = {
        f"{prefix}{tag}": Embedding(part.moved.cpu(), named, evidence.thumbnails)
        for tag, part in (("raw", evidence), ("invariant", measured.invariant))
    }
    figures: dict[str, Callable[[], Figure]] = {prefix + SCATTER: _scatter(measured, labels, scatter)}
    if measured.elements and not evidence.simulated:
        bounded = {name: min(error, CEILING) for name, error in measured.elements.items()}
        figures[prefix + BARS] = partial(equivariance_bars, bounded, round(measured.tolerance, 3))
    return replace(report, embeddings=embeddings, figures=figures)


def _named(labels: Tensor | None) -> Labels | None:
    """What the projector shows of each point: a label, the numbers of several labels, or a few values."""
    if labels is None or labels.ndim == 1:
        return labels
    if target_kind(labels) == "labels":
        return [" ".join(str(i) for i in row.nonzero()[:, 0].tolist()) for row in labels]
    return {f"value {i}": column for i, column in enumerate(labels[:, :COLUMNS].unbind(1))}


def _scatter(measured: Measurement, labels: Tensor | None, method: Reduction) -> Callable[[], Figure]:
    rows = spread_rows(len(measured.raw.queries), PICTURED)
    pair = [
        torch.cat([part.queries[rows.to(part.queries.device)], part.moved[rows.to(part.moved.device)]]).cpu()
        for part in (measured.raw, measured.invariant)
    ]
    shown = None if labels is None or labels.ndim > 1 else labels[rows].repeat(2)
    return partial(scatter_pair, *pair, shown, moved=torch.arange(2 * len(rows)) >= len(rows), method=method)


def picture(report: Report, findings: Findings, *, prefix: str = "") -> bytes | None:
    """The scatter of a report as PNG, None where it has none or matplotlib is missing."""
    draw = report.figures.get(prefix + SCATTER)
    if draw is None:
        return None
    try:
        buffer = BytesIO()
        draw().savefig(buffer, format="png")
    except InvariantError as error:
        findings.add("picture", str(error))
        return None
    return buffer.getvalue()
