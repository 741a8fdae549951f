"""The mean over the group: all that a linear invariant map can see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Sampled
from lightning_invariant.groups.block import Trivial
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.exact_tables import ExactTables
from lightning_invariant.projections.projection import Projection

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class OrbitMean(ExactTables, Projection):
    """Coordinates of the mean of rho(g) z over the group, in an orthonormal basis of the vectors that nothing moves.

    A baseline: for m regular copies it keeps m numbers, for irreps only the trivial ones.

    Guarantee:
        1-Lipschitz, as an orthogonal projection. Lossy: latents with the same mean are merged, and every linear
        invariant map factors through this one, since A z = A rho(g) z gives A z = A mean_g rho(g) z.

    Args:
        representation: Of any group with some unmoved vector.

    Raises:
        GroupError: The mean is always zero.

    Example:
        >>> import torch
        >>> OrbitMean("C4: 1 regular")(torch.tensor([[1.0, 2.0, 3.0, 4.0]])).tolist()
        [[5.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        bases = [_fixed(block) for block in self.representation]
        kept = [basis.shape[1] * block.copies for basis, block in zip(bases, self.representation, strict=True)]
        self.out_features = sum(kept)
        if self.out_features == 0:
            raise GroupError(
                f"Expected a representation with some vector that nothing moves but the mean of every orbit of "
                f"'{self.representation}' is zero; use another projection (see choose)."
            )
        for i, basis in enumerate(bases):
            self.register_buffer(f"table{i}", basis)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            lipschitz=1.0,
            source="orthogonal projection on the vectors that nothing moves",
            note="Merges all latents with the same mean.",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The means, times the square root of the size of their orbit."""
        work, means = z.to(torch.promote_types(z.dtype, torch.float32)), []
        for i, (block, part) in enumerate(zip(self.representation, self.representation.split(work), strict=True)):
            copies = part.mT if block.copies_last else part
            means.append((copies @ self.get_buffer(f"table{i}").to(work.dtype)).flatten(1))
        return torch.cat(means, dim=1).to(z.dtype)


def _fixed(block: Block) -> Tensor:
    """Orthonormal basis of the vectors of one copy that nothing moves, (dim, r)."""
    if isinstance(block.group, Sampled) or isinstance(block, Trivial):
        return torch.ones(1, 1, dtype=torch.float64)
    # A few dozen Haar samples generate a dense subgroup of every group here, so they fix what all elements fix.
    elements = block.group.probe_elements(64, torch.Generator().manual_seed(0))
    moves = block.matrices(elements) - torch.eye(block.dim, dtype=torch.float64)
    weights, vectors = torch.linalg.eigh(torch.einsum("nij,nik->jk", moves, moves) / len(elements))
    basis = vectors[:, weights < 1e-9]
    return basis * torch.where(basis.sum(dim=0) < 0, -1.0, 1.0)
