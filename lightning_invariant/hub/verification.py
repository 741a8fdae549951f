"""Measures what a certificate says again, on inputs of whoever pulled the encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError, GuaranteeError
from lightning_invariant.groups import Sampled
from lightning_invariant.groups.actions import default_action
from lightning_invariant.hub.masks import mask_of
from lightning_invariant.metrics import equivariance_error, invariance_error
from lightning_invariant.probes import accuracy_interval, knn_predict, ridge_fit
from lightning_invariant.testing import assert_guarantee

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_invariant.groups.actions import InputAction
    from lightning_invariant.hub.encoder import InvariantEncoder

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
"""Rows of inputs as they are, and of the same inputs moved."""


class Check(NamedTuple):
    """One number of a certificate, measured again.

    Attributes:
        name: As in the certificate.
        certified: What the certificate says; None if it says nothing.
        measured: Now; NaN if it could not be measured.
        limit: Largest error, or smallest accuracy, at which the certificate holds; None if it is only told.
        holds: Whether it does.
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
    action: InputAction | None = None,
    seed: int = 0,
    batch_size: int = 256,
    progress: bool = False,
) -> list[Check]:
    """Measure errors, and probes where labels are given, on inputs as they are and moved by random group elements.

    Probes are fitted on the first half of the inputs as they come, and asked about the second half, moved.

    Args:
        encoder: What was pulled.
        inputs: Each input of the network, (B, ...), at least two rows; bytes go through the recorded preprocessing.
        labels: One class an input.
        action: How group elements move inputs; the usual way for their shape if None.
        seed: Of the group elements.
        batch_size: Inputs at one time.
        progress: Whether to show bars.

    Raises:
        ArtifactError: Fewer than two inputs, or nobody said how inputs of this shape move.
        GraphError: The inputs do not fit the network.
    """
    if len(inputs[0]) < 2:
        raise ArtifactError(f"Expected at least 2 inputs but got {len(inputs[0])}; errors are relative to distances.")
    group = encoder.projection.representation.group
    ready = list(inputs)
    if ready[0].dtype == torch.uint8:
        ready[0] = encoder.preprocess(ready[0])
    given: Any = ready[0] if len(ready) == 1 else tuple(ready)
    action = default_action(group, given) if action is None else action
    if action is None:
        raise ArtifactError(
            f"Expected inputs that {group} moves in a usual way but got shapes "
            f"{[tuple(x.shape) for x in inputs]}; call "
            "lightning_invariant.hub.verification.verify with action= to say how."
        )
    g = group.sample(len(ready[0]), torch.Generator().manual_seed(seed))
    moved = action.move(given, g)
    settings: dict[str, Any] = {"output": "torch", "latents": True, "batch_size": batch_size, "progress": progress}
    latents = encoder.encode(given, **settings), encoder.encode(moved, **settings)
    features = tuple(
        _project(encoder, z, None if (index := mask_of(encoder.config)) is None else x[index])
        for z, x in zip(latents, (given, moved), strict=True)
    )
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
    (still, turned), (features, moved) = latents, projected
    floor = ERROR_FLOOR.get(encoder.dtype or torch.float32, 1e-4)
    error = float(invariance_error(moved.float(), features.float()))
    equivariance = float(equivariance_error(turned.float(), still.float(), encoder.projection.representation, g))
    said = _certified(encoder, "equivariance/error")
    return [
        Check(
            "raw/error",
            _certified(encoder, "raw/error"),
            float(invariance_error(turned.float(), still.float())),
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
    still, turned = latents
    sets = {"upright": (still, still), "raw": (still, turned), "invariant": projected}
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

    How hard the inputs are, and how many are known, shows in the raw latents of inputs that were not moved: the
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
    return torch.cat([encoder.projection(*(rows.to(encoder.device) for rows in part)).cpu() for part in parts])


def _at_most(name: str, certified: float | None, measured: float, floor: float, *, told: bool = False) -> Check:
    limit = None if told else max(floor, FACTOR * (certified or 0.0))
    return Check(name, certified, measured, limit, holds=limit is None or measured <= limit)


def _certified(encoder: InvariantEncoder, name: str) -> float | None:
    measured = encoder.certificate.get("measured")
    value = measured.get(name) if isinstance(measured, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
