"""A head for an exported encoder: a linear probe on the projected latents of the last validation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.encoder.head import Head
from lightning_invariant.errors import InvariantError
from lightning_invariant.evaluation.evaluate import project
from lightning_invariant.evaluation.scores import known_labels
from lightning_invariant.probes import LinearModel, logistic_fit, ridge_fit, target_kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_invariant.evaluation import Latents
    from lightning_invariant.projections import Projection


def fitted_head(latents: Latents, projection: Projection, kind: str, labels: Sequence[str] | None) -> Head:
    """Fit a probe on the bank of a report.

    Args:
        latents: Of the weights that are exported.
        projection: From latents to features.
        kind: "linear" or "logistic".
        labels: A name for each class from 0 on, or for each value.

    Raises:
        InvariantError: There are no labels.
        ValueError: Labels and names do not go together.
    """
    if latents.labels is None:
        raise InvariantError(
            "Expected labels in the validation batches to fit a head but found none; give "
            "batch=BatchReader(labels=...)."
        )
    rows = known_labels(latents.labels)
    with torch.no_grad():
        bank = latents.bank if latents.draws is None else latents.draws[:, 0]
        features = project(projection, bank[rows.to(bank.device)], single=latents.draws is None).float().cpu()
    known = latents.labels[rows].cpu()
    sort = target_kind(known)
    if kind == "linear":
        groups = None if latents.groups is None else latents.groups[rows].cpu()
        model = ridge_fit(features, known.float() if sort == "labels" else known, groups=groups)
    elif sort == "classes":
        model = logistic_fit(features, known)
    else:
        raise ValueError(f"Expected classes for a logistic head but the targets are {sort}; give head='linear'.")
    return Head.from_probe(model, _names(model, labels))


def _names(model: LinearModel, labels: Sequence[str] | None) -> list[str] | None:
    if labels is None or model.classes is None:
        return None if labels is None else list(labels)
    classes = model.classes.tolist()
    if min(classes) < 0 or max(classes) >= len(labels):
        raise ValueError(f"Expected a label for each class from 0 to {max(classes)} but got {len(labels)}: {labels}.")
    return [str(labels[int(number)]) for number in classes]
