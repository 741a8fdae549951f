"""Irreps of the plane's rotations and reflections: outer products of one frequency, relative phases of several."""

from __future__ import annotations

import math
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.matrix_blocks import Flip, FrequencyIrrep, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm, phase_power, relative
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.base.tables import UpperTriangle
from lightning_invariant.projections.base.templates import unit_templates

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class PhaseOuter(_JointInvariants):
    """f = upper triangle of z z* / |z| for complex z, one number a copy, that share a phase; Frobenius norm kept.

    Args:
        representation: Of SO(2) on copies of one frequency, "SO2: 8x2" or "SO2: 8 vectors"; trivial terms may stand
            beside them and are kept.

    Raises:
        GroupError: Another representation.

    Note:
        As for SignOuter, with c = |<v, w>| / (|v| |w|) for the complex product: distortion at most sqrt(2).
        One copy gives its norm, which is isometric.

    References:
        Derksen 2024 (2409.06829).

    Example:
        >>> import torch
        >>> PhaseOuter("SO2: 2x1")(torch.tensor([[3.0, 0.0, 0.0, 4.0]]).double()).round(decimals=3).tolist()
        [[1.8, 0.0, 3.2, -3.394]]
    """

    expected = "irreps of SO2 of one frequency, such as 'SO2: 8x1'"
    remedy = "use PhaseInvariants for several frequencies and GramRoot for O2"

    above: Tensor

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        if str(self.representation.group) != "SO2" or len({_frequency(block) for _, block in self.moving}) > 1:
            raise GroupError(f"Expected {self.expected} but got '{self.representation}'; {self.remedy}.")
        self.m = sum(block.copies for _, block in self.moving)
        self.triangle = UpperTriangle(self.m)
        rows, columns = torch.triu_indices(self.m, self.m, offset=1)
        self.register_buffer("above", rows * self.m + columns)
        self.out_features = self.m**2 + self.fixed_size
        bound = 1.0 if self.m == 1 else math.sqrt(2)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC if self.m == 1 else Separation.BILIPSCHITZ,
            lipschitz=bound,
            distortion=bound,
            differentiable="except at zero",
            source="Derksen 2024, 2409.06829",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        planar = isinstance(block.group, Orthogonal) and block.group.d == 2
        return planar and isinstance(block, (FrequencyIrrep, Vectors))

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Real parts, then imaginary parts."""
        z = torch.cat(parts, dim=1)
        unit, norm = direction_and_norm(z, dims=(1, 2))
        x, y = unit.unbind(dim=-1)
        real = x[:, :, None] * x[:, None, :] + y[:, :, None] * y[:, None, :]
        imaginary = y[:, :, None] * x[:, None, :] - x[:, :, None] * y[:, None, :]
        across = imaginary.flatten(1)[:, self.above] * 2**0.5
        return torch.cat([self.triangle(real), across], dim=1) * norm[:, 0]


class PhaseInvariants(_JointInvariants):
    """Norms |z_i|, phases z_i conj(r_k) within a frequency k, and phases r_k^p conj(r_l)^q across frequencies.

    A rotation by t multiplies a field z_i of frequency k by exp(i k t). The reference r_k is a random real combination
    of the fields of frequency k, so that no single field has to be nonzero; p = l / gcd(k, l), q = k / gcd(k, l). A
    product a conj(b) is divided by the norm of (a, b), and powers act on the phase alone, so everything scales like z.
    A reflection conjugates everything: under O(2) real parts stand as they are, while imaginary parts v, and numbers
    of the "det" representation among them, enter as v <c, v> / |v| for a random unit c.

    Args:
        representation: Of SO(2) or O(2) on irreps, "SO2: 4x0 + 8x1 + 4x2", vectors and "det"; trivial terms may stand
            beside them and are kept.
        seed: Seed of the references.

    Raises:
        GroupError: Another representation.

    Note:
        Generic: where all r_k are nonzero, z follows from the r_k and the phases within frequencies. The invariant
        monomials of the r_k have exponents in the lattice sum_k k m_k = 0, which the pairs above generate (at each
        prime, those with the frequency of least valuation do). Under O(2), also where <c, v> is nonzero: v is then
        known up to the one sign that a reflection changes. Continuous, and Lipschitz as it is homogeneous.

    References:
        The proof above; Edidin and Katz 2024 (2408.09599) for O(2).

    Example:
        >>> import torch
        >>> P = PhaseInvariants("SO2: 1x1 + 1x2")
        >>> P(torch.tensor([[0.0, 2.0, 1.0, 0.0]]).double()).round(decimals=3).tolist()
        [[2.0, 1.0, -0.894, 0.0]]
    """

    expected = "irreps of SO2 or O2, such as 'SO2: 8x1 + 4x2'"
    remedy = "use GramRoot for vectors in other dimensions, SphericalBispectrum for irreps of SO3 and O3"

    imaginary_template: Tensor

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation)
        self.seed = seed
        self.reflects = str(self.representation.group) == "O2"
        counts: dict[int, int] = {}
        for _, block in self.moving:
            if not isinstance(block, Flip):
                counts[_frequency(block)] = counts.get(_frequency(block), 0) + block.copies
        self.frequencies = tuple(sorted(counts))
        for k, count in counts.items():
            self.register_buffer(f"reference{k}", unit_templates(1, count, seed + k)[0])
        flips = sum(block.copies for _, block in self.moving if isinstance(block, Flip))
        norms = sum(m + 1 if m > 1 else 1 for m in counts.values()) + flips
        phases = sum(m for m in counts.values() if m > 1) + math.comb(len(counts), 2)
        imaginary = phases + flips
        self.register_buffer("imaginary_template", unit_templates(1, max(imaginary, 1), seed)[0][:imaginary])
        self.out_features = norms + phases + imaginary + self.fixed_size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.GENERIC,
            differentiable="where no field and no reference is zero",
            source="proof in the docstring of PhaseInvariants"
            + ("; Edidin and Katz 2024, 2408.09599" if self.reflects else ""),
            note="Merges some latents on which a random reference is zero.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        planar = isinstance(block.group, Orthogonal) and block.group.d == 2
        return planar and isinstance(block, (FrequencyIrrep, Vectors, Flip))

    @property
    def settings(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Norms, real parts, imaginary parts."""
        norms, phases, references, flips = [], [], {}, []
        fields: dict[int, list[Tensor]] = {k: [] for k in self.frequencies}
        for (_, block), part in zip(self.moving, parts, strict=True):
            if isinstance(block, Flip):
                flips.append(part[..., 0])
            else:
                fields[_frequency(block)].append(part)
        for k in self.frequencies:
            z = torch.cat(fields[k], dim=1)
            norms.append(direction_and_norm(z)[1][..., 0])
            references[k] = z[:, 0] if z.shape[1] == 1 else self.get_buffer(f"reference{k}").to(z.dtype) @ z
            if z.shape[1] > 1:
                norms.append(direction_and_norm(references[k])[1])
                phases.append(relative(z, references[k][:, None].expand_as(z)))
        for k, l in combinations(self.frequencies, 2):  # noqa: E741
            g = math.gcd(k, l)
            powers = phase_power(references[k], l // g), phase_power(references[l], k // g)
            phases.append(relative(*powers)[:, None])
        pairs = torch.cat(phases, dim=1) if phases else parts[0].new_zeros(parts[0].shape[0], 0, 2)
        imaginary = torch.cat([pairs[..., 1], *flips], dim=1)
        if self.reflects:
            norms.extend(flip.abs() for flip in flips)
            imaginary = self._up_to_sign(imaginary)
        return torch.cat([*norms, pairs[..., 0], imaginary], dim=1)

    def _up_to_sign(self, v: Tensor) -> Tensor:
        if v.shape[1] == 0:
            return v
        unit, norm = direction_and_norm(v)
        return unit * (unit @ self.imaginary_template.to(v.dtype))[:, None] * norm


def _frequency(block: Block) -> int:
    return block.frequency if isinstance(block, FrequencyIrrep) else 1
