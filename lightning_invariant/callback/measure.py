"""From evidence to numbers: probes and errors of raw and projected latents side by side."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.callback.names import SCORES
from lightning_invariant.errors import LatentError
from lightning_invariant.metrics import equivariance_error, invariance_error
from lightning_invariant.probes import accuracy, knn_predict, r2, ridge_fit

if TYPE_CHECKING:
    from lightning_invariant.callback.evidence import Evidence
    from lightning_invariant.projections.projection import Projection

ERROR_CEILING = 1e3
"""Logged in place of an error that is infinite, since a logged infinity stops EarlyStopping."""


def measure(evidence: Evidence, projection: Projection, *, neighbours: int) -> dict[str, float]:
    """Every number of `names.SCORES` (where there are labels) and `names.ERRORS`, all finite.

    Args:
        evidence: Latents and labels; rows finite.
        projection: On the latents' device.
        neighbours: k of the kNN probe; at most the bank is used.

    Returns:
        Name to value, dimensionless.

    Raises:
        LatentError: Fewer than two queries or an empty bank.
    """
    if len(evidence.queries) < 2 or len(evidence.bank) < 1:
        raise LatentError(
            f"Expected at least 2 queries and 1 bank row with finite latents but got {len(evidence.queries)} and "
            f"{len(evidence.bank)}; look for NaN in the layer, or validate on more samples."
        )
    features, moved = project(projection, evidence.queries), project(projection, evidence.moved)
    numbers = {
        "raw/error": invariance_error(evidence.moved, evidence.queries),
        "invariant/error": invariance_error(moved, features),
        "equivariance/error": equivariance_error(
            evidence.moved, evidence.queries, projection.representation, evidence.elements
        ),
    }
    if evidence.labels is not None and evidence.bank_labels is not None:
        sets = {
            "raw": (evidence.bank, evidence.moved),
            "invariant": (project(projection, evidence.bank), moved),
            "upright": (evidence.bank, evidence.queries),
        }
        numbers |= _scores(sets, evidence.bank_labels, evidence.labels, neighbours)
    return {name: _bounded(name, float(value)) for name, value in numbers.items()}


def project(projection: Projection, z: Tensor, chunk: int = 1024) -> Tensor:
    """Features in bounded memory."""
    with torch.no_grad():
        return torch.cat([projection(rows) for rows in z.split(chunk)]) if len(z) else projection(z)


def _scores(
    sets: dict[str, tuple[Tensor, Tensor]], targets: Tensor, truth: Tensor, neighbours: int
) -> dict[str, float]:
    score = r2 if targets.is_floating_point() else accuracy
    numbers: dict[str, float] = {}
    for name, (bank, queries) in sets.items():
        known, asked = targets.to(bank.device), truth.to(bank.device)
        nearest = knn_predict(bank, known, queries, k=min(neighbours, len(bank)))
        numbers[f"{name}/knn"] = float(score(nearest, asked))
        numbers[f"{name}/linear"] = float(score(ridge_fit(bank, known).predict(queries), asked))
    for probe in ("knn", "linear"):
        numbers[f"gap/{probe}"] = numbers[f"invariant/{probe}"] - numbers[f"raw/{probe}"]
    return numbers


def _bounded(name: str, value: float) -> float:
    if math.isnan(value):
        return 0.0 if name in SCORES else ERROR_CEILING
    return max(-ERROR_CEILING, min(ERROR_CEILING, value))
