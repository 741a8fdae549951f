"""Fourier modulus: norms of Fourier coefficients, channel by channel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.cyclic import Cyclic
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.homogeneous import direction_and_norm
from lightning_invariant.projections.joint import _JointInvariants

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class FourierModulus(_JointInvariants):
    """f = |z_i(k)| for every channel i and frequency k from 0 to n / 2, scaled so that |f| = |z|.

    A baseline: it forgets all phases, those between channels too.

    Guarantee:
        1-Lipschitz: the transform is orthogonal and | |a| - |b| | <= |a - b|. Lossy: channels that are shifted apart,
        or frequencies that are turned by angles of their own, are merged.

    Args:
        representation: Of T_n or C_n on regular copies, "T64: 8 regular"; trivial terms may stand beside them and are
            kept.

    Raises:
        GroupError: Another representation.

    Source:
        The shift theorem: a shift by s multiplies z(k) by exp(-2 pi i k s / n).

    Example:
        >>> import torch
        >>> FourierModulus("T4: 1 regular")(torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double()).round(decimals=3).tolist()
        [[0.5, 0.707, 0.5]]
    """

    expected = "regular copies of translations or a cyclic group, such as 'T64: 8 regular'"
    remedy = "use SortedCoorbits for other finite groups"

    table_real: Tensor
    table_imaginary: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        n = self.moving[0][1].dim
        real, imaginary = fourier_tables(n)
        self.register_buffer("table_real", real)
        self.register_buffer("table_imaginary", imaginary)
        self.out_features = sum(block.copies for _, block in self.moving) * (n // 2 + 1) + self.fixed_size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            lipschitz=1.0,
            differentiable="where no Fourier coefficient is zero",
            source="shift theorem",
            note="Merges channels that are shifted apart; channel by channel.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        return isinstance(block.group, Cyclic) and isinstance(block, Regular)

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Norms of coefficients; the means are taken without their sign, too."""
        z = torch.cat(parts, dim=1)
        pairs = torch.stack([z @ self.table_real.to(z.dtype), z @ self.table_imaginary.to(z.dtype)], dim=-1)
        return direction_and_norm(pairs)[1].flatten(1)


def fourier_tables(n: int) -> tuple[Float[Tensor, "n H"], Float[Tensor, "n H"]]:
    """Real and imaginary parts of the Fourier transform of n real numbers, frequencies 0 to n / 2.

    Args:
        n: Length, at least 1.

    Returns:
        Two tables (n, n // 2 + 1), float64. Together they are orthogonal: frequencies that stand for a conjugate pair
        carry a factor sqrt(2), and frequencies 0 and n / 2 have no imaginary part.
    """
    frequency = torch.arange(n // 2 + 1)
    # Reduced modulo n in integers, so that the angles are exact for any n.
    angle = (torch.arange(n)[:, None] * frequency % n).double() * (2 * math.pi / n)
    alone = (2 * frequency) % n == 0
    weight = ((2.0 - alone.double()) / n).sqrt()
    return angle.cos() * weight, torch.where(alone, 0.0, -angle.sin() * weight)
