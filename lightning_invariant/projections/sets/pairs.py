"""Sorted colour refinement: permutations of n points whose pairs carry numbers, such as graphs and attention maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.finite_blocks import Pairs, Points
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.templates import unit_templates
from lightning_invariant.projections.sets.points import _RaggedInvariants

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block

NUMBERS = 2**22
"""Numbers that are held at one time, outside of graphs."""
TWO_MARKS, ONE_MARK = 16, 48
"""Largest n with two and with one marked point by default; the cost of a column grows as n^4 and n^3."""
SHARE = 4
"""One column with marked points for so many without, and two at least."""


class PairSort(_RaggedInvariants):
    """Colours of points from sorted rows, refined twice, and sorted: column by column, with and without marked points.

    A column has random weights. With features x_i of points (their own, and their pair with themselves) and a_ij of
    pairs, points start with the colour l_i = <w, x_i>. A round gives u_i = l_i + <e, sort_j(<v, (a_ij, a_ji)> + l_j)>;
    a second one, with other weights, gives colours from u. The column is these n colours in ascending order.

    In a column with marked points each p, or each pair (p, q), is marked in turn: to the first colours are added
    <m, (a_ip, a_pi)> for each mark p, and at the mark itself a multiple of the latent's norm. The colours, sorted, are
    combined to one number a mark; these are sorted and combined over q, and sorted over p.

    Guarantee:
        Lipschitz, as sorting is. With D / n columns without marks (D is the size of points and pairs) and one more of
        any kind, almost every latent is told apart from all others: each of the finitely many orders makes the first
        columns a linear map, injective for almost all weights, so finitely many latents share them; and one more column
        differs for almost all weights, where in one latent all points have different colours after the first round,
        with marks for some choice of them. For equal columns for almost all weights mean equal multisets of (colour,
        multiset of (pair, colour of the other point)), from which such a latent is read off.
        Not injective: graphs that refinement with the marks cannot tell apart are merged. Without marks all regular
        graphs of one degree and size are; one mark separates a ring of six from two triangles, and decalin from
        bicyclopentyl; two marks also the 4 x 4 rook graph from the Shrikhande graph. The features of such graphs
        are much closer than their orbits, so noise hides the difference sooner.

    Sets of different size (`ragged`): hidden points and their pairs are left out of every sort, visible ones come
    first, and zeros fill the columns. The share of visible points is the last feature.

    Args:
        representation: Of S_n on pairs, and on points, "S9: 9 points x 4 + 2 pairs"; trivial terms may stand beside
            them and are kept.
        out_features: Number K of features, unmoved numbers and the share included; as many columns as the guarantee
            asks for if None. The last column is cut where n does not divide what is left.
        ragged: Whether sets may have fewer than n points, given by a mask.
        marks: Marked points, 0, 1 or 2; if None as many as n allows: 2 up to 16 points, 1 up to 48.
        seed: Seed of the weights.

    Raises:
        GroupError: Another representation, or no pairs.
        ValueError: out_features leaves no room for a column's first number, or another number of marks.

    References:
        Colour refinement after Weisfeiler and Leman 1968, with sorted projections in the place of sums: Sverdlov et al.
        2024 (2410.09118) for sliced Wasserstein embeddings; finitely many random columns after Dym and Gortler 2022
        (2205.02956).

    Example:
        >>> import torch
        >>> P, A = PairSort("S4: 1 pairs"), torch.arange(16.0).reshape(1, 4, 4)
        >>> P(A).shape, torch.allclose(P(A), P(A.flip(1, 2)))
        (torch.Size([1, 24]), True)
    """

    expected = "pairs of a symmetric group, such as 'S9: 2 pairs' or 'S9: 9 points x 4 + 2 pairs'"
    remedy = "use PointSort for points without pairs"

    plain: Tensor
    marked: Tensor

    def __init__(
        self,
        representation: Representation | str,
        out_features: int | None = None,
        *,
        ragged: bool = False,
        marks: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(representation, ragged=ragged, seed=seed)
        blocks = [block for _, block in self.moving]
        if not any(isinstance(block, Pairs) for block in blocks):
            raise GroupError(f"Expected {self.expected} but got '{self.representation}'; {self.remedy}.")
        self.n: int = self.representation.group.n  # type: ignore[attr-defined]
        self.p = sum(block.copies for block in blocks if isinstance(block, Points))
        self.c = sum(block.copies for block in blocks if isinstance(block, Pairs))
        self.marks = (2 if self.n <= TWO_MARKS else int(self.n <= ONE_MARK)) if marks is None else marks
        if self.marks not in (0, 1, 2):
            raise ValueError(f"Expected 0, 1 or 2 marked points but got {marks}.")
        beside, enough = self.fixed_size + ragged, self.n * self.c + self.p
        default = self.n * (enough + max(2, enough // SHARE)) + beside
        self.out_features = default if out_features is None else out_features
        self.kept = self.out_features - beside
        if self.kept < 1:
            raise ValueError(f"Expected at least {beside + 1} features but got {out_features}.")
        columns = -(-self.kept // self.n)
        plain = min(enough, columns - min(columns - 1, max(1, columns // (SHARE + 1))))
        self.register_buffer("plain", self._weights(plain, 0, seed))
        self.register_buffer("marked", self._weights(columns - plain, self.marks, seed + 1))
        # Weights of norm 1 keep about one part in `enough` of a latent's square in each column.
        self.scale = math.sqrt(enough / columns) / 2
        generic = self.kept // self.n > enough
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.GENERIC if generic else Separation.LOSSY,
            lipschitz=max(1.0, self.scale * math.sqrt(columns) * self._stretch()),
            differentiable="where no two numbers that are sorted are equal",
            source="proof in the docstring of PairSort; Sverdlov et al. 2024, 2410.09118; Dym and Gortler, 2205.02956",
            note=f"Graphs that colour refinement with {self.marks} marked points cannot tell apart are merged."
            if generic
            else f"Almost all latents are told apart from {enough + 1} columns of {self.n} features on.",
        )

    @staticmethod
    def _fits(block: Block) -> bool:
        return isinstance(block, (Points, Pairs))

    @property
    def settings(self) -> dict[str, Any]:
        """Size, whether sets are ragged, marked points, and seed."""
        return {**super().settings, "marks": self.marks}

    def project(self, z: Tensor) -> Tensor:
        """Columns, then unmoved numbers, then the share 1 if sets may be ragged."""
        features = super().project(z)
        return torch.cat([features, torch.ones_like(features[:, :1])], dim=1) if self.ragged else features

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Columns of whole sets."""
        return self._in_blocks(*self._split(parts), None)

    def _masked(self, z: Tensor, mask: Tensor) -> Tensor:
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        x, a = self._split([work[:, where].reshape(-1, *block.shape) for where, block in self.moving])
        x = torch.where(mask[..., None], x, 0.0)
        a = torch.where((mask[:, :, None] & mask[:, None, :])[..., None], a, 0.0)
        count = mask.sum(dim=1, keepdim=True)
        features = torch.where(count > 0, self._in_blocks(x, a, mask), torch.nan)
        kept = [work[:, where] for where in self.fixed]
        return torch.cat([features, *kept, count.to(work.dtype) / self.n], dim=1).to(z.dtype)

    def _split(self, parts: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Features of points (B, n, p), and of pairs (B, n, n, c)."""
        blocks = list(zip((block for _, block in self.moving), parts, strict=True))
        points = [part for block, part in blocks if isinstance(block, Points)]
        pairs = [part.unflatten(1, (self.n, self.n)) for block, part in blocks if isinstance(block, Pairs)]
        x = torch.cat(points, dim=-1) if points else parts[0].new_zeros(parts[0].shape[0], self.n, 0)
        return x, torch.cat(pairs, dim=-1)

    def _in_blocks(self, x: Tensor, a: Tensor, mask: Tensor | None) -> Tensor:
        rows = max(1, NUMBERS // (self.n**2 * max(len(self.plain), self.n**self.marks * len(self.marked))))
        # A loop over a dynamic batch cannot be traced, so a traced graph makes one pass.
        if torch.compiler.is_compiling() or x.shape[0] <= rows:
            return self._columns(x, a, mask)
        pieces = [x.split(rows), a.split(rows), [None] * len(x) if mask is None else mask.split(rows)]
        return torch.cat([self._columns(*piece) for piece in zip(*pieces, strict=False)])

    def _columns(self, x: Tensor, a: Tensor, mask: Tensor | None) -> Tensor:
        own = torch.cat([x, a.diagonal(dim1=1, dim2=2).mT], dim=-1)
        both = torch.cat([a, a.transpose(1, 2)], dim=-1)
        columns = _ordered(self._refined(self.plain, own, both, None, mask), mask)
        if len(self.marked):
            columns = torch.cat([columns, self._marked_columns(own, both, x, a, mask)], dim=1)
        return self.scale * columns.flatten(1)[:, : self.kept]

    def _marked_columns(self, own: Tensor, both: Tensor, x: Tensor, a: Tensor, mask: Tensor | None) -> Tensor:
        if self.marks == 0:
            return _ordered(self._refined(self.marked, own, both, None, mask), mask)
        n, weights = self.n, self._parts(self.marked.to(own.dtype), self.marks)
        size = direction_and_norm(torch.cat([x.flatten(1), a.flatten(1)], dim=1))[1][:, 0] / n
        # (B, columns, mark, point): how points are tied to the mark, and which is the mark.
        ties = [torch.einsum("bipc,mc->bmpi", both, w) for w in weights["ties"].chunk(self.marks, dim=1)]
        at = torch.eye(n, dtype=own.dtype, device=own.device) * size[:, None, None, None]
        shifts = [t + at * w[None, :, None, None] for t, w in zip(ties, weights["marks"].unbind(dim=1), strict=False)]
        shift = shifts[0] if self.marks == 1 else (shifts[0][:, :, :, None] + shifts[1][:, :, None]).flatten(2, 3)
        colours = self._refined(self.marked, own, both, shift, mask)
        values = _combined(colours, weights["colours"], mask)
        if self.marks == 2:
            values = _combined(values.unflatten(2, (n, n)), weights["second"], mask)
        return _ordered(values, mask) * n ** (-self.marks / 2)

    def _refined(self, columns: Tensor, own: Tensor, both: Tensor, shift: Tensor | None, mask: Tensor | None) -> Tensor:
        """Colours after two rounds, (B, columns, *mark, n)."""
        weights = self._parts(columns.to(own.dtype), 0 if shift is None else self.marks)
        colours = torch.einsum("bic,mc->bmi", own, weights["own"])
        if shift is not None:
            colours = colours[:, :, None] + shift
        for number in ("1", "2"):
            pairs = torch.einsum("bijc,mc->bmij", both, weights["pairs" + number])
            pairs = pairs if shift is None else pairs[:, :, None]
            seen = colours if mask is None else torch.where(_beside(mask, colours), colours, 0.0)
            rows = pairs + seen[..., None, :]
            colours = seen + _combined(rows, weights["rows" + number], mask)
        return colours

    def _weights(self, columns: int, marks: int, seed: int) -> Tensor:
        """Random weights of norm 1 for each part of each column, side by side, float32."""
        sizes = self._sizes(marks)
        if columns == 0:
            return torch.zeros(0, sum(sizes.values()))
        drawn = unit_templates(columns, sum(sizes.values()), seed).double()
        parts = drawn.split(list(sizes.values()), dim=1)
        return torch.cat([torch.nn.functional.normalize(part, dim=1) for part in parts], dim=1).float()

    def _sizes(self, marks: int) -> dict[str, int]:
        n, c = self.n, self.c
        sizes = {"own": self.p + c, "pairs1": 2 * c, "rows1": n, "pairs2": 2 * c, "rows2": n}
        return sizes | ({"ties": 2 * c * marks, "marks": marks, "colours": n, "second": n} if marks else {})

    def _parts(self, weights: Tensor, marks: int) -> dict[str, Tensor]:
        sizes = self._sizes(marks)
        return dict(zip(sizes, weights.split(list(sizes.values()), dim=1), strict=True))

    def _stretch(self) -> float:
        """A Lipschitz bound of one column: of colours at the start, then after each round."""
        bound = 1.0 + math.sqrt(2 * self.marks / self.n) + math.sqrt(self.marks) / self.n
        for _ in range(2):
            # The colour itself, the pairs in both directions, and the other points' colours in every row.
            bound += math.sqrt(2) + math.sqrt(self.n) * bound
        return bound


def _beside(mask: Tensor, values: Tensor) -> Tensor:
    """The mask (B, n) along the last of the dimensions (B, ..., n)."""
    return mask.reshape(mask.shape[0], *[1] * (values.dim() - 2), mask.shape[1])


def _ordered(values: Tensor, mask: Tensor | None) -> Tensor:
    """Ascending values (B, ..., n), visible ones first and zeros in the place of hidden ones."""
    if mask is None:
        return values.sort(dim=-1).values
    values = torch.where(_beside(mask, values), values, torch.inf).sort(dim=-1).values
    return torch.where(values.isposinf(), 0.0, values)


def _combined(values: Tensor, weights: Tensor, mask: Tensor | None) -> Tensor:
    """Sorted values (B, columns, ..., n) times weights (columns, n)."""
    shape = (1, weights.shape[0], *[1] * (values.dim() - 3), weights.shape[1])
    return (_ordered(values, mask) * weights.reshape(shape)).sum(dim=-1)
