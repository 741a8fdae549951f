"""The cone map: one plane that a finite group turns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm, times
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.tables import ExactTables

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation

LARGEST_LATENT, LARGEST_GROUP = 64, 4096
TOLERANCE = 1e-9


class Cone(ExactTables, Projection):
    """f = (|z| sqrt(1 - 1 / r^2), |z| (z / |z|)^r / r) for z in the plane that r rotations turn, seen as complex.

    The quotient of the plane is a cone, which stands in three dimensions as it is, but for chords. The plane may lie
    anywhere in the latent, as it does in one regular copy of C_3.

    Args:
        representation: Of a finite group that turns one plane and leaves everything orthogonal to it alone: "C4: 1x1",
            "C3: 1 regular".

    Raises:
        GroupError: Another representation.

    Note:
        1-Lipschitz, since it keeps the length of every curve. For equal norms at an angle t up to pi / r
        distances have the ratio sin(r t / 2) / (r sin(t / 2)), smallest at pi / r: distortion r sin(pi / 2r), below
        pi / 2. Points of different norm have ratios nearer to 1.

    References:
        The proof above.

    Example:
        >>> import torch
        >>> P, z = Cone("C4: 1x1"), torch.tensor([[1.0, 2.0]])
        >>> torch.allclose(P(z), P(torch.tensor([[-2.0, 1.0]]))), round(P.guarantee.distortion, 3)
        (True, 1.531)
    """

    table_plane: Tensor
    table_fixed: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        plane, fixed, self.turns = _plane(self.representation)
        self.register_buffer("table_plane", plane)
        self.register_buffer("table_fixed", fixed)
        self.out_features = 3 + fixed.shape[1]
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.BILIPSCHITZ,
            lipschitz=1.0,
            distortion=self.turns * math.sin(math.pi / (2 * self.turns)),
            differentiable="where the plane's part is not zero",
            source="proof in the docstring of Cone",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Height, point on the circle, then what stays."""
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        unit, norm = direction_and_norm(work @ self.table_plane.to(work.dtype))
        power, square, left = torch.ones_like(unit) * unit.new_tensor([1.0, 0.0]), unit, self.turns
        while left:
            power, square, left = times(power, square) if left % 2 else power, times(square, square), left // 2
        height = (1 - self.turns**-2) ** 0.5 * norm
        return torch.cat([height, power * norm / self.turns, work @ self.table_fixed.to(work.dtype)], dim=1).to(z.dtype)


def _plane(representation: Representation) -> tuple[Tensor, Tensor, int]:
    """Basis of the plane, basis of what stays, and how many rotations there are."""
    order = representation.group.order
    if order is None or order > LARGEST_GROUP or representation.size > LARGEST_LATENT or order < 3:
        raise _refusal(representation)
    traces = torch.zeros(order, dtype=torch.float64)
    elements = representation.group.elements()
    for block in representation:
        traces += block.copies * block.characters(elements)
    # The mean trace counts what stays: all but two dimensions here.
    if round(float(traces.mean())) != representation.size - 2:
        raise _refusal(representation)
    rho = representation.matrices(elements)
    weights, vectors = torch.linalg.eigh((rho.mean(dim=0) + rho.mean(dim=0).mT) / 2)
    plane, fixed = vectors[:, weights < 0.5], vectors[:, weights > 0.5]
    turned = plane.mT @ rho @ plane
    angles = torch.atan2(turned[:, 1, 0], turned[:, 0, 0])
    # An angle of pi may come out as -pi.
    distinct = torch.view_as_real(torch.polar(torch.ones_like(angles), angles)).round(decimals=6).add(0.0).unique(dim=0)
    if (torch.linalg.det(turned) - 1).abs().max() > 1e3 * TOLERANCE or len(distinct) < 3:
        raise _refusal(representation)
    return plane, fixed, len(distinct)


def _refusal(representation: Representation) -> GroupError:
    return GroupError(
        f"Expected a finite group that turns one plane, such as 'C4: 1x1', but got '{representation}'; "
        "use MaxFilter or SortedCoorbits for other finite groups."
    )
