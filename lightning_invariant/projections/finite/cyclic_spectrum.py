"""Fourier modulus, power spectrum and bispectrum of cyclic groups."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.cyclic import Cyclic
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm, relative, triple
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.base.templates import unit_templates

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class FourierModulus(_JointInvariants):
    """f = |z_i(k)| for every channel i and frequency k from 0 to n / 2, scaled so that |f| = |z|.

    A baseline: it forgets all phases, those between channels too.

    Args:
        representation: Of T_n or C_n on regular copies, "T64: 8 regular"; trivial terms may stand beside them and are
            kept.

    Raises:
        GroupError: Another representation.

    Note:
        1-Lipschitz: the transform is orthogonal and | |a| - |b| | <= |a - b|. Lossy: channels that are shifted apart,
        or frequencies that are turned by angles of their own, are merged.

    References:
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


class CyclicPowerSpectrum(_JointInvariants):
    """Fourier norms |z_i(k)| and, within each frequency, phases z_i(k) conj(r(k)) across channels.

    The reference r(k) is a random real combination of the channels at frequency k; products are divided by the norm
    of (z_i(k), r(k)), so features scale like z. The means z_i(0) stand as they are, first.

    Args:
        representation: Of C_n or T_n on m regular copies; trivial terms may stand beside them and are kept.
        seed: Seed of the references.

    Raises:
        GroupError: Another representation.

    Note:
        Lossy: every frequency may be turned by an angle of its own. Unlike a spectrum of each channel it sees channels
        that are shifted apart. Continuous, and Lipschitz as it is homogeneous.

    References:
        The shift theorem: a shift by s multiplies z(k) by exp(-2 pi i k s / n).

    Example:
        >>> import torch
        >>> z = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).double()
        >>> CyclicPowerSpectrum("C4: 1 regular")(z).round(decimals=3).tolist()
        [[0.5, 0.707, 0.5]]
    """

    expected = "regular copies of a cyclic group, such as 'C8: 16 regular'"
    remedy = "use SortedCoorbits for other finite groups, PhaseInvariants for irreps of SO2"

    table_real: Tensor
    table_imaginary: Tensor
    reference: Tensor

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation)
        self.seed = seed
        self.n, self.m = self.moving[0][1].dim, sum(block.copies for _, block in self.moving)
        real, imaginary = fourier_tables(self.n)
        self.register_buffer("table_real", real)
        self.register_buffer("table_imaginary", imaginary)
        self.register_buffer("reference", unit_templates(1, self.m, seed)[0])
        top, turning = self.n // 2, (self.n - 1) // 2
        across = self.m * (top + turning) + top if self.m > 1 else 0
        self.out_features = self.m * (1 + top) + across + self.fixed_size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            differentiable="where no Fourier coefficient of a channel or reference is zero",
            source="shift theorem",
            note="Merges latents whose frequencies are turned by angles of their own.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        return isinstance(block.group, Cyclic) and isinstance(block, Regular)

    @property
    def settings(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Means, norms, norms of the references, relative phases."""
        spectrum = self._spectrum(parts)
        features = [spectrum[:, :, 0, 0], direction_and_norm(spectrum[:, :, 1:])[1].flatten(1)]
        if self.m > 1:
            reference = self._references(spectrum)[:, 1:]
            phases = relative(spectrum[:, :, 1:], reference[:, None].expand_as(spectrum[:, :, 1:]))
            features += [direction_and_norm(reference)[1].flatten(1), phases[..., 0].flatten(1)]
            # The coefficient at n / 2 is real, so it has no imaginary part to hand on.
            features.append(phases[:, :, : (self.n - 1) // 2, 1].flatten(1))
        return torch.cat(features, dim=1)

    def _spectrum(self, parts: list[Tensor]) -> Tensor:
        z = torch.cat(parts, dim=1)
        return torch.stack([z @ self.table_real.to(z.dtype), z @ self.table_imaginary.to(z.dtype)], dim=-1)

    def _references(self, spectrum: Tensor) -> Tensor:
        return torch.einsum("m,bmkc->bkc", self.reference.to(spectrum.dtype), spectrum)


class CyclicBispectrum(CyclicPowerSpectrum):
    """The features of `CyclicPowerSpectrum`, then r(j) r(k) conj(r(j + k)) / |(r(j), r(k), r(j + k))|^2.

    Args:
        representation: As `CyclicPowerSpectrum`.
        selective: Whether to take j = 1 only, about n features in the place of n^2 / 6.
        seed: Seed of the references.

    Raises:
        GroupError: Another representation.

    Note:
        Generic, on the JOINT latent: where all r(k) are nonzero, the products with j = 1 give
        arg r(k + 1) = arg r(1) + arg r(k) - known, hence arg r(k) = k arg r(1) - known, and since r(n - k) is the
        conjugate of r(k), n arg r(1) is known: what is left are the n shifts. The phases within frequencies then give
        every channel. All j <= k are taken unless `selective`, so a zero of r(1) need not be fatal. Continuous, and
        Lipschitz as it is homogeneous; not bi-Lipschitz.

    References:
        Kakarala's bispectrum on finite groups; selective after Mataigne et al. 2024 (2407.07655) and 2310.18564.

    Example:
        >>> import torch
        >>> P, z = CyclicBispectrum("C5: 2 regular"), torch.arange(10.0).reshape(1, 2, 5)
        >>> torch.allclose(P(z), P(z.roll(2, dims=-1)), atol=1e-5)
        True
    """

    first: Tensor
    second: Tensor
    third: Tensor
    table_sign: Tensor

    def __init__(self, representation: Representation | str, *, selective: bool = False, seed: int = 0) -> None:
        super().__init__(representation, seed)
        self.selective = selective
        triples = _triples(self.n, selective=selective)
        columns = torch.tensor(triples, dtype=torch.int64).reshape(-1, 3).unbind(dim=1)
        for name, column in zip(("first", "second", "third"), columns, strict=True):
            self.register_buffer(name, column)
        # The last factor is conjugated where the frequencies add up, not where they add up to n.
        signs = torch.where(columns[0] + columns[1] == columns[2], -1.0, 1.0)
        self.register_buffer("table_sign", signs)
        self.out_features += 2 * len(triples)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.GENERIC,
            differentiable="where no Fourier coefficient of a channel or reference is zero",
            source="proof in the docstring of CyclicBispectrum; 2310.18564; 2407.07655",
            note="Merges some latents on which Fourier coefficients of the random reference are zero.",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Whether it is selective, and the seed."""
        return {"selective": self.selective, "seed": self.seed}

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """The power spectrum's features and the triple products."""
        r = self._references(self._spectrum(parts))
        last = r[:, self.third]
        last = torch.stack([last[..., 0], last[..., 1] * self.table_sign.to(r.dtype)], dim=-1)
        products = triple(r[:, self.first], r[:, self.second], last)
        return torch.cat([super().invariants(parts), products.flatten(1)], dim=1)


def _triples(n: int, *, selective: bool) -> list[tuple[int, int, int]]:
    """Frequencies j <= k with j + k = l, or l >= k with j + k + l = n, all from 1 to n / 2."""
    top, triples = n // 2, []
    for j in range(1, (1 if selective else top) + 1):
        for k in range(j, top + 1):
            if j + k <= top:
                triples.append((j, k, j + k))
            elif k <= n - j - k:
                triples.append((j, k, n - j - k))
    return triples
