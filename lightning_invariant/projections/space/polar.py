"""Isometric cross sections of polar actions: the norm, sorted eigenvalues, singular values.

An action is polar if some subspace meets every orbit at right angles; distances between orbits are then those of a
finite reflection group on that subspace (Dadok 1985).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

import torch

from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Outer, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.groups.unitary import Unitary
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.joint import single_term
from lightning_invariant.projections.base.projection import Projection

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class _Polar(Projection):
    """One term that moves; the features of its part stand in its place."""

    expected: ClassVar[str]
    remedy: ClassVar[str]
    differentiable: ClassVar[str]
    source: ClassVar[str]

    def __init__(self, representation: Representation | str) -> None:
        super().__init__(representation)
        self.term = single_term(self.representation, self._fits, expected=self.expected, remedy=self.remedy)
        self.block = self.representation.blocks[self.term]
        self.out_features = self.representation.size - self.block.size + self._width()
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.ISOMETRIC,
            lipschitz=1.0,
            distortion=1.0,
            differentiable=self.differentiable,
            source=self.source,
        )

    @staticmethod
    @abstractmethod
    def _fits(block: Block) -> bool:
        """Whether the block that moves can be treated."""

    @abstractmethod
    def _width(self) -> int:
        """Number of features of the block."""

    @abstractmethod
    def section(self, part: Float[Tensor, "B dim"]) -> Float[Tensor, "B R"]:
        """Features of the block."""

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The features, beside the numbers that nothing moves."""
        where, work = self.representation.slices[self.term], z.to(torch.promote_types(z.dtype, torch.float32))
        return torch.cat([work[:, : where.start], self.section(work[:, where]), work[:, where.stop :]], dim=1).to(
            z.dtype
        )


class Norm(_Polar):
    """|z| of one vector.

    Args:
        representation: Of O(d), SO(d), U(n) or SU(2) on one vector: "O3: 1 vectors", "SO3: 1x1", "SO2: 1x3",
            "U2: 1 vectors"; trivial terms may stand beside it and are kept.

    Raises:
        GroupError: Another representation.

    Note:
        Isometric. The group moves a vector to every direction, so the nearest point of an orbit lies on the
        same ray.

    References:
        The two lines under Note.

    Example:
        >>> import torch
        >>> Norm("SO2: 1x1")(torch.tensor([[3.0, 4.0]])).tolist()
        [[5.0]]
    """

    expected = "one vector, such as 'O3: 1 vectors'"
    remedy = "use GramRoot for several vectors, PhaseInvariants or SphericalBispectrum for irreps"
    differentiable = "except at zero"
    source = "proof in the docstring of Norm"

    @staticmethod
    def _fits(block: Block) -> bool:
        unitary = isinstance(block, Vectors) and isinstance(block.group, Unitary)
        return block.copies == 1 and (unitary or _turns_a_vector(block))

    def _width(self) -> int:
        return 1

    def section(self, part: Float[Tensor, "B dim"]) -> Float[Tensor, "B 1"]:
        """The norm; its gradient at zero is zero."""
        return direction_and_norm(part)[1]


class SortedEigenvalues(_Polar):
    """Eigenvalues of the symmetric traceless 3 x 3 matrix that one irrep of degree 2 is, in ascending order.

    Args:
        representation: Of SO(3) or O(3) on one copy of degree 2, "SO3: 1x2"; trivial terms may stand beside it and are
            kept.

    Raises:
        GroupError: Another representation.

    Note:
        Isometric. The trace of A R B R^T is largest over rotations R where both are diagonal in the same
        order, so orbit distances are distances of sorted eigenvalues. Under O(3) with odd parity A and -A share an
        orbit as well: the sign is taken for which the middle eigenvalue is not positive, which folds along a
        reflection and is isometric again. Derivatives of every order are right where the eigenvalues differ. Where
        some coincide, first and second ones are finite, and right for an eigenvalue that is simple.

    References:
        Hoffman and Wielandt 1953.

    Example:
        >>> import torch
        >>> SortedEigenvalues("SO3: 1x2")(torch.tensor([[0.0, 0.0, 6.0, 0.0, 0.0]]).double()).round(decimals=3).tolist()
        [[-2.449, -2.449, 4.899]]
    """

    expected = "one irrep of degree 2, such as 'SO3: 1x2'"
    remedy = "use SphericalBispectrum for several irreps"
    differentiable = "where the eigenvalues differ"
    source = "Hoffman and Wielandt 1953"

    @staticmethod
    def _fits(block: Block) -> bool:
        return block.copies == 1 and isinstance(block, DegreeIrrep) and block.degree == 2

    def _width(self) -> int:
        return 3

    def section(self, part: Float[Tensor, "B 5"]) -> Float[Tensor, "B 3"]:
        """The eigenvalues."""
        fine = part.detach().isfinite().all(dim=1, keepdim=True)
        a, b, c, d, e = (torch.where(fine, part, 0.0) / 2**0.5).unbind(dim=1)
        c = c / 3**0.5
        rows = [torch.stack(row, dim=-1) for row in ((-c - e, b, a), (b, 2 * c, d), (a, d, e - c))]
        values = _eigenvalues(torch.stack(rows, dim=-2))
        if isinstance(self.block, DegreeIrrep) and self.block.parity == -1:
            values = torch.where(values[:, 1:2] > 0, -values.flip(1), values)
        return torch.where(fine, values, torch.nan)


class SingularValues(_Polar):
    """Singular values of one matrix whose rows and columns two groups of rotations turn, largest first.

    Args:
        representation: Of O(p) or SO(p) times O(q) or SO(q) on one "vectors*vectors", "O3 x O5: 1 vectors*vectors";
            trivial terms may stand beside it and are kept.

    Raises:
        GroupError: Another representation.

    Note:
        Isometric, by von Neumann's inequality for the trace of a product. If both are special and p = q,
        the last value carries the sign of the determinant. Derivatives of every order are right where the values
        differ and none is zero. Elsewhere first and second ones are finite, and right for a value that differs from
        all others and is not zero, or carries a sign.

    References:
        Von Neumann 1937; Lewis 1996 for the special case.

    Example:
        >>> import torch
        >>> P = SingularValues("SO2 x SO2: 1 vectors*vectors")
        >>> P(torch.tensor([[0.0, 2.0, 3.0, 0.0]])).round(decimals=3).tolist()
        [[3.0, -2.0]]
    """

    expected = "one matrix that rotations turn from both sides, such as 'O3 x O5: 1 vectors*vectors'"
    remedy = "use GramRoot for vectors that one group turns"
    differentiable = "where the singular values differ and none is zero"
    source = "von Neumann 1937"

    @staticmethod
    def _fits(block: Block) -> bool:
        sides = isinstance(block, Outer) and len(block.parts) == 2
        return sides and block.copies == 1 and all(map(_turns_a_vector, block.parts))  # type: ignore[attr-defined]

    def _width(self) -> int:
        return min(part.dim for part in self._sides)

    @property
    def _sides(self) -> tuple[Block, Block]:
        assert isinstance(self.block, Outer)
        return self.block.parts[0], self.block.parts[1]

    def section(self, part: Float[Tensor, "B dim"]) -> Float[Tensor, "B R"]:
        """The singular values."""
        rows, columns = self._sides
        fine = part.detach().isfinite().all(dim=1, keepdim=True)
        matrix = torch.where(fine, part, 0.0).reshape(-1, rows.dim, columns.dim)
        special = all(isinstance(side.group, Orthogonal) and side.group.special for side in (rows, columns))
        values = _singular_values(matrix, signed=special and rows.dim == columns.dim)
        return torch.where(fine, values, torch.nan)


def _eigenvalues(matrix: Float[Tensor, "B d d"]) -> Float[Tensor, "B d"]:
    """Eigenvalues in ascending order, whose second derivatives are finite where some coincide.

    There the matrix is expanded to second order about itself, without the terms between equal eigenvalues.
    """
    if torch.compiler.is_exporting() or not matrix.requires_grad:
        return torch.linalg.eigvalsh(matrix)
    values, q = torch.linalg.eigh(matrix.detach())
    turned, floor = q.mT @ matrix @ q, _rounding(values, q)
    shares = _inverse(values[..., :, None] - values[..., None, :], floor)
    expanded = turned.diagonal(dim1=-2, dim2=-1) + (shares * turned.square()).sum(dim=-1)
    distinct = (values.diff(dim=-1) > floor[..., 0]).all(dim=-1)
    other = torch.arange(values.shape[-1]).to(values).diag()
    plain = torch.linalg.eigvalsh(torch.where(distinct[..., None, None], matrix, other))
    return torch.where(distinct[..., None], plain, expanded)


def _singular_values(matrix: Float[Tensor, "B p q"], *, signed: bool) -> Float[Tensor, "B r"]:
    """Singular values, the last with the determinant's sign if signed, with finite second derivatives everywhere.

    Where some coincide or vanish, the eigenvalues of [[0, X], [X^T, 0]] are expanded as in `_eigenvalues`.
    """
    if torch.compiler.is_exporting() or not matrix.requires_grad:
        return _plain_singular_values(matrix, signed=signed)
    u, s, vt = torch.linalg.svd(matrix.detach())
    if signed:
        sign = torch.where(torch.linalg.det(u) * torch.linalg.det(vt) < 0, -1.0, 1.0).to(s.dtype)[..., None]
        s, vt = (torch.cat([x[:, :-1], x[:, -1:] * f], dim=1) for x, f in ((s, sign), (vt, sign[..., None])))
    turned, floor, r = u.mT @ matrix @ vt.mT, _rounding(s, matrix), s.shape[-1]
    inner = turned[..., :r, :r]
    total, difference = s[..., :, None] + s[..., None, :], s[..., :, None] - s[..., None, :]
    even, odd = (inner + inner.mT) / 2, (inner - inner.mT) / 2
    outer = turned[..., r:, :r].square().sum(dim=-2) + turned[..., :r, r:].square().sum(dim=-1)
    second = (_inverse(difference, floor) * even.square() + _inverse(total, floor) * odd.square()).sum(dim=-1)
    expanded = inner.diagonal(dim1=-2, dim2=-1) + second + outer * _inverse(2 * s, floor[..., 0])
    distinct = (s.abs()[..., -1:] > floor[..., 0]).all(dim=-1) & (-s.abs().diff(dim=-1) > floor[..., 0]).all(dim=-1)
    other = torch.zeros_like(matrix[0]).diagonal_scatter(torch.arange(r, 0, -1).to(s))
    plain = _plain_singular_values(torch.where(distinct[..., None, None], matrix, other), signed=signed)
    return torch.where(distinct[..., None], plain, expanded)


def _plain_singular_values(matrix: Float[Tensor, "B p q"], *, signed: bool) -> Float[Tensor, "B r"]:
    values = torch.linalg.svdvals(matrix)
    if not signed:
        return values
    sign = torch.where(torch.linalg.det(direction_and_norm(matrix.detach(), dims=(1, 2))[0]) < 0, -1.0, 1.0)
    return torch.cat([values[:, :-1], values[:, -1:] * sign[:, None].to(values.dtype)], dim=1)


def _rounding(values: Tensor, matrix: Tensor) -> Float[Tensor, "B 1 1"]:
    """Difference below which two of the values are equal."""
    return values.abs().amax(dim=-1)[..., None, None] * torch.finfo(values.dtype).eps * max(matrix.shape[-2:])


def _inverse(x: Tensor, floor: Tensor) -> Tensor:
    """1 / x, and 0 where x is zero up to rounding."""
    apart = x.abs() > floor
    return apart.to(x.dtype) / torch.where(apart, x, 1.0)


def _turns_a_vector(block: Block) -> bool:
    """Whether the group moves a vector of the block to every direction."""
    if isinstance(block, Vectors):
        return isinstance(block.group, Orthogonal)
    return (isinstance(block, FrequencyIrrep) and block.frequency > 0) or (
        isinstance(block, DegreeIrrep) and block.degree == 1
    )
