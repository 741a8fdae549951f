"""Errors of invariance and equivariance, relative to how far different samples are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import mean_distance
from lightning_invariant.metrics.elements import element_classes

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def invariance_error(f_moved: Float[Tensor, "B *K"], f: Float[Tensor, "B *K"]) -> float:
    """Mean ||f(gx) - f(x)|| over the mean distance between DIFFERENT samples.

    0 is invariant; about 1 means that moving a sample changes its features as much as replacing it.

    Args:
        f_moved: Features of the moved inputs.
        f: Features of the inputs, row by row the same samples.

    Returns:
        Infinity if the features are not finite, or if they have collapsed to one point up to rounding: then nothing
        is measured, and a perfect score would be a lie.

    Raises:
        ValueError: Shapes differ, or fewer than 2 samples.

    Example:
        >>> invariance_error(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
        0.5
        >>> invariance_error(torch.ones(2, 3), torch.ones(2, 3))
        inf
    """
    moved, still = _rows(f_moved, f)
    return _relative((moved - still).norm(dim=1), _scale(still))


def equivariance_error(
    z_moved: Float[Tensor, "B *shape"], z: Float[Tensor, "B *shape"], representation: Representation | str, g: Tensor
) -> float:
    """Mean ||layer(gx) - rho(g) layer(x)|| over the mean distance between different samples.

    Args:
        z_moved: Latents of the moved inputs.
        z: Latents of the inputs.
        representation: How g is said to act on the latents.
        g: One element, or one for each sample (B, *element_shape).

    Returns:
        As `invariance_error`.

    Raises:
        LatentError: The latents do not fit the representation.
        ValueError: Shapes differ, or fewer than 2 samples.

    Example:
        >>> z = torch.eye(4)
        >>> equivariance_error(z.roll(1, dims=1), z, "C4: regular", torch.tensor(1))
        0.0
    """
    moved, expected = _rows(z_moved, Representation.parse(representation).move(z, g))
    return _relative((moved - expected).norm(dim=1), _scale(_rows(z, z)[0]))


def equivariance_errors(
    z_moved: Float[Tensor, "B *shape"], z: Float[Tensor, "B *shape"], representation: Representation | str, g: Tensor
) -> dict[str, float]:
    """The equivariance error of every group element that occurs, or of every class of elements of a large group.

    Args:
        z_moved: Latents of the moved inputs.
        z: Latents of the inputs; ALL of them set the scale.
        representation: How g is said to act on the latents.
        g: One element for each sample (B, *element_shape).

    Returns:
        Name of the element or class (`element_classes`) to its error, in their order.

    Raises:
        LatentError: The latents do not fit the representation.
        ValueError: Shapes differ, or fewer than 2 samples.

    Example:
        >>> z = torch.eye(4)
        >>> equivariance_errors(z.roll(2, dims=1), z, "C4: regular", torch.tensor([2, 2, 2, 0]))
        {'0°': 1.0, '180°': 0.0}
    """
    representation = Representation.parse(representation)
    moved, expected = _rows(z_moved, representation.move(z, g))
    scale = _scale(_rows(z, z)[0])
    gaps = (moved - expected).norm(dim=1).cpu()
    names, rows = element_classes(representation.group, g)
    return {name: _relative(gaps[rows == number], scale) for number, name in enumerate(names)}


def _rows(moved: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    if moved.shape != still.shape:
        raise ValueError(f"Expected two equal shapes but got {tuple(moved.shape)} and {tuple(still.shape)}.")
    wide = torch.promote_types(still.dtype, torch.float32)
    return moved.reshape(len(moved), -1).to(wide), still.reshape(len(still), -1).to(wide)


def _relative(gaps: Tensor, scale: float | None) -> float:
    return gaps.mean().item() / scale if scale is not None and gaps.isfinite().all() else float("inf")


def _scale(rows: Tensor) -> float | None:
    scale = mean_distance(rows)
    floor = 8 * torch.finfo(rows.dtype).eps * rows.norm(dim=1).mean().item()
    return scale if floor < scale < float("inf") else None
