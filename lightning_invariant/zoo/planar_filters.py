"""Filters that turn: smooth functions of the plane, sampled on the pixel grid under every element of a group.

A filter is a combination of circular harmonics on rings. Turning one means sampling the same functions at turned
points, so no pixel of a learned filter is ever interpolated: quarter turns and flips permute the samples exactly, and
in between only the grid's own coarseness is left.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.actions.coordinates import coordinate_matrices

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Cyclic, Dihedral

RING_WIDTH = 0.5
"""Standard deviation of a ring in pixels."""
HIGHEST = 2
"""Highest frequency on any ring. Pixels hold more on wide rings, but what turns with an image that is sampled as
coarsely is the low ones: with 6 the error at 45 degrees of an untrained encoder is twice as large."""


def turned_basis(group: Cyclic | Dihedral, kernel_size: int) -> Float[Tensor, "G K P"]:
    """The basis functions psi_k(rho(g)^-1 y) at all pixels y of a filter, for every element g.

    psi is a Gaussian ring of radius 0, 1, ... pixels times cos(m phi) or sin(m phi), with m = 0 alone at the centre.

    Args:
        group: C_n or D_n.
        kernel_size: Odd width of the filters in pixels.

    Returns:
        Float32, K functions of mean square sum 1 at P = kernel_size^2 pixels, row by row.

    Raises:
        ValueError: The width is even: it has no centre to turn about.

    Source:
        Weiler, Hamprecht, Storath 2018 (arXiv 1711.07289), section 3; Weiler and Cesa 2019 (arXiv 1911.08251).

    Example:
        >>> from lightning_invariant.groups import Cyclic
        >>> turned_basis(Cyclic(8), 5).shape
        torch.Size([8, 11, 25])
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"Expected an odd kernel size but got {kernel_size}; an even one has no centre to turn about.")
    rho = coordinate_matrices(group, group.elements())
    points = _pixels(kernel_size) @ rho  # rows y become (rho^T y)^T, and rho^T is rho^-1
    radius = points.norm(dim=-1)
    angle = torch.atan2(points[..., 1], points[..., 0])
    functions = [
        torch.exp(-(((radius - ring) / RING_WIDTH) ** 2) / 2) * wave
        for ring in range(kernel_size // 2 + 1)
        for wave in _waves(angle, 0 if ring == 0 else HIGHEST)
    ]
    basis = torch.stack(functions, dim=1)
    return (basis / basis.square().sum(dim=2, keepdim=True).mean(dim=0, keepdim=True).sqrt()).float()


def _waves(angle: Tensor, highest: int) -> list[Tensor]:
    waves = [wave for m in range(1, highest + 1) for wave in ((m * angle).cos(), (m * angle).sin())]
    return [torch.ones_like(angle), *waves]


def _pixels(kernel_size: int) -> Float[Tensor, "P 2"]:
    """Coordinates (x right, y up) from the centre, row by row."""
    reach = kernel_size // 2
    steps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    y, x = torch.meshgrid(-steps, steps, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def kaiming_scale(functions: int) -> float:
    """Deviation of weights that keeps the variance through a ReLU, for that many products a position.

    Source:
        He et al. 2015 (arXiv 1502.01852), equation 10.
    """
    return math.sqrt(2 / functions)
