"""The points and pictures of a report, drawn from its evidence."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

import torch

from lightning_invariant.callback.measure import project
from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking import Embedding, Report, scatter_pair, spread_rows

if TYPE_CHECKING:
    from lightning_invariant.callback.evidence import Evidence
    from lightning_invariant.callback.findings import Findings
    from lightning_invariant.projections import Projection

PICTURED = 400
"""Samples in the scatter picture, each drawn as it came and as it was moved."""
SCATTER = "latents"
"""Tag of the raw beside projected picture."""


def illustrated(report: Report, evidence: Evidence, projection: Projection, *, prefix: str = "") -> Report:
    """The report with projector points and pictures.

    Args:
        report: Its numbers and messages.
        evidence: What they were computed from.
        projection: On the evidence's device.
        prefix: Put before every tag.
    """
    raw = (evidence.queries.cpu(), evidence.moved.cpu())
    invariant = tuple(project(projection, z).cpu() for z in (evidence.queries, evidence.moved))
    labels = None if evidence.labels is None else evidence.labels.cpu()
    rows = spread_rows(len(evidence.queries), PICTURED)
    pair = [torch.cat([still[rows], moved[rows]]) for still, moved in (raw, invariant)]
    draw = partial(
        scatter_pair,
        *pair,
        None if labels is None else labels[rows].repeat(2),
        moved=torch.arange(2 * len(rows)) >= len(rows),
    )
    embeddings = {
        prefix + tag: Embedding(moved, labels, evidence.thumbnails)
        for tag, (_, moved) in (("raw", raw), ("invariant", invariant))
    }
    return replace(report, embeddings=embeddings, figures={prefix + SCATTER: draw})


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
