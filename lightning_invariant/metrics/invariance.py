"""Errors of invariance and equivariance, relative to how far different samples are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups import Representation
from lightning_invariant.metrics.elements import element_classes

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


PAIRED = 256
"""Rows between which distances are averaged; of more, as many spread evenly."""


def mean_distance(x: Float[Tensor, "B *shape"]) -> float:
    """Return the mean Euclidean distance between different rows, by which errors are divided to have no unit.

    Args:
        x: At least 2 samples in any layout.

    Returns:
        The mean over all pairs of at most 256 rows spread over all.

    Raises:
        ValueError: Fewer than 2 samples.

    Example:
        >>> mean_distance(torch.tensor([[0.0], [1.0], [2.0]]))
        1.33...
    """
    count = len(x)
    if count < 2:
        raise ValueError(f"Expected at least 2 samples to measure distances between but got {count}.")
    spread = torch.linspace(0, count - 1, min(count, PAIRED), dtype=torch.float64).round().long()
    rows = x[spread.to(x.device)].reshape(len(spread), -1).double()
    rows = rows - rows.mean(0)
    squares = rows.square().sum(1)
    distances = (squares[:, None] + squares - 2 * rows @ rows.T).clamp_min_(0).fill_diagonal_(0).sqrt_()
    return float(distances.sum()) / (len(rows) * (len(rows) - 1))


def invariance_error(f_transformed: Float[Tensor, "B *K"], f: Float[Tensor, "B *K"]) -> float:
    """Return the mean ||f(gx) - f(x)|| over the mean distance between DIFFERENT samples.

    0 is invariant; about 1 means that transforming a sample changes its features as much as replacing it.

    Args:
        f_transformed: Features of the transformed inputs.
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
    transformed, still = _rows(f_transformed, f)
    return relative_error((transformed - still).norm(dim=1), _scale(still))


def equivariance_error(
    z_transformed: Float[Tensor, "B *shape"],
    z: Float[Tensor, "B *shape"],
    representation: Representation | str,
    g: Tensor,
) -> float:
    """Return the mean ||layer(gx) - rho(g) layer(x)|| over the mean distance between different samples.

    Args:
        z_transformed: Latents of the transformed inputs.
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
    return relative_error(*equivariance_gaps(z_transformed, z, representation, g))


def equivariance_errors(
    z_transformed: Float[Tensor, "B *shape"],
    z: Float[Tensor, "B *shape"],
    representation: Representation | str,
    g: Tensor,
) -> dict[str, float]:
    """Return the equivariance error of every element that occurs, or of every class of elements of a large group.

    Args:
        z_transformed: Latents of the transformed inputs.
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
        >>> errors = equivariance_errors(z.roll(2, dims=1), z, "C4: regular", torch.tensor([2, 2, 2, 0]))
        >>> {name: round(error, 6) for name, error in errors.items()}
        {'0°': 1.0, '180°': 0.0}
    """
    return element_errors(*equivariance_gaps(z_transformed, z, representation, g), representation, g)


def equivariance_gaps(
    z_transformed: Float[Tensor, "B *shape"],
    z: Float[Tensor, "B *shape"],
    representation: Representation | str,
    g: Tensor,
) -> tuple[Float[Tensor, "B"], float | None]:
    """||layer(gx) - rho(g) layer(x)|| of each sample, and the mean distance between different samples.

    Args:
        z_transformed: Latents of the transformed inputs.
        z: Latents of the inputs.
        representation: How g is said to act on the latents.
        g: One element, or one for each sample (B, *element_shape).

    Returns:
        The gaps, and their scale: None if the latents are not finite or have collapsed to one point up to rounding.
    """
    transformed, expected = _rows(z_transformed, Representation.parse(representation).transform(z, g))
    return (transformed - expected).norm(dim=1), _scale(_rows(z, z)[0])


def element_errors(
    gaps: Float[Tensor, "B"], scale: float | None, representation: Representation | str, g: Tensor
) -> dict[str, float]:
    """Return the mean gap over scale for every element that occurs, or every class of elements of a large group."""
    names, rows = element_classes(Representation.parse(representation).group, g)
    gaps = gaps.cpu()
    return {name: relative_error(gaps[rows == number], scale) for number, name in enumerate(names)}


def _rows(moved: Tensor, still: Tensor) -> tuple[Tensor, Tensor]:
    if moved.shape != still.shape:
        raise ValueError(f"Expected two equal shapes but got {tuple(moved.shape)} and {tuple(still.shape)}.")
    wide = torch.promote_types(still.dtype, torch.float32)
    return moved.reshape(len(moved), -1).to(wide), still.reshape(len(still), -1).to(wide)


def relative_error(gaps: Float[Tensor, "B"], scale: float | None) -> float:
    """Return the mean gap over scale; infinity where either is not known."""
    return gaps.mean().item() / scale if scale is not None and gaps.isfinite().all() else float("inf")


def _scale(rows: Tensor) -> float | None:
    scale = mean_distance(rows)
    floor = 8 * torch.finfo(rows.dtype).eps * rows.norm(dim=1).mean().item()
    return scale if floor < scale < float("inf") else None
