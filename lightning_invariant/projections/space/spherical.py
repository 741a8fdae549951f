"""Products of two and three channels: power spectrum and bispectrum of irreps of SO(3) and O(3)."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.completeness import jacobian_rank
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.base.reduced import with_copies
from lightning_invariant.projections.base.tables import UpperTriangle
from lightning_invariant.projections.base.templates import stored_templates, unit_templates
from lightning_invariant.projections.signs.sign_outer import rank_over_two
from lightning_invariant.projections.space.clebsch_gordan import clebsch_gordan

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


Irrep = tuple[int, int]
"""Degree, and parity under the reflection of all axes: 1 or -1, always 1 for SO(3)."""


class SphericalPowerSpectrum(_JointInvariants):
    """f = <z_i, z_j> / |z| for all pairs of channels of the same degree and parity, |z| over all moving blocks.

    Args:
        representation: Of SO(3) or O(3) on irreps, "SO3: 8x0 + 4x1 + 2x2", vectors and "det"; trivial terms may stand
            beside them and are kept.

    Raises:
        GroupError: Another representation.

    Note:
        Lossy: each degree may be turned by a rotation of its own. Unlike norms of each channel it sees channels of
        one degree that are turned apart. Continuous, and Lipschitz as it is homogeneous.

    References:
        Kazhdan, Funkhouser and Rusinkiewicz 2003 for one channel; with all pairs it is a Gram matrix for each degree.

    Example:
        >>> import torch
        >>> P = SphericalPowerSpectrum("SO3: 1x1 + 1x2")
        >>> P(torch.tensor([[3.0, 0, 0, 0, 4, 0, 0, 0]]).double()).round(decimals=3).tolist()
        [[1.8, 3.2]]
    """

    expected = "irreps of SO3 or O3, such as 'SO3: 8x0 + 4x1 + 2x2'"
    remedy = "use PhaseInvariants for irreps of SO2 and O2, GramRoot for vectors in other dimensions"

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        counts: dict[Irrep, int] = {}
        for _, block in self.moving:
            counts[_irrep(block)] = counts.get(_irrep(block), 0) + block.copies
        self.counts = dict(sorted(counts.items()))
        self.triangles = nn.ModuleList(UpperTriangle(m) for m in self.counts.values())
        self.out_features = sum(m * (m + 1) // 2 for m in counts.values()) + self.fixed_size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            differentiable="except at zero",
            source="Gram matrix of each degree",
            note="Merges latents whose degrees are turned by rotations of their own.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        spatial = isinstance(block.group, Orthogonal) and block.group.d == 3
        return spatial and isinstance(block, (DegreeIrrep, Vectors, Flip))

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Products, divided by the norm."""
        fields, norm = self._fields(parts)
        return torch.cat(self._grams(fields), dim=1) * norm

    def _grams(self, fields: dict[Irrep, Tensor]) -> list[Tensor]:
        return [triangle(z @ z.mT) for triangle, z in zip(self.triangles, fields.values(), strict=True)]

    def _fields(self, parts: list[Tensor]) -> tuple[dict[Irrep, Tensor], Tensor]:
        """Channels (B, m, 2l + 1) of each irrep, divided by the norm of all, and that norm (B, 1)."""
        unit, norm = direction_and_norm(torch.cat([part.flatten(1) for part in parts], dim=1))
        fields: dict[Irrep, list[Tensor]] = {irrep: [] for irrep in self.counts}
        start = 0
        for _, block in self.moving:
            part = unit[:, start : start + block.size].reshape(-1, block.copies, block.dim)
            fields[_irrep(block)].append(part)
            start += block.size
        return {irrep: torch.cat(pieces, dim=1) for irrep, pieces in fields.items()}, norm


def _irrep(block: Block) -> Irrep:
    if isinstance(block, DegreeIrrep):
        return block.degree, block.parity or 1
    special = isinstance(block.group, Orthogonal) and block.group.special
    return (0, -1) if isinstance(block, Flip) else (1, 1 if special else -1)


SIZE_LIMIT = 4
"""Without a wished size, all products are taken up to this many times the latent's size."""
LARGEST_DEGREE = 12
"""Highest degree whose products are tabulated."""
MEASURED, FEW = 256, 3
"""Most numbers of a latent whose Jacobian is taken, and channels of each term that stand for more."""
FINITE = "Finitely many orbits may share features unless every degree has 2 l + 1 channels."
QUADRATIC = 0.75
"""Share of a wished size that products of two channels are given: they carry more than products of three."""


class SphericalBispectrum(SphericalPowerSpectrum):
    """Products of two and three channels, <z_i, z_j> and sum_abc T_abc z_i,a z_j,b z_k,c, of z / |z|, times |z|.

    T is the Clebsch-Gordan tensor of the three degrees; under O(3) the product of the parities must be even. With a
    bound on the size, each feature multiplies random combinations of the channels (within one degree) instead.

    Args:
        representation: As `SphericalPowerSpectrum`.
        out_features: Largest number of features, unmoved numbers included; if None, all products up to 4 D, beyond
            that a random selection of 4 D.
        seed: Seed of the selection.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for one product of each kind.

    Note:
        Generic if the Jacobian has full rank at a random latent (checked in float64 on construction): almost every
        latent then shares its features with finitely many orbits at most, and with none under SO(3) where each degree
        from 0 to the largest has at least 2 l + 1 channels and all products are taken (2306.00155). With fewer
        features pairwise, if all products of up to three channels of each term are generic: each feature is a
        polynomial in the weights of its combinations, which differs for two latents if any product of its kind does.
        Otherwise lossy, such as for one channel of degree 3, which has no cubic invariant, one channel of each degree
        from 0 to 4, or irreps whose reversal no product sees, such as two vectors beside one channel of degree 2.
        Continuous, and Lipschitz as it is homogeneous; not bi-Lipschitz.

    References:
        Edidin and Satriano 2023 (2306.00155); Bendory, Edidin, Katz and Kreymer 2025 (2508.02674) for three channels.

    Example:
        >>> P = SphericalBispectrum("SO3: 3x1 + 1x2")
        >>> P.out_features, P.guarantee.separation.words
        (15, 'generic')
    """

    def __init__(self, representation: Representation | str, out_features: int | None = None, seed: int = 0) -> None:
        super().__init__(representation)
        if max(degree for degree, _ in self.counts) > LARGEST_DEGREE:
            raise GroupError(f"Expected degrees up to {LARGEST_DEGREE} but got '{self.representation}'.")
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
                pairs, kept = _distinct(kind.irreps, self.counts)  # type: ignore[arg-type]
                self.register_buffer(f"pairs{i}", pairs)
                self.register_buffer(f"kept{i}", kept)
            return
        share = _shares(self.kinds, self.counts, self.out_features - self.fixed_size)[i]
        for factor, irrep in enumerate(kind.irreps):
            seed = self.seed + 1000 * i + factor
            with stored_templates(False):
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
        separation, note = self._separation()
        return Guarantee(
            group=str(self.representation.group),
            separation=separation,
            differentiable="except at zero",
            source="Edidin and Satriano 2023, 2306.00155; Bendory et al. 2025, 2508.02674",
            note=note,
        )

    def _separation(self) -> tuple[Separation, str]:
        if self._merged_signs() > 0:
            return Separation.LOSSY, "Merges latents with the signs of some irreps reversed."
        dimension = self.representation.size - _orbit_dimension(self.counts)
        missing = dimension - self.out_features
        if self.representation.size <= MEASURED:
            latent = self.representation.random(1, torch.Generator().manual_seed(self.seed)).double()[0]
            missing = dimension - jacobian_rank(self.project, latent)
            if missing == 0:
                return Separation.GENERIC, FINITE
        fewer = with_copies(self.representation, [min(FEW, block.copies) for block in self.representation])
        if self.representation.size <= MEASURED and (not self.selects or fewer == self.representation):
            return Separation.LOSSY, f"Merges families of {missing} parameters even at generic latents."
        held = SphericalBispectrum(fewer, seed=self.seed).guarantee.separation
        if held < Separation.GENERIC:
            return Separation.LOSSY, "Not even all products tell generic latents apart."
        return Separation.PAIRWISE, (
            "A generic latent and another fixed one are told apart for almost all combinations of channels, with the "
            "exception of finitely many orbits."
        )

    def _merged_signs(self) -> int:
        """How many independent reversals of whole irreps no product sees, beside those that the group makes."""
        odd = [[kind.irreps.count(irrep) % 2 == 1 for irrep in self.counts] for kind in self.kinds]
        unseen = len(self.counts) - rank_over_two(torch.tensor(odd))
        # The inversion of O(3), and half a turn around the normal of the plane that two vectors span.
        inversion = any(parity == -1 for _, parity in self.counts)
        half_turn = list(self.counts) == [(1, 1)] and self.counts[1, 1] < 3
        return unseen - (inversion or half_turn)


class _Kind(NamedTuple):
    """Products of two or three irreps, and how many there are."""

    irreps: tuple[Irrep, ...]
    number: int


def _kinds(counts: dict[Irrep, int]) -> list[_Kind]:
    kinds = [_Kind((irrep, irrep), m * (m + 1) // 2) for irrep, m in counts.items()]
    for a, b, c in combinations_with_replacement(counts, 3):
        if abs(a[0] - b[0]) <= c[0] <= a[0] + b[0] and a[1] * b[1] * c[1] == 1:
            # Equal irreps first: their products are symmetric or antisymmetric, so each pair is taken once.
            irreps = (b, c, a) if b == c != a else (a, b, c)
            if (number := _number(irreps, counts)) > 0:
                kinds.append(_Kind(irreps, number))
    return kinds


def _number(irreps: tuple[Irrep, Irrep, Irrep], counts: dict[Irrep, int]) -> int:
    """How many products `_distinct` keeps."""
    (a, b, c), odd = irreps, sum(degree for degree, _ in irreps) % 2
    m, last = counts[a], counts[c]
    if a == b == c:
        return math.comb(m, 3) if odd else math.comb(m + 2, 3)
    return (math.comb(m, 2) if odd else math.comb(m + 1, 2)) * last if a == b else m * counts[b] * last


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


def _shares(kinds: list[_Kind], counts: dict[Irrep, int], total: int) -> list[int]:
    """At least one feature for each kind, most of the others for products of two, by number of products.

    Products of two are given three quarters. Where the total is hardly enough to tell all generic latents apart, they
    are given no more than are independent of each other: a Gram matrix of m vectors in d dimensions has m d -
    d (d - 1) / 2 degrees of freedom where m > d.
    """
    if total < len(kinds):
        raise ValueError(
            f"Expected room for {len(kinds)} kinds of products beside unmoved numbers but got {total} features."
        )
    pairs = sum(len(kind.irreps) == 2 for kind in kinds)
    spare, for_pairs = total - len(kinds), total - len(kinds)
    if pairs < len(kinds):
        sizes = [(m, 2 * degree + 1) for (degree, _), m in counts.items()]
        independent = sum(m * d - d * (d - 1) // 2 if m > d else m * (m + 1) // 2 for m, d in sizes)
        for_pairs, numbers = round(QUADRATIC * spare), sum(m * d for m, d in sizes)
        if numbers <= total + 3 < 1.5 * numbers:
            for_pairs = min(for_pairs, max(independent - pairs, 0))
    return _spread(kinds[:pairs], for_pairs) + _spread(kinds[pairs:], spare - for_pairs)


def _spread(kinds: list[_Kind], spare: int) -> list[int]:
    """One feature for each kind, and the spare ones by number of products."""
    every = sum(kind.number for kind in kinds)
    ends = [spare * sum(kind.number for kind in kinds[: i + 1]) // every for i in range(len(kinds))]
    return [1 + end - start for start, end in zip([0, *ends], ends, strict=False)]


def _orbit_dimension(counts: dict[Irrep, int]) -> int:
    vectors = {irrep: m for irrep, m in counts.items() if irrep[0] > 0}
    if not vectors:
        return 0
    return 2 if sum(m * irrep[0] for irrep, m in vectors.items()) == 1 else 3
