"""The usual poolings, kept as baselines: the mean over the group, the maximum or the norm of each channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Sampled
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.finite_blocks import Points, Regular
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.tables import ExactTables

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class OrbitMean(ExactTables, Projection):
    """Coordinates of the mean of rho(g) z over the group, in an orthonormal basis of the vectors that nothing moves.

    A baseline: for m regular copies it keeps m numbers, for irreps only the trivial ones.

    Args:
        representation: Of any group with some unmoved vector.

    Raises:
        GroupError: The mean is always zero.

    Note:
        1-Lipschitz, as an orthogonal projection. Lossy: latents with the same mean are merged, and every linear
        invariant map factors through this one, since A z = A rho(g) z gives A z = A mean_g rho(g) z.

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


class ChannelMax(Projection):
    """Maximum over the group in each regular field, or over the points in each feature; trivial numbers are kept.

    Args:
        representation: Of regular, points and trivial terms.

    Raises:
        GroupError: Another term.

    Note:
        1-Lipschitz: each maximum is, in its own channel. Lossy: it quotients by one group element for EACH channel, so
        latents whose channels were moved apart are merged, and of each channel only one number is left.

    Example:
        >>> ChannelMax("C3: 2 regular")(torch.tensor([[1.0, 3.0, 2.0, 6.0, 5.0, 4.0]])).tolist()
        [[3.0, 6.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        if any(not isinstance(block, (Regular, Points)) and not is_trivial(block) for block in self.representation):
            raise GroupError(
                f"Expected regular, points and trivial terms but got '{self.representation}'; "
                "use ChannelNorm for a baseline, or a projection of the joint latent (see choose)."
            )
        self.out_features = sum(block.copies for block in self.representation)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            lipschitz=1.0,
            differentiable="where one value attains each maximum",
            source="proof in the docstring of ChannelMax",
            note="Merges latents whose channels were moved apart.",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The maxima."""
        blocks = zip(self.representation, self.representation.split(z), strict=True)
        parts = [part.amax(dim=1 if block.copies_last else 2) for block, part in blocks]
        return torch.cat(parts, dim=1)


class ChannelNorm(Projection):
    """Norm of each copy of each term (of each feature over the points); trivial numbers are kept.

    Args:
        representation: Of any group that acts on the latents by matrices.

    Raises:
        GroupError: The transforms are known by samples only.

    Note:
        1-Lipschitz: each norm is, in its own copy. Lossy: it quotients by one rotation for EACH copy, so latents whose
        copies were rotated apart are merged.

    Example:
        >>> ChannelNorm("SO2: 1x0 + 2x1")(torch.tensor([[-1.0, 3.0, 4.0, 0.0, 2.0]])).tolist()
        [[-1.0, 5.0, 2.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        if isinstance(self.representation.group, Sampled):
            raise GroupError(f"Expected a group of matrices but got '{self.representation}'; use SampledMean.")
        self.out_features = sum(block.copies for block in self.representation)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            lipschitz=1.0,
            differentiable="where no norm is zero",
            source="proof in the docstring of ChannelNorm",
            note="Merges latents whose copies were rotated apart.",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The norms; their gradients at zero are zero."""
        parts = []
        for block, part in zip(self.representation, self.representation.split(z), strict=True):
            dim = 1 if block.copies_last else 2
            parts.append(part.flatten(1) if is_trivial(block) else direction_and_norm(part, dims=(dim,))[1].flatten(1))
        return torch.cat(parts, dim=1)
