"""The chamber map: the isometric cross section of every finite reflection group."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.exact_tables import ExactTables
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.reflections import fold, passes_needed, simple_roots

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Chamber(ExactTables, Projection):
    """The one point of each orbit that lies in a fixed chamber, found by folding at the chamber's walls.

    Covers D_n on the plane, signs, S_n, signed permutations, products of these, and any other finite action that
    reflections generate; whether they do is found from the matrices. A fixed number of passes always suffices.

    Guarantee:
        Isometric: for z and w in one closed chamber |z - w| = min_g |z - rho(g) w|, since folding w at a wall that
        separates it from z brings it nearer.

    Args:
        representation: Of a finite group whose image reflections generate.

    Raises:
        GroupError: They do not.

    Source:
        Humphreys 1990, Reflection Groups and Coxeter Groups, 1.12.

    Example:
        >>> import torch
        >>> P, z = Chamber("D3: 1x1"), torch.tensor([[1.0, 0.2]])
        >>> P(z).shape, torch.allclose(P(z), P(z * torch.tensor([1.0, -1.0])))
        (torch.Size([1, 2]), True)
    """

    table: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        roots = simple_roots(self.representation)
        if roots is None:
            raise GroupError(
                f"Expected a finite action that reflections generate but '{self.representation}' is none; "
                "use MaxFilter or SortedCoorbits for other finite groups."
            )
        self.passes = passes_needed(roots)
        self.register_buffer("table", roots)
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable="inside the chambers",
            source="Humphreys 1990, Reflection Groups and Coxeter Groups, 1.12",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The point in the chamber."""
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        return fold(work, self.table.to(work.dtype), self.passes).to(z.dtype)
