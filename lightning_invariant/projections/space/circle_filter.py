"""Max filter bank over all rotations of the plane: the top of a trigonometric polynomial for each template."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.matrix_blocks import Flip, FrequencyIrrep, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.base.templates import unit_templates

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

LARGEST_FREQUENCY = 32
FINE = 16
"""Angles that are looked at, times the largest frequency."""
PEAKS, STEPS = 6, 5
"""Peaks at most that are followed to their top, and Newton steps to it."""
BLOCK = 2**21
"""Values of polynomials that exist at once."""


class CircleMaxFilter(_JointInvariants):
    """f_i = max_g <rho(g) z, t_i> / sqrt(K) over all rotations g (and reflections) with random unit templates t_i.

    The product is a trigonometric polynomial of the angle. Its values on a grid give its peaks, and Newton's method
    their tops, so the maximum is that over all angles up to rounding. The last step carries derivatives.

    Args:
        representation: Of SO(2) or O(2) on irreps up to frequency 32, "SO2: 4x0 + 8x1 + 4x2", vectors and "det";
            trivial terms may stand beside them and are kept.
        out_features: Number K of templates, and of kept numbers; twice the numbers that move, and kept ones, if None.
        seed: Seed of the templates.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for a template.

    Note:
        1-Lipschitz. Injective for almost all templates when there are at least twice as many as numbers
        that move; under SO(2) then bi-Lipschitz. With fewer, any fixed pair of orbits is told apart for almost all
        templates.

    References:
        Mixon and Qaddura 2022 (2212.11156) for injectivity; Qaddura 2024 (2403.14042) for SO(2).

    Example:
        >>> import torch
        >>> P, z = CircleMaxFilter("SO2: 2x1 + 1x2"), torch.arange(6.0)[None]
        >>> w = P.representation.transform(z, P.representation.group.sample(1))
        >>> P(z).shape, torch.allclose(P(z), P(w), atol=1e-5)
        (torch.Size([1, 12]), True)
    """

    expected = "irreps of SO2 or O2, such as 'SO2: 8x1 + 4x2'"
    remedy = "use MaxFilter for finite groups and GramRoot for vectors in other dimensions"

    templates: Tensor
    table_waves: Tensor
    table_frequencies: Tensor

    def __init__(self, representation: Representation | str, out_features: int | None = None, seed: int = 0) -> None:
        super().__init__(representation)
        self.seed = seed
        self.frequencies = tuple(sorted({_frequency(block) for _, block in self.moving}))
        if max(self.frequencies) > LARGEST_FREQUENCY or max(self.frequencies) == 0:
            raise GroupError(f"Expected frequencies from 1 to {LARGEST_FREQUENCY} but got '{self.representation}'.")
        size = sum(block.size for _, block in self.moving)
        self.out_features = 2 * size + self.fixed_size if out_features is None else out_features
        self.count = self.out_features - self.fixed_size
        if self.count < 1:
            raise ValueError(f"Expected at least {self.fixed_size + 1} features but got {out_features}.")
        self.register_buffer("templates", unit_templates(self.count, size, seed))
        angles = torch.arange(FINE * max(self.frequencies), dtype=torch.float64)
        angles *= 2 * math.pi / len(angles)
        frequencies = torch.tensor(self.frequencies, dtype=torch.float64)
        turns = frequencies[:, None] * angles
        self.register_buffer("table_frequencies", frequencies)
        self.register_buffer("table_waves", torch.cat([turns.cos(), turns.sin()]))
        self.reflects = str(self.representation.group) == "O2"
        enough = self.count >= 2 * size
        strong = Separation.INJECTIVE if self.reflects else Separation.BILIPSCHITZ
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=strong if enough else Separation.PAIRWISE,
            lipschitz=1.0,
            differentiable="where one angle attains each maximum",
            source="Mixon and Qaddura 2022, 2212.11156; Qaddura 2024, 2403.14042",
            note="For almost all templates."
            if enough
            else "Every fixed pair of different orbits is told apart for almost all templates, but not all at once.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        planar = isinstance(block.group, Orthogonal) and block.group.d == 2
        return planar and isinstance(block, (FrequencyIrrep, Vectors, Flip))

    @property
    def settings(self) -> dict[str, Any]:
        """Size and seed."""
        return {"out_features": self.out_features, "seed": self.seed}

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """The maxima."""
        unit, norm = direction_and_norm(torch.cat([part.flatten(1) for part in parts], dim=1))
        rows = max(1, BLOCK // (self.count * self.table_waves.shape[1]))
        # A loop over a dynamic batch cannot be traced, so a traced graph makes one pass.
        if torch.compiler.is_compiling() or unit.shape[0] <= rows:
            return self._maxima(unit) * norm / self.count**0.5
        return torch.cat([self._maxima(part) for part in unit.split(rows)]) * norm / self.count**0.5

    def _maxima(self, z: Tensor) -> Tensor:
        largest = self._largest(*self._polynomials(z, mirrored=False))
        if not self.reflects:
            return largest
        return torch.maximum(largest, self._largest(*self._polynomials(z, mirrored=True)))

    def _polynomials(self, z: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
        """Coefficients (B, K, F) of cos(k t) and sin(k t) in <rho(t) z, template>."""
        cosines = {k: z.new_zeros(z.shape[0], self.count) for k in self.frequencies}
        sines, start = dict(cosines), 0
        for _, block in self.moving:
            k, stop = _frequency(block), start + block.size
            part, template = z[:, start:stop], self.templates[:, start:stop].to(z.dtype)
            start = stop
            if isinstance(block, Flip):
                cosines[k] = cosines[k] + (-part if mirrored else part) @ template.mT
                continue
            x, y = part.unflatten(1, (-1, 2)).unbind(dim=2)
            a, b = template.unflatten(1, (-1, 2)).unbind(dim=2)
            y = -y if mirrored else y
            cosines[k] = cosines[k] + x @ a.mT + y @ b.mT
            sines[k] = sines[k] + x @ b.mT - y @ a.mT
        return torch.stack(list(cosines.values()), dim=-1), torch.stack(list(sines.values()), dim=-1)

    def _largest(self, c: Tensor, s: Tensor) -> Tensor:
        waves, k = self.table_waves.to(c.dtype), self.table_frequencies.to(c.dtype)
        # Which angle is the top is looked for without gradients.
        still = c.detach(), s.detach()
        values = torch.cat(still, dim=-1) @ waves
        peak = (values >= values.roll(1, dims=-1)) & (values >= values.roll(-1, dims=-1))
        count = min(PEAKS, max(self.frequencies))
        place = torch.where(peak, values, -torch.inf).topk(count, dim=-1).indices
        step = 2 * math.pi / waves.shape[1]
        angle = place.to(c.dtype) * step
        for _ in range(STEPS):
            angle = angle + self._newton(*still, k, angle).clamp(-step, step)
        tops = _value(*still, k, angle)
        angle = angle.gather(-1, tops.argmax(dim=-1, keepdim=True))
        # At the top the first derivative is zero, so this step moves nothing, but its derivative is that of the top.
        angle = angle + self._newton(c, s, k, angle)
        return _value(c, s, k, angle)[..., 0]

    @staticmethod
    def _newton(c: Tensor, s: Tensor, k: Tensor, angle: Tensor) -> Tensor:
        turn = angle[..., None] * k
        cosine, sine, c, s = turn.cos(), turn.sin(), c[..., None, :], s[..., None, :]
        slope = (k * (s * cosine - c * sine)).sum(dim=-1)
        curve = (k * k * (c * cosine + s * sine)).sum(dim=-1)
        curved = curve > torch.finfo(curve.dtype).eps
        return torch.where(curved, slope / torch.where(curved, curve, torch.ones_like(curve)), 0.0)


def _value(c: Tensor, s: Tensor, k: Tensor, angle: Tensor) -> Tensor:
    turn = angle[..., None] * k
    return (c[..., None, :] * turn.cos() + s[..., None, :] * turn.sin()).sum(dim=-1)


def _frequency(block: Block) -> int:
    if isinstance(block, Flip):
        return 0
    return block.frequency if isinstance(block, FrequencyIrrep) else 1
