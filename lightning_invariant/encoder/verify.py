"""Measures what a certificate says again, on inputs of whoever pulled the encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_invariant.artifact.config import MASK, input_names
from lightning_invariant.errors import ArtifactError, GuaranteeError
from lightning_invariant.groups import Sampled
from lightning_invariant.groups.actions import member_action
from lightning_invariant.metrics import equivariance_error, invariance_error
from lightning_invariant.probes import accuracy_interval, knn_predict, ridge_fit
from lightning_invariant.projections import GraphReadout
from lightning_invariant.testing import assert_guarantee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_invariant.encoder.encoder import InvariantEncoder
    from lightning_invariant.groups.actions import Given

ERROR_FLOOR = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 5e-2, torch.bfloat16: 1e-1}
"""Invariance error that rounding alone may cause, by the type that the network computes in."""
FACTOR = 2.0
"""By how much an error on other inputs may be above the certified one."""
SLACK = 0.05
"""By how much an accuracy may be below, beside its confidence interval: fewer inputs are known than in the training."""
FARTHEST = 0.2
"""By how much an accuracy may be below whatever the inputs are."""
FEWEST = 20
"""Inputs that a probe needs."""
NEIGHBOURS = 5
ROWS_A_FEATURE = 2
"""Known inputs that a linear probe needs for each number it reads: with about one, least squares is at its worst."""
Pair = tuple[Tensor, ...]
"""Rows of inputs as they are, and of the same inputs transformed."""


class Check(NamedTuple):
    """One number of a certificate, measured again; NaN if it could not be.

    `limit` is the largest error, or smallest accuracy, at which the certificate holds; None if it is only told.
    """

    name: str
    certified: float | None
    measured: float
    limit: float | None
    holds: bool


def verify(
    encoder: InvariantEncoder,
    inputs: Sequence[Tensor],
    labels: Tensor | None = None,
    *,
    action: Given = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: bool = False,
) -> list[Check]:
    """Measure errors, and probes where labels are given, on inputs as they are and transformed at random.

    Probes are fitted on the first half of the inputs as they come, and asked about the second half, transformed.

    Args:
        encoder: What was pulled.
        inputs: Each input of the network, (B, ...), at least two rows; bytes go through the recorded preprocessing.
        labels: One class an input.
        action: How group elements transform inputs, as for `member_action`; their usual way if None.
        seed: Of the group elements.
        batch_size: Inputs at one time.
        progress: Whether to show bars.

    Raises:
        ArtifactError: Fewer than two inputs, or it is not known how the group transforms them.
        GraphError: The inputs do not fit the network.
    """
    if isinstance(encoder.projection, GraphReadout):
        raise ArtifactError(
            "Expected an encoder of inputs with rows but this one takes nodes and edges of graphs; transform the "
            "graphs yourself and compare what encoder.encode gives for them."
        )
    if len(inputs[0]) < 2:
        raise ArtifactError(f"Expected at least 2 inputs but got {len(inputs[0])}; errors are relative to distances.")
    if not all(x.isfinite().all() for x in inputs if x.is_floating_point()):
        raise ArtifactError("Expected finite inputs but some hold NaN or infinity, so that nothing can be measured.")
    if not any((x != x[:1]).any() for x in inputs):
        raise ArtifactError(
            "Expected inputs that differ from each other but all are the same; errors are relative to distances "
            "between different inputs."
        )
    group = encoder.projection.representation.group
    ready = list(inputs)
    if ready[0].dtype == torch.uint8:
        ready[0] = encoder.preprocess(ready[0])
    given: Any = ready[0] if len(ready) == 1 else tuple(ready)
    mask = encoder.config.get(MASK)
    tree = dict(zip(input_names(len(ready), mask), ready, strict=True))
    acts = member_action(group, tree, action)
    if acts.unknown:
        raise ArtifactError(f"{acts.question}\nhere as verify(..., action=...).")
    g = group.sample(len(ready[0]), torch.Generator().manual_seed(seed))
    settings: dict[str, Any] = {"output": "torch", "latents": True, "batch_size": batch_size, "progress": progress}

    def transformed(g: Tensor) -> Any:
        found = tuple(acts.transform(tree, g).values())
        return found[0] if len(ready) == 1 else found

    moved = transformed(g)
    latents = encoder.encode(given, **settings), encoder.encode(moved, **settings)
    if isinstance(group, Sampled):
        count, drawn = getattr(encoder.projection, "samples", 1), torch.Generator().manual_seed(seed + 1)
        sides = [[transformed(group.sample(len(g), drawn)) for _ in range(count)] for _ in range(2)]
        draws = [torch.stack([encoder.encode(x, **settings) for x in side], dim=1) for side in sides]
        features = tuple(encoder.projection(z.to(encoder.device)).cpu() for z in draws)
    else:
        features = tuple(
            _project(encoder, z, None if mask is None else x[mask])
            for z, x in zip(latents, (given, moved), strict=True)
        )
    if not all(z.isfinite().all() for z in (*latents, *features)):
        raise ArtifactError("Expected finite latents and features but some are NaN or infinite; nothing was measured.")
    if not (features[0] != features[0][:1]).any():
        raise ArtifactError("Expected features that differ but all inputs have the same; nothing can be measured.")
    errors = _errors(encoder, latents, features, g)
    return [_guarantee(encoder), *errors, *_probes(encoder, latents, features, labels)]


def _guarantee(encoder: InvariantEncoder) -> Check:
    """What is declared of the projection, which no data is needed for."""
    if isinstance(encoder.projection.representation.group, Sampled):
        return Check("guarantee", None, math.nan, None, holds=True)
    try:
        assert_guarantee(encoder.projection)
    except GuaranteeError:
        return Check("guarantee", 1.0, 0.0, 1.0, holds=False)
    return Check("guarantee", 1.0, 1.0, 1.0, holds=True)


@torch.no_grad()
def _errors(encoder: InvariantEncoder, latents: Pair, projected: Pair, g: Tensor) -> list[Check]:
    (still, transformed), (features, moved) = latents, projected
    floor = ERROR_FLOOR.get(encoder.dtype or torch.float32, 1e-4)
    error = float(invariance_error(moved.float(), features.float()))
    equivariance = float(equivariance_error(transformed.float(), still.float(), encoder.projection.representation, g))
    said = _certified(encoder, "equivariance/error")
    return [
        Check(
            "raw/error",
            _certified(encoder, "raw/error"),
            float(invariance_error(transformed.float(), still.float())),
            None,
            holds=True,
        ),
        _at_most("invariant/error", _certified(encoder, "invariant/error"), error, floor),
        _at_most("equivariance/error", said, equivariance, floor, told=said is None),
    ]


@torch.no_grad()
def _probes(encoder: InvariantEncoder, latents: Pair, projected: Pair, labels: Tensor | None) -> list[Check]:
    if labels is None or labels.is_floating_point() or labels.dim() != 1 or len(labels) < FEWEST:
        return []
    half = len(labels) // 2
    still, transformed = latents
    sets = {"upright": (still, still), "raw": (still, transformed), "invariant": projected}
    checks, upright = [], {}
    for name, (bank, queries) in sets.items():
        correct = _correct(bank[:half].float(), queries[half:].float(), labels)
        for probe, right in correct.items():
            score, said = float(right.float().mean()), _certified(encoder, f"{name}/{probe}")
            upright.setdefault(probe, score)
            judged = name == "invariant" and (probe != "linear" or half >= ROWS_A_FEATURE * bank.shape[1])
            limit = _least(encoder, probe, upright[probe]) if judged else None
            holds = limit is None or accuracy_interval(right)[1] >= limit
            checks.append(Check(f"{name}/{probe}", said, score, limit, holds=holds))
    return checks


def _correct(bank: Tensor, queries: Tensor, labels: Tensor) -> dict[str, Tensor]:
    known, asked = labels[: len(bank)], labels[len(bank) :]
    nearest = knn_predict(bank, known, queries, k=min(NEIGHBOURS, len(bank)))
    return {"knn": nearest == asked, "linear": ridge_fit(bank, known).predict(queries) == asked}


def _least(encoder: InvariantEncoder, probe: str, upright: float) -> float | None:
    """Smallest accuracy at which the certificate holds.

    How hard the inputs are, and how many are known, shows in the raw latents of inputs that were not transformed: the
    projected ones may lose as much against them as the certificate says, but never be far below it.
    """
    said, before = (_certified(encoder, f"{name}/{probe}") for name in ("invariant", "upright"))
    if said is None:
        return None
    if before is None:
        return max(0.0, said - SLACK)
    return max(0.0, said - FARTHEST, upright - max(0.0, before - said) - SLACK)


@torch.no_grad()
def _project(encoder: InvariantEncoder, z: Tensor, mask: Tensor | None) -> Tensor:
    columns = [z] if mask is None else [z, mask]
    parts = zip(*(column.split(1024) for column in columns), strict=True)
    return torch.cat([encoder.projection.single(*(rows.to(encoder.device) for rows in part)).cpu() for part in parts])


def _at_most(name: str, certified: float | None, measured: float, floor: float, *, told: bool = False) -> Check:
    limit = None if told else max(floor, FACTOR * (certified or 0.0))
    return Check(name, certified, measured, limit, holds=limit is None or measured <= limit)


def _certified(encoder: InvariantEncoder, name: str) -> float | None:
    where, _, what = name.rpartition("/")
    numbers = {key: value for key, value in encoder.certificate.get("measured", {}).items() if value is not None}
    # What was logged by one report stands there by another name in a later one.
    keys = {
        "raw": f"{what}_raw",
        "invariant": what,
        "upright": f"{what}_upright_raw",
        "equivariance": "equivariance_error",
    }
    value = numbers.get(name, numbers.get(keys.get(where, "")))
    return None if value is None else float(value)
