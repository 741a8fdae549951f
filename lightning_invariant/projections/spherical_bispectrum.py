"""Spherical bispectrum: Clebsch-Gordan products of three channels."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.clebsch_gordan import clebsch_gordan
from lightning_invariant.projections.completeness import jacobian_rank
from lightning_invariant.projections.spherical_spectrum import Irrep, SphericalPowerSpectrum
from lightning_invariant.projections.templates import unit_templates

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation

SIZE_LIMIT = 4
"""Without a wished size, all products are taken up to this many times the latent's size."""


class SphericalBispectrum(SphericalPowerSpectrum):
    """Products of two and three channels, <z_i, z_j> and sum_abc T_abc z_i,a z_j,b z_k,c, of z / |z|, times |z|.

    T is the Clebsch-Gordan tensor of the three degrees; under O(3) the product of the parities must be even. With a
    bound on the size, each feature multiplies random combinations of the channels (within one degree) instead.

    Guarantee:
        Generic if the Jacobian has full rank at a random latent (checked in float64 on construction): almost every
        latent then shares its features with finitely many orbits at most, and with none under SO(3) where each degree
        from 0 to the largest has at least 2 l + 1 channels and all products are taken (2306.00155). Otherwise lossy,
        such as for one channel of degree 3, which has no cubic invariant, or one channel of each degree from 0 to 4.
        Continuous, and Lipschitz as it is homogeneous; not bi-Lipschitz.

    Args:
        representation: As `SphericalPowerSpectrum`.
        out_features: Largest number of features, unmoved numbers included; if None, all products up to 4 D, beyond
            that a random selection of 4 D.
        seed: Seed of the selection.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for one product of each kind.

    Source:
        Edidin and Satriano 2023 (2306.00155); 2508.02674 for selections.

    Example:
        >>> P = SphericalBispectrum("SO3: 2x1 + 1x2")
        >>> P.out_features, P.guarantee.separation.words
        (8, 'generic')
    """

    def __init__(self, representation: Representation | str, out_features: int | None = None, seed: int = 0) -> None:
        super().__init__(representation)
        self.wished, self.seed = out_features, seed
        self.kinds = _kinds(self.counts)
        everything = sum(kind.number for kind in self.kinds) + self.fixed_size
        bound = SIZE_LIMIT * self.representation.size if out_features is None else out_features
        self.selects = everything > bound
        self.out_features = bound if self.selects else everything
        for i, kind in enumerate(self.kinds):
            if len(kind.irreps) == 3:
                table = clebsch_gordan(*(degree for degree, _ in kind.irreps))
                self.register_buffer(f"table{i}", table)
            self._register(i, kind)
        self.guarantee = self._measured_guarantee()

    @property
    def settings(self) -> dict[str, Any]:
        """Wished size and seed."""
        return {"out_features": self.wished, "seed": self.seed}

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Products of two, then of three channels, times the norm."""
        fields, norm = self._fields(parts)
        if self.selects:
            products = [self._selected(i, kind, fields) for i, kind in enumerate(self.kinds)]
        else:
            cubic = [(i, kind) for i, kind in enumerate(self.kinds) if len(kind.irreps) == 3]
            products = self._grams(fields) + [self._every(i, kind, fields) for i, kind in cubic]
        return torch.cat(products, dim=1) * norm

    def _register(self, i: int, kind: _Kind) -> None:
        if not self.selects:
            if len(kind.irreps) == 3:
                self.register_buffer(f"pairs{i}", kind.pairs)
                self.register_buffer(f"kept{i}", kind.kept)
            return
        share = _shares([kind.number for kind in self.kinds], self.out_features - self.fixed_size)[i]
        for factor, irrep in enumerate(kind.irreps):
            seed = self.seed + 1000 * i + factor
            self.register_buffer(f"mix{i}_{factor}", unit_templates(share, self.counts[irrep], seed))

    def _every(self, i: int, kind: _Kind, fields: dict[Irrep, Tensor]) -> Tensor:
        a, b, c = (fields[irrep] for irrep in kind.irreps)
        first, second = self.get_buffer(f"pairs{i}")
        coupled = self._couple(i, a[:, first], b[:, second])
        return (coupled @ c.mT).flatten(1)[:, self.get_buffer(f"kept{i}")]

    def _selected(self, i: int, kind: _Kind, fields: dict[Irrep, Tensor]) -> Tensor:
        mixed = [
            self.get_buffer(f"mix{i}_{factor}").to(fields[irrep].dtype) @ fields[irrep]
            for factor, irrep in enumerate(kind.irreps)
        ]
        coupled = mixed[0] if len(mixed) == 2 else self._couple(i, mixed[0], mixed[1])
        return (coupled * mixed[-1]).sum(dim=-1)

    def _couple(self, i: int, a: Tensor, b: Tensor) -> Tensor:
        outer = (a[..., :, None] * b[..., None, :]).flatten(-2)
        return outer @ self.get_buffer(f"table{i}").to(a.dtype).flatten(0, 1)

    def _measured_guarantee(self) -> Guarantee:
        latents = self.representation.random(1, torch.Generator().manual_seed(self.seed)).double()
        dimension = self.representation.size - _orbit_dimension(self.counts)
        missing = dimension - jacobian_rank(self.project, latents[0])
        return Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY if missing else Separation.GENERIC,
            differentiable="except at zero",
            source="Edidin and Satriano 2023, 2306.00155; 2508.02674",
            note=f"Merges families of {missing} parameters even at generic latents."
            if missing
            else "Finitely many orbits may share features unless every degree has 2 l + 1 channels.",
        )


class _Kind(NamedTuple):
    """Products of two or three irreps: how many there are, and which pairs and last channels give them."""

    irreps: tuple[Irrep, ...]
    number: int
    pairs: Tensor
    kept: Tensor


def _kinds(counts: dict[Irrep, int]) -> list[_Kind]:
    none = torch.zeros(0, dtype=torch.int64)
    kinds = [_Kind((irrep, irrep), m * (m + 1) // 2, none, none) for irrep, m in counts.items()]
    for a, b, c in combinations_with_replacement(counts, 3):
        if abs(a[0] - b[0]) <= c[0] <= a[0] + b[0] and a[1] * b[1] * c[1] == 1:
            # Equal irreps first: their products are symmetric or antisymmetric, so each pair is taken once.
            irreps = (b, c, a) if b == c != a else (a, b, c)
            pairs, kept = _distinct(irreps, counts)
            if len(kept):
                kinds.append(_Kind(irreps, len(kept), pairs, kept))
    return kinds


def _distinct(irreps: tuple[Irrep, Irrep, Irrep], counts: dict[Irrep, int]) -> tuple[Tensor, Tensor]:
    """Pairs (2, P) of channels to couple, and which of their P x m products with the last channel to keep."""
    a, b, c = irreps
    odd = sum(degree for degree, _ in irreps) % 2
    if a == b:
        pairs = torch.triu_indices(counts[a], counts[a], offset=odd)
    else:
        pairs = torch.cartesian_prod(torch.arange(counts[a]), torch.arange(counts[b])).mT
    last = torch.arange(counts[c])
    keep = last >= pairs[1][:, None] + odd if a == b == c else torch.ones(pairs.shape[1], len(last), dtype=torch.bool)
    return pairs.contiguous(), keep.flatten().nonzero().flatten()


def _shares(counts: list[int], total: int) -> list[int]:
    """At least one feature for each kind, the others in proportion to the number of products."""
    if total < len(counts):
        raise ValueError(
            f"Expected room for {len(counts)} kinds of products beside unmoved numbers but got {total} features."
        )
    spare, every = total - len(counts), sum(counts)
    ends = [spare * sum(counts[: i + 1]) // every for i in range(len(counts))]
    return [1 + end - start for start, end in zip([0, *ends], ends, strict=False)]


def _orbit_dimension(counts: dict[Irrep, int]) -> int:
    vectors = {irrep: m for irrep, m in counts.items() if irrep[0] > 0}
    if not vectors:
        return 0
    return 2 if sum(m * irrep[0] for irrep, m in vectors.items()) == 1 else 3
