"""The image of an action: a simpler representation with the same orbits, and fewer channels by random mixing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Cyclic, Dihedral, Orthogonal, Product, Representation
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.finite_blocks import Determinant, PlanarIrrep, Quotient, Regular
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Outer, Vectors
from lightning_invariant.groups.standard_form import standard_form
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.read_as import _ReadAs
from lightning_invariant.projections.base.templates import tight_frame

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups.block import Block


class Identity(Projection):
    """The latent itself, where the group moves nothing.

    Args:
        representation: Of any group, each term trivial.

    Raises:
        GroupError: Some term moves.

    Note:
        Isometric, since every orbit is one latent.

    Example:
        >>> import torch
        >>> Identity("SO3: 2x0")(torch.tensor([[1.0, 2.0]])).tolist()
        [[1.0, 2.0]]
    """

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        if not moves_nothing(self.representation):
            raise GroupError(f"Expected trivial terms but got '{self.representation}'; use choose.")
        self.out_features = self.representation.size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            source="every orbit is one latent",
        )

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The latents."""
        return z


class Reduced(_ReadAs):
    """A projection of the image of the action (see `image`), on the numbers of the latent in another order.

    Args:
        representation: What acts on the latents.
        projection: A projection of `image(representation)`, or its `config()`.

    Raises:
        ValueError: The projection is for another representation.

    Note:
        That of the projection, since both actions have the same orbits.

    Example:
        >>> from lightning_invariant.projections import GramRoot
        >>> Reduced("O2: 3x4", GramRoot("O2: 3x1")).out_features
        6
    """

    order: Tensor | None

    def __init__(self, representation: Representation | str, projection: Projection | Mapping[str, Any]) -> None:
        super().__init__(representation, projection)
        self.based = []
        for i, basis in enumerate(standard_form(self.representation).bases):
            if basis is not None:
                self.based.append(i)
                self.register_buffer(f"basis{i}", basis, persistent=False)
        self.register_buffer("order", image(self.representation)[1], persistent=False)

    @staticmethod
    def target(representation: Representation) -> Representation:
        """Return the representation of the image."""
        return image(representation)[0]

    def _read(self, z: Float[Tensor, "B D"], *beside: Tensor) -> Float[Tensor, "B D"]:
        """Latents of the image: out of the bases of mixed fields, and in its order."""
        if self.based:
            parts = self.representation.split(z)
            for i in self.based:
                parts[i] = parts[i] @ self.get_buffer(f"basis{i}").to(z)
            z = torch.cat([part.flatten(1) for part in parts], dim=1)
        return z if self.order is None else z[:, self.order]


class Mixed(Projection):
    """A projection of fewer channels, each a random combination of the copies of one term.

    Args:
        representation: What acts on the latents.
        projection: A projection of the same terms with fewer copies of some, or its `config()`.
        seed: Seed of the combinations.

    Raises:
        ValueError: The projection's terms are not those of the representation, or it has more copies of one.

    Note:
        A fixed pair of different orbits stays a pair of different orbits for almost all combinations, so
        the projection is at best pairwise. The combinations are orthogonal projections, scaled up so that norms are
        kept in the mean; the Lipschitz bound is scaled alike.

    References:
        Darby et al. 2022 (2210.01705) for random mixing of channels.

    Example:
        >>> from lightning_invariant.projections import GramRoot
        >>> P = Mixed("O3: 100 vectors", GramRoot("O3: 8 vectors"))
        >>> P.out_features, P.guarantee.separation.words
        (36, 'pairwise')
    """

    def __init__(
        self, representation: Representation | str, projection: Projection | Mapping[str, Any], seed: int = 0
    ) -> None:
        super().__init__(representation)
        self.projection = projection if isinstance(projection, Projection) else Projection.from_config(projection)
        self.seed, fewer = seed, self.projection.representation
        counts = [(block.copies, few.copies) for block, few in zip(self.representation, fewer, strict=False)]
        if with_copies(self.representation, [few for _, few in counts]) != fewer or any(a < b for a, b in counts):
            raise ValueError(f"Expected a projection of fewer copies of '{self.representation}' but got '{fewer}'.")
        self.counts, stretch = counts, 1.0
        for i, (copies, few) in enumerate(counts):
            if few < copies:
                scale = (copies / few) ** 0.5
                self.register_buffer(f"mix{i}", tight_frame(copies, few, seed + i) * scale)
                stretch = max(stretch, scale)
        self.out_features = self.projection.out_features
        held, mixes = self.projection.guarantee, any(few < copies for copies, few in counts)
        self.guarantee = replace(
            held,
            separation=min(held.separation, Separation.PAIRWISE) if mixes else held.separation,
            lipschitz=None if held.lipschitz is None else held.lipschitz * stretch,
            distortion=None if mixes else held.distortion,
            source=f"{held.source}; mixing: docstring of Mixed",
            note=f"{held.note} Fixed pairs are told apart for almost all mixings of channels.".strip(),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Description of the projection, and the seed."""
        return {"projection": self.projection.config(), "seed": self.seed}

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of the combinations."""
        work, parts = z.to(torch.promote_types(z.dtype, torch.float32)), []
        for i, (block, part) in enumerate(zip(self.representation, self.representation.split(work), strict=True)):
            if self.counts[i][1] < block.copies:
                mix = self.get_buffer(f"mix{i}").to(part.dtype)
                # One product of all rows: a product for each is ten times slower where copies are many.
                part = part @ mix if block.copies_last else (part.mT @ mix).mT
            parts.append(part.flatten(1))
        return self.projection.project(torch.cat(parts, dim=1)).to(z.dtype)


def with_copies(representation: Representation, copies: list[int]) -> Representation:
    """The same terms with other numbers of copies."""
    blocks = tuple(replace(block, copies=n) for block, n in zip(representation, copies, strict=False))
    return Representation(representation.group, blocks)


def moves_nothing(representation: Representation) -> bool:
    """Whether every element of the group leaves every latent alone."""
    return representation.group.order == 1 or all(map(is_trivial, representation))


def image(representation: Representation) -> tuple[Representation, Tensor | None]:
    """The representation that is left when what acts as the identity is divided out of the group.

    Mixed fields are split and terms of one kind merged (`standard_form`), factors of a product that move nothing are
    dropped, O(3) on even irreps becomes SO(3), and frequencies lose their common divisor.

    Returns:
        A representation with the same orbits, and the order in which it takes the numbers of the latent, the bases of
        mixed fields undone; None if that is as it is.

    Example:
        >>> [str(image(Representation.parse(text))[0]) for text in ("O2: 8x2 + 4x6", "O3: 4x1e", "C8: 2x2")]
        ['O2: 8x1 + 4x3', 'SO3: 4x1', 'C4: 2x1']
        >>> str(image(Representation.parse("C4: 3 regular/C2"))[0])
        'C2: 3 regular'
    """
    if moves_nothing(representation):
        return representation, None
    standard = standard_form(representation)
    representation, order = standard.representation, standard.order
    if isinstance(representation.group, Product):
        representation, left = _without_idle_factors(representation)
        if left is not None:
            order = left if order is None else order[left]
    group, blocks = representation.group, representation.blocks
    if str(group) == "O3" and all(is_trivial(b) or (isinstance(b, DegreeIrrep) and b.parity == 1) for b in blocks):
        turns = Orthogonal(3, special=True)
        even = [
            DegreeIrrep(turns, b.copies, b.degree) if isinstance(b, DegreeIrrep) else Trivial(turns, b.copies)
            for b in blocks
        ]
        return Representation(turns, tuple(even)), order
    common = math.gcd(*(_frequency(block) for block in blocks))
    if isinstance(group, Orthogonal) and common > 1:
        lower = [replace(b, frequency=b.frequency // common) if isinstance(b, FrequencyIrrep) else b for b in blocks]
        return Representation(group, tuple(lower)), order
    if isinstance(group, (Cyclic, Dihedral)) and (common := math.gcd(common, group.n)) > 1:
        fewer = type(group)(group.n // common)
        lower = [_divided(block, fewer, common) for block in blocks]
        return Representation(fewer, tuple(lower)), order
    return representation, order


def _divided(block: Block, group: Cyclic | Dihedral, by: int) -> Block:
    """The block under the group of fewer turns, where the turns that are left out move nothing."""
    if isinstance(block, PlanarIrrep):
        return replace(block, group=group, frequency=block.frequency // by)
    if isinstance(block, Quotient):
        if block.turns == by and block.mirror is None:
            return Regular(group, block.copies)
        return replace(block, group=group, turns=block.turns // by)
    return replace(block, group=group)


def _frequency(block: Block) -> int:
    """What the frequency of every turn is a multiple of; 0 where nothing turns."""
    if isinstance(block, (FrequencyIrrep, PlanarIrrep)):
        return block.frequency
    if isinstance(block, Quotient):
        return block.turns
    if isinstance(block, Determinant) or is_trivial(block) or (block.dim == 1 and not isinstance(block, Vectors)):
        return 0
    return 1


def _without_idle_factors(representation: Representation) -> tuple[Representation, Tensor | None]:
    group = representation.group
    assert isinstance(group, Product)
    outers = [block for block in representation if isinstance(block, Outer)]
    busy = [i for i in range(len(group.factors)) if any(not is_trivial(block.parts[i]) for block in outers)]
    idle = [block.parts[i].dim for block in outers for i in range(len(group.factors)) if i not in busy]
    if len(busy) == len(group.factors) or any(dim > 1 for dim in idle):
        return representation, None
    factors = tuple(group.factors[i] for i in busy)
    left = factors[0] if len(factors) == 1 else Product(factors)
    blocks: list[Block] = []
    orders: list[Tensor] = []
    for where, block in zip(representation.slices, representation, strict=True):
        numbers = torch.arange(where.start, where.stop)
        if is_trivial(block) or not isinstance(block, Outer):
            blocks.append(Trivial(left, block.size))
        elif len(busy) > 1:
            blocks.append(Outer(left, block.copies, tuple(block.parts[i] for i in busy)))  # type: ignore[arg-type]
        else:
            blocks.append(replace(block.parts[busy[0]], copies=block.copies))
            if blocks[-1].copies_last:
                numbers = numbers.reshape(block.copies, -1).mT.flatten()
        orders.append(numbers)
    order = torch.cat(orders)
    same = torch.equal(order, torch.arange(representation.size))
    return Representation(left, tuple(blocks)), None if same else order
