"""Scores of probes on raw and projected latents, and the gap between them with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_invariant.callback.names import MAE
from lightning_invariant.probes import ProbeName, mae, probe_gap_interval, probe_predictions, probe_score, target_kind

if TYPE_CHECKING:
    from lightning_invariant.callback.evidence import Evidence

NOTHING = 0.0
"""Score of a probe that cannot be fitted."""


def probe_scores(
    raw: Evidence, features: Evidence, probes: Sequence[ProbeName], neighbours: int, seed: int
) -> dict[str, float]:
    """The numbers of `names.SCORE_TABLE`, and mean absolute errors where the labels are values.

    Args:
        raw: Latents and labels.
        features: The same, projected.
        probes: Which probes are fitted, each once on the bank of both.
        neighbours: k of the nearest-neighbour probes.
        seed: Of the interval's groups.

    Returns:
        Nothing if there are no labels. Samples whose label is negative (to be ignored) or no number take no part.
    """
    if raw.labels is None or raw.bank_labels is None:
        return {}
    device = raw.bank.device
    known, asked = valid_rows(raw.bank_labels).to(device), valid_rows(raw.labels).to(device)
    targets, truth = raw.bank_labels.to(device)[known], raw.labels.to(device)[asked]
    if len(targets) == 0 or len(truth) == 0 or target_kind(targets) != target_kind(truth):
        return {}
    numbers: dict[str, float] = {}
    for name in probes:
        found = {
            prefix: _predictions(name, part.bank[known], targets, [part.moved[asked], part.queries[asked]], neighbours)
            for prefix, part in (("raw", raw), ("invariant", features))
        }
        numbers |= _named(name, found, truth, seed)
    return numbers


def _predictions(
    name: ProbeName, bank: Tensor, targets: Tensor, queries: list[Tensor], neighbours: int
) -> list[Tensor] | None:
    if name == "logistic" and target_kind(targets) == "values":
        return None
    return probe_predictions(name, bank, targets, queries, neighbours=min(neighbours, len(bank)))


def _named(name: str, found: dict[str, list[Tensor] | None], truth: Tensor, seed: int) -> dict[str, float]:
    raw, invariant = found["raw"], found["invariant"]
    keys = (f"raw/{name}", f"upright/{name}", f"invariant/{name}", f"upright/invariant/{name}")
    gap = f"gap/{name}"
    if raw is None or invariant is None:
        return dict.fromkeys((*keys, gap, f"{gap}_lower", f"{gap}_upper"), NOTHING)
    made = dict(zip(keys, (*raw, *invariant), strict=True))
    numbers = {key: probe_score(predictions, truth) for key, predictions in made.items()}
    if target_kind(truth) == "values":
        numbers |= {key + MAE: mae(predictions, truth) for key, predictions in made.items()}
    numbers[gap] = numbers[f"invariant/{name}"] - numbers[f"raw/{name}"]
    interval = probe_gap_interval(invariant[0], raw[0], truth, seed=seed)
    low, high = (-1.0, 1.0) if interval is None else interval
    return numbers | {f"{gap}_lower": low, f"{gap}_upper": high}


def valid_rows(labels: Tensor) -> Tensor:
    """Which samples take part, (N,): not those whose label is negative, to be ignored, or no number."""
    valid = labels.isfinite() if labels.is_floating_point() else labels >= 0 if labels.ndim == 1 else labels == labels
    return valid if labels.ndim == 1 else valid.flatten(1).all(dim=1)
