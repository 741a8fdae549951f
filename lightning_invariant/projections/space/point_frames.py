"""Points that carry vectors, under permutations and rotations together: all points as seen from pairs of points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from lightning_invariant.errors import GroupError
from lightning_invariant.groups.block import Trivial
from lightning_invariant.groups.matrix_blocks import DegreeIrrep, Flip, FrequencyIrrep, Vectors
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.space.clouds import _CloudInvariants

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


class Field(NamedTuple):
    """What a point carries.

    Attributes:
        degree: 0 for a number, 1 for a vector, 2 for a symmetric traceless matrix.
        parity: 1 or -1, by what the inversion of space (a mirror of the plane) multiplies it.
    """

    degree: int
    parity: int


class Seen(NamedTuple):
    """What frames see of n points; frames are numbered by their points, i and j in space, i alone in the plane.

    A number that does not depend on one of them has size 1 there, so that nothing is computed twice.

    Attributes:
        straight: Numbers that a mirror image leaves alone, (B, n or 1, n or 1, n, copies) each.
        mirrored: Numbers whose sign it changes, likewise.
        frame: Products of the frame's own vectors, (B, n, n or 1, frame_size).
    """

    straight: list[Tensor]
    mirrored: list[Tensor]
    frame: Tensor


def field_of(block: Block) -> Field | None:
    """What a block of O(d) or SO(d) is, None where frames cannot show it (degrees and frequencies above those)."""
    if isinstance(block, Trivial):
        return Field(0, 1)
    if isinstance(block, Flip):
        return Field(0, -1)
    if isinstance(block, FrequencyIrrep):
        return Field(block.frequency, 1) if block.frequency <= 1 else None
    if isinstance(block, Vectors):
        return Field(1, -1 if block.dim == 3 else 1)
    if isinstance(block, DegreeIrrep) and block.degree <= 2:
        return Field(block.degree, block.parity or (-1) ** block.degree)
    return None


class Views(nn.Module):
    """From fields on points to what each frame sees of each point.

    Args:
        fields: What the points carry.
        copies: How many copies of each.
        d: Dimension of space, 2 or 3.
        seed: Seed of the combinations that make one vector of several.
    """

    combinations: Tensor

    def __init__(self, fields: Sequence[Field], copies: Sequence[int], d: int, seed: int) -> None:
        super().__init__()
        self.fields, self.d = tuple(fields), d
        parities = [field.parity for field in fields if field.degree == 1]
        # Polar vectors are taken where there are both: axial ones are often products of them.
        self.parity = min(parities, default=0)
        self.anchors = tuple(i for i, field in enumerate(fields) if field == (1, self.parity))
        many = sum(copies[i] for i in self.anchors)
        drawn = torch.randn(d - 1, many, generator=torch.Generator().manual_seed(seed + 1)) / max(1, many) ** 0.5
        self.register_buffer("combinations", drawn if many > 1 else torch.ones(d - 1, many))
        kinds = self._kinds()
        self.straight_size = sum(copies[i] for i, parity in kinds if parity == 1)
        self.mirrored_size = sum(copies[i] for i, parity in kinds if parity == -1)
        self.size, self.frame_size = self.straight_size + self.mirrored_size, 3 if d == 3 else 1

    def forward(self, fields: Sequence[Float[Tensor, "B n m dim"]]) -> Seen:
        """Views of every point from every frame."""
        own = torch.cat([fields[i] for i in self.anchors], dim=2)
        vectors = torch.einsum("am,bnmd->abnd", self.combinations.to(own.dtype), own)
        frame = self._frame(vectors)
        views = [view for field, kind in zip(fields, self.fields, strict=True) for view in _seen(field, kind, frame)]
        parities = [parity for _, parity in self._kinds()]
        own = torch.broadcast_tensors(*frame[: self.d - 1])
        products = [(a * b).sum(dim=-1) for i, a in enumerate(own) for b in own[i:]]
        return Seen(
            [view for view, parity in zip(views, parities, strict=True) if parity == 1],
            [view for view, parity in zip(views, parities, strict=True) if parity == -1],
            torch.stack(products, dim=-1),
        )

    def _frame(self, vectors: Tensor) -> list[Tensor]:
        """The vectors of each frame, (B, n or 1, n or 1, d): u, w, u x w in space, u and u turned in the plane."""
        u = vectors[0][:, :, None]
        if self.d == 2:
            return [u, torch.stack([-u[..., 1], u[..., 0]], dim=-1)]
        w = vectors[1][:, None]
        return [u, w, torch.linalg.cross(*torch.broadcast_tensors(u, w))]

    def _kinds(self) -> list[tuple[int, int]]:
        """For every view, in the order of `_seen`, which field it shows and its parity."""
        parities = [self.parity, self.parity, 1] if self.d == 3 else [1, -1]
        kinds = []
        for i, field in enumerate(self.fields):
            factors = [1] if field.degree == 0 else parities
            if field.degree == 2:
                factors = [parities[a] * parities[b] for a, b in PAIRS]
            kinds += [(i, factor * field.parity) for factor in factors]
        return kinds


PAIRS = ((0, 0), (1, 1), (0, 1), (0, 2), (1, 2))
"""Pairs of frame vectors whose symmetric traceless products span all five dimensions if u and w are independent."""


def _seen(field: Tensor, kind: Field, frame: list[Tensor]) -> list[Tensor]:
    """Numbers (B, n or 1, n or 1, n, copies), one tensor a product with the frame."""
    if kind.degree == 0:
        return [field[:, None, None, :, :, 0]]
    vectors = frame if kind.degree == 1 else [symmetric_product(frame[a], frame[b]) for a, b in PAIRS]
    return [torch.einsum("bijd,bkmd->bijkm", vector, field) for vector in vectors]


def symmetric_product(a: Float[Tensor, "*n 3"], b: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 5"]:
    """The symmetric traceless part of two vectors' product, in the basis of degree 2 (that of `harmonics`).

    On the diagonal it is proportional to the spherical harmonics of degree 2.
    """
    x, y, z = a.unbind(dim=-1)
    p, q, r = b.unbind(dim=-1)
    root = 3**0.5
    parts = [root * (x * r + z * p), root * (x * q + y * p), 2 * y * q - x * p - z * r, root * (y * r + z * q)]
    return torch.stack([*parts, root * (z * r - x * p)], dim=-1) / 2


HIDDEN, FEATURES = 64, 128
"""Most numbers that describe what one frame sees, and most features, unless more are asked for."""
NUMBERS = {"cpu": 2**20, "cuda": 2**27}
"""Hidden numbers of views that exist at once; 2**20 float32 numbers are 4 MiB, which a processor's cache holds."""


class PointFrames(_CloudInvariants):
    """f = |z| mean over frames of tanh(C e), e = mean over points k of tanh(A v_k), v_k point k as the frame sees it.

    In space a frame is u_i, w_j and u_i x w_j for points i and j; in the plane it is u_i and u_i turned by 90 degrees.
    u_i and w_j are random combinations of the vectors of a point (the vector itself if there is one). A view holds
    the products of all vectors with the frame, of degree 2 with its pairs, and the numbers that do not turn. Under
    O(d) the mirror image of every frame counts as a frame too. |z| itself follows, so f scales like the latent.

    Args:
        representation: Of S_n x O(d) or S_n x SO(d), d = 2 or 3: "S9 x O3: 1 points*vectors", "S9 x SO3: 8
            points*0 + 4 points*1 + 2 points*2"; "trivial*trivial" may stand beside it and is kept.
        out_features: Number K of features, kept numbers included; 2 D + 2, but at most 129, beside those if None.
        hidden: Numbers that describe a frame; 2 D + 1, but at most 64, if None.
        ragged: Whether sets may have fewer than n points, given by a mask; their share is a feature then.
        seed: Seed of all weights.

    Raises:
        GroupError: Another representation.
        ValueError: out_features leaves no room for a feature, or hidden is below 1.

    Note:
        One vector and any scalars a point: a frame of independent vectors shows the whole set up to rotation, and sets
        on one line are seen from each of their points, so frames are told apart where sets are. Sums of analytic
        functions separate multisets for almost all weights. Hence injective with 2 D + 1 features and as many
        hidden numbers (D numbers in the latent); with fewer, any two fixed orbits are told apart for almost all
        weights. Several vectors a point: the latter. Lipschitz, smooth but at zero, not bi-Lipschitz; means over many
        frames bring distances close together, so GramRows beside it (see Joined) keeps more of them.

    References:
        Hordan, Amir, Gortler and Dym 2023 (2301.13821) for pairs of points with their cross product; Amir et al. 2023
        (2306.06529) for analytic sums. Pozdnyakov and Ceriotti 2022 (2201.07136) show what distances alone merge.

    Example:
        >>> import torch
        >>> P, X = PointFrames("S4 x O3: 1 points*vectors"), torch.arange(12.0).sin().reshape(1, 4, 3)
        >>> P(X.flatten(1)).shape, torch.allclose(P(X.flatten(1)), P(-X.flip(1).roll(1, dims=2).flatten(1)), atol=1e-5)
        (torch.Size([1, 26]), True)
    """

    inner_straight: Tensor
    inner_mirrored: Tensor
    inner_shift: Tensor
    outer_seen: Tensor
    outer_frame: Tensor
    outer_shift: Tensor

    def __init__(
        self,
        representation: Representation | str,
        out_features: int | None = None,
        *,
        hidden: int | None = None,
        ragged: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(representation, ragged=ragged, seed=seed)
        fields = [field_of(block) for block in self.carried]
        known = [field for field in fields if field is not None]
        if self.space.d not in (2, 3) or len(known) < len(fields) or all(field.degree != 1 for field in known):
            raise GroupError(
                f"Expected points with vectors, numbers and irreps up to degree 2 of space or frequency 1 of the plane "
                f"but got '{self.representation}'; use GramRows."
            )
        self.views = Views(known, self.copies, self.space.d, seed)
        size, beside = self.n * self.numbers, self.fixed_size + ragged + 1
        self.out_features = min(2 * size + 1, FEATURES) + beside if out_features is None else out_features
        self.kept = self.out_features - beside
        self.hidden = min(2 * size + 1, HIDDEN) if hidden is None else hidden
        if self.kept < 1 or self.hidden < 1:
            raise ValueError(
                f"Expected at least {beside + 1} features and 1 hidden number but got {out_features} and {hidden}."
            )
        self._draw_weights()
        one_vector = [n for n, field in zip(self.copies, known, strict=True) if field.degree > 0] == [1]
        enough = one_vector and min(self.kept, self.hidden) >= 2 * size + 1
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.INJECTIVE if enough else Separation.PAIRWISE,
            differentiable="everywhere but at zero",
            source="Hordan et al. 2023, 2301.13821; Amir et al. 2023, 2306.06529",
            note="For almost all weights. Not bi-Lipschitz."
            if enough
            else "Every fixed pair of different orbits is told apart for almost all weights.",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Sizes, whether sets are ragged, and seed."""
        return super().settings | {"hidden": self.hidden}

    def _invariants(self, fields: list[Tensor], mask: Tensor) -> Tensor:
        frames = self.n ** (self.space.d - 1)
        limit = NUMBERS.get(mask.device.type, NUMBERS["cuda"])
        rows = max(1, limit // (frames * self.n * max(self.views.size, self.hidden)))
        # A loop over a dynamic batch cannot be traced, so a traced graph makes one pass.
        if torch.compiler.is_compiling() or mask.shape[0] <= rows:
            return self._features(fields, mask)
        blocks = zip(*(part.split(rows) for part in (*fields, mask)), strict=True)
        return torch.cat([self._features(list(block[:-1]), block[-1]) for block in blocks])

    def _features(self, fields: list[Tensor], mask: Tensor) -> Tensor:
        rows = torch.cat([field.flatten(2) for field in fields], dim=2)
        direction, norm = direction_and_norm(rows, dims=(1, 2))
        count = mask.sum(dim=1)[:, None, None].to(rows.dtype)
        scaled = (direction * (count * rows.shape[2]).sqrt()).split([f.shape[2] * f.shape[3] for f in fields], dim=2)
        alike = [part.unflatten(2, field.shape[2:]) for part, field in zip(scaled, fields, strict=True)]
        size = norm[:, :, 0] / self.kept**0.5
        share = [count[:, :, 0] / self.n] if self.ragged else []
        return torch.cat([self._seen(alike, mask) * size, size, *share], dim=1)

    def _seen(self, fields: list[Tensor], mask: Tensor) -> Tensor:
        """Mean over frames of what each sees of all points, (B, K)."""
        views = self.views(fields)
        frame, weight = views.frame.flatten(1, 2), mask.to(views.frame.dtype)
        count = weight.sum(dim=1)[:, None]
        straight = _weighted(views.straight, self.inner_straight) + self.inner_shift.to(frame.dtype)
        mirrored = _weighted(views.mirrored, self.inner_mirrored) if views.mirrored else None
        anchors = weight if self.space.d == 2 else weight[:, :, None] * weight[:, None, :]
        anchors = anchors.flatten(1) / count ** (self.space.d - 1)
        beside = frame @ self.outer_frame.to(frame.dtype) + self.outer_shift.to(frame.dtype)
        found = []
        # Without numbers that a mirror image changes, both images see the same.
        for sign in (1,) if self.space.special or mirrored is None else (1, -1):
            seen = straight.tanh() if mirrored is None else torch.add(straight, mirrored, alpha=sign).tanh_()
            seen = torch.einsum("bijkh,bk->bijh", seen, weight / count)
            seen = seen.expand(-1, *views.frame.shape[1:3], -1).flatten(1, 2)
            outer = (seen @ self.outer_seen.to(frame.dtype) + beside).tanh()
            found.append(torch.einsum("bfq,bf->bq", outer, anchors))
        return torch.stack(found).mean(dim=0)

    def _draw_weights(self) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        sizes = {
            "inner_straight": (self.views.straight_size, self.hidden),
            "inner_mirrored": (self.views.mirrored_size, self.hidden),
            "inner_shift": (1, self.hidden),
            "outer_seen": (self.hidden, self.kept),
            "outer_frame": (self.views.frame_size, self.kept),
            "outer_shift": (1, self.kept),
        }
        for name, (inputs, outputs) in sizes.items():
            self.register_buffer(name, torch.randn(inputs, outputs, generator=generator) / max(1, inputs) ** 0.5)


def _weighted(views: list[Tensor], weights: Tensor) -> Tensor:
    """All views times their rows of the weights, (B, n, n or 1, n, hidden)."""
    rows = weights.to(views[0].dtype).split([view.shape[-1] for view in views])
    return sum((view @ row for view, row in zip(views, rows, strict=True)), start=torch.zeros_like(rows[0][0]))
