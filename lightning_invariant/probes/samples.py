"""What every probe asks of its samples: finite features in a dtype that can be computed with, and targets that match.

Half precision is computed in float32, float64 stays float64. Probes take no part in autograd or autocast: a probe in a
mixed-precision training loop must give the number that it gives afterwards on the same latents.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int, Shaped

P = ParamSpec("P")
R = TypeVar("R")

SAFE = 1e-12, 1e12
"""Sizes of rows between which float32 squares neither vanish nor overflow."""


def full_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Let ``function`` run without gradients and without autocast on any device."""

    @wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        devices = {value.device.type for value in (*args, *kwargs.values()) if isinstance(value, Tensor)}
        with torch.no_grad():
            if len(devices) != 1:
                return function(*args, **kwargs)
            with torch.autocast(devices.pop(), enabled=False):
                return function(*args, **kwargs)

    return wrapped


def checked_features(features: Shaped[Tensor, "N K"], name: str, size: int | None = None) -> Float[Tensor, "N K"]:
    """Features as a finite float32 or float64 matrix, without their graph.

    Args:
        features: Shape (N, K), any floating dtype.
        name: What the features are called in an error, such as "bank".
        size: The number of features K that is expected.

    Returns:
        The features; a copy only where the dtype changes.

    Raises:
        ValueError: For another shape, no rows, a dtype that is not real floating, or values that are not finite.
    """
    if features.ndim != 2 or 0 in features.shape or not features.is_floating_point():
        raise ValueError(
            f"Expected {name} of shape (N, K) with N, K >= 1 and a floating dtype but got shape "
            f"{tuple(features.shape)} of {features.dtype}; flatten each sample to one row and give at least one."
        )
    if size is not None and features.shape[1] != size:
        raise ValueError(
            f"Expected {name} with {size} features a row but got {features.shape[1]}; "
            "take both sets from the same layer and projection."
        )
    features = features.detach().to(torch.promote_types(features.dtype, torch.float32))
    low, high = torch.aminmax(features)
    if not (low.isfinite() and high.isfinite()):
        rows = int((~features.isfinite()).any(1).sum())
        raise ValueError(
            f"Expected finite {name} but got {rows} of {len(features)} rows with NaN or infinity; "
            "drop these rows and their targets first."
        )
    return features


def checked_targets(targets: Shaped[Tensor, "N *T"], length: int, name: str = "targets") -> Shaped[Tensor, "N *T"]:
    """Targets that fit: integers of shape (N,) are classes, floats of shape (N,) or (N, T) are values.

    Args:
        targets: One row a sample. Booleans of shape (N,) are the classes 0 and 1, of shape (N, T) the values 0 and 1.
        length: The number of samples N.
        name: What the targets are called in an error.

    Returns:
        int64 classes of shape (N,), or finite float32 or float64 values of shape (N,) or (N, T).

    Raises:
        ValueError: For another shape or length, negative classes, or values that are not finite.
    """
    if targets.ndim not in (1, 2) or 0 in targets.shape or len(targets) != length:
        raise ValueError(
            f"Expected {name} of shape ({length},) or ({length}, T) but got {tuple(targets.shape)}; "
            "give one target a sample."
        )
    targets = targets.detach()
    if targets.is_floating_point() or (targets.dtype == torch.bool and targets.ndim == 2):
        values = targets.to(torch.promote_types(targets.dtype, torch.float32))
        if not values.isfinite().all():
            raise ValueError(
                f"Expected finite {name} but got NaN or infinity; drop these samples, or give classes as integers."
            )
        return values
    if targets.ndim != 1 or targets.is_complex():
        raise ValueError(
            f"Expected {name} as integer classes of shape ({length},) but got {targets.dtype} of shape "
            f"{tuple(targets.shape)}; give several labels a sample as floats 0 and 1."
        )
    classes = targets.long()
    if int(classes.min()) < 0:
        raise ValueError(
            f"Expected {name} as classes from 0 but got {int(classes.min())}; "
            "drop the samples that are marked to be ignored."
        )
    return classes


def checked_groups(
    groups: Int[Tensor, "N"] | None, length: int, device: torch.device, *, several: bool = False
) -> Int[Tensor, "N"]:
    """Groups as int64 on a device; every row its own if None.

    Args:
        groups: int64 (N,), or None.
        length: The number of rows N.
        device: Where the rows are.
        several: Whether at least two groups are needed.

    Returns:
        int64 (N,).

    Raises:
        ValueError: For another shape or dtype, or a single group where several are needed.
    """
    if groups is None:
        groups = torch.arange(length, device=device)
    if groups.shape != (length,) or groups.is_floating_point() or groups.is_complex():
        raise ValueError(
            f"Expected groups as integers of shape ({length},) but got {groups.dtype} of shape {tuple(groups.shape)}; "
            "give one number a row, the same for all rows of one group."
        )
    groups = groups.detach().to(device).long()
    if several and bool((groups == groups[0]).all()):
        raise ValueError(
            f"Expected at least 2 groups but all {length} rows are of one; nothing is left when its group is left out."
        )
    return groups


def row_norms(rows: Float[Tensor, "*N K"]) -> Float[Tensor, "*N"]:
    """Euclidean norms along the last axis, of rows so small or large that squares vanish or overflow too."""
    norms = torch.linalg.vector_norm(rows, dim=-1)
    unsure = ~((norms > SAFE[0]) & (norms < SAFE[1]))
    if bool(unsure.any()):
        some = rows[unsure]
        largest = some.abs().amax(-1, keepdim=True).clamp(min=torch.finfo(rows.dtype).tiny)
        norms[unsure] = torch.linalg.vector_norm(some / largest, dim=-1) * largest[:, 0]
    return norms
