"""A head for an exported encoder: a linear probe on the features of the bank, scored on those of the validation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.callback.export_way import columns_of
from lightning_invariant.callback.scores import valid_rows
from lightning_invariant.errors import InvariantError
from lightning_invariant.hub.head import HEAD_SCORES
from lightning_invariant.probes import LinearModel, logistic_fit, probe_score, ridge_fit, target_kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lightning_invariant.callback.collector import Collector
    from lightning_invariant.callback.export_way import Way
    from lightning_invariant.projections import Projection

CHUNK = 256
"""Inputs a forward."""


def fitted_head(
    way: Way, projection: Projection, collector: Collector, kind: str, labels: Sequence[str] | None
) -> tuple[dict[str, Any], dict[str, float]]:
    """Settings for `export_encoder`, and what the head is worth.

    Args:
        way: From inputs to latents, with the weights that are exported.
        projection: From latents to features, on the same device.
        collector: Holds inputs and labels.
        kind: "linear" or "logistic".
        labels: A name for each class from 0 on, or for each value.

    Raises:
        InvariantError: The bank holds no labels.
        ValueError: Labels and names do not go together.
    """
    bank = collector.bank.columns
    if "y" not in bank or not len(bank["y"]):
        raise InvariantError("Expected labels in the training batches to fit a head but found none; give labels=.")
    features, known = _labelled(way, projection, bank)
    sort = target_kind(known)
    model = (
        ridge_fit(features, known.float() if sort == "labels" else known)
        if kind == "linear"
        else _logistic(features, known, sort)
    )
    numbers = {}
    sample = collector.samples[min(collector.samples)].columns if collector.samples else {}
    if {"x", "y"} <= sample.keys():
        asked, truth = _labelled(way, projection, sample)
        if len(truth) and target_kind(truth) == sort:
            numbers = {HEAD_SCORES[sort]: probe_score(model.predict(asked), truth)}
    return {"head": model, "labels": _names(model, labels)}, numbers


def _logistic(features: Tensor, targets: Tensor, sort: str) -> LinearModel:
    if sort != "classes":
        raise ValueError(f"Expected classes for a logistic head but the targets are {sort}; give head='linear'.")
    return logistic_fit(features, targets)


def _names(model: LinearModel, labels: Sequence[str] | None) -> list[str] | None:
    if labels is None or model.classes is None:
        return None if labels is None else list(labels)
    classes = model.classes.tolist()
    if min(classes) < 0 or max(classes) >= len(labels):
        raise ValueError(f"Expected a label for each class from 0 to {max(classes)} but got {len(labels)}: {labels}.")
    return [str(labels[int(number)]) for number in classes]


def _labelled(way: Way, projection: Projection, columns: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Features and targets of the rows that have both."""
    rows = valid_rows(columns["y"])
    features = _features(way, projection, {name: column[rows] for name, column in columns.items()})
    known = columns["y"][rows]
    return features, known[columns["mask"][rows].any(dim=1)] if "mask" in columns else known


@torch.no_grad()
def _features(way: Way, projection: Projection, columns: Mapping[str, Tensor]) -> Tensor:
    device, found = way.inputs[0].device, []
    for part in zip(*(column.split(CHUNK) for column in columns_of(columns)), strict=True):
        inputs = [column.to(device) for column in part]
        beside = [] if way.mask is None else [inputs[way.mask]]
        found.append(projection(way.network(*inputs), *beside).float().cpu())
    return torch.cat(found)
