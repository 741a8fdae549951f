"""Weighted sums of the points' vectors: what tells a set of points from its mirror image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.joint import is_trivial
from lightning_invariant.projections.base.tables import UpperTriangle
from lightning_invariant.projections.base.templates import tight_frame
from lightning_invariant.projections.space.clouds import _CloudInvariants
from lightning_invariant.projections.space.gram import gram_root, pseudoscalars
from lightning_invariant.projections.space.gram_rows import MIRRORED
from lightning_invariant.projections.space.point_frames import field_of

if TYPE_CHECKING:
    from torch import Tensor

    from lightning_invariant.groups import Representation

SUMS, LINEAR = 6, 4
"""Sums of vectors, and how many of them at most are weighted by the points' own numbers."""
VIEWS, SHARPNESS, HANDEDNESS = 16, 3.0, 20.0
"""Determinants of what points see of the others, how much weights differ from one point to the next, and a factor: what
tells mirror images apart is one number among many."""


class VectorSums(_CloudInvariants):
    """f = Gram root of V_k = sum over points i of w_k(h_i) x_i, for vectors x_i and numbers h_i, and determinants.

    h_i holds what rotations leave alone of point i: its numbers, the norms of its vectors, and their products with the
    mean vector. Up to four weights are random combinations of the numbers themselves, the others tanh of random
    combinations of all of h_i. Under SO(d) the mean over points j of det(P_j1, ..., P_jd) follows, several times with
    other weights, where P_jk = sum over points i of a_k(h_i, h_j, |x_i - x_j|) (x_i - x_j) is what point j sees of the
    others, and a_k is tanh of a random combination; it is taken of directions and multiplied with a length, so that it
    grows with the P_jk. Such weights know pairs and tell a molecule with an axis of symmetry, or of few kinds of atoms,
    from its mirror image, where sums of vectors lie in a plane. Everything is taken of z / |z| and multiplied with
    |z|, so f scales like the latent.

    Args:
        representation: Of S_n x SO(d) or S_n x O(d), d = 2 or 3, on points with vectors, "S9 x SO3: 5 points*0 + 1
            points*vectors"; "trivial*trivial" may stand beside it and is kept.
        ragged: Whether sets may have fewer than n points, given by a mask.
        seed: Seed of all weights.

    Raises:
        GroupError: Another representation, or points without vectors.

    Note:
        Lossy by itself, as 6 vectors stand for n. The weights are the same for a set and its mirror image,
        so under SO(d) the determinants differ in sign, and for a set in general position they are not zero: it is
        told apart from its mirror image. Beside `GramRows`, which merges nothing else
        of generic sets of one kind of vectors, that makes the pair generic. Smooth where the sums span the space.

    References:
        Widdowson and Kurlin 2023 (2303.15385) and Hordan et al. 2023 (2301.13821) for invariants of clouds under rigid
        motions that see handedness.

    Example:
        >>> import torch
        >>> P, X = VectorSums("S4 x SO3: 1 points*vectors"), torch.arange(12.0).sin().reshape(1, 4, 3)
        >>> P(X.flatten(1)).shape, torch.allclose(P(X.flatten(1)), P(X.flip(1).flatten(1)), atol=1e-5)
        (torch.Size([1, 37]), True)
    """

    linear: Tensor
    inner: Tensor
    shift: Tensor
    combinations: Tensor
    seeing: Tensor
    looked: Tensor

    def __init__(self, representation: Representation | str, *, ragged: bool = False, seed: int = 0) -> None:
        super().__init__(representation, ragged=ragged, seed=seed)
        kinds = [field_of(block) for block in self.carried]
        vectors = [kind for kind in kinds if kind is not None and kind.degree == 1]
        if self.space.d not in (2, 3) or not vectors:
            raise GroupError(f"Expected points with vectors of space or the plane but got '{self.representation}'.")
        polar = min(kind.parity for kind in vectors)
        self.turned = [i for i, kind in enumerate(kinds) if kind is not None and kind == (1, polar)]
        self.still = [i for i, block in enumerate(self.carried) if is_trivial(block)]
        scalars, m = (sum(self.copies[i] for i in which) for which in (self.still, self.turned))
        linear = min(LINEAR, scalars)
        generator = torch.Generator().manual_seed(seed + 1)
        width = scalars + 2 * m
        self.register_buffer("linear", tight_frame(max(scalars, 1), max(linear, 1), seed)[:scalars, :linear])
        drawn = torch.randn(width + 1, SUMS - linear, generator=generator)
        self.register_buffer("inner", drawn[:-1] / width**0.5)
        self.register_buffer("shift", drawn[-1])
        mixed = torch.randn(SUMS, m, generator=generator) / m**0.5
        self.register_buffer("combinations", mixed if m > 1 else torch.ones(SUMS, 1))
        self.triangle = UpperTriangle(SUMS)
        self.views = VIEWS if self.space.special else 0
        seeing = torch.randn(self.views, self.space.d, 2 * width + 2, generator=generator)
        self.register_buffer("seeing", SHARPNESS * seeing / (2 * width + 1) ** 0.5)
        looked = torch.randn(self.views, m, generator=generator) / m**0.5
        self.register_buffer("looked", looked if m > 1 else torch.ones(self.views, 1))
        self.out_features = self.triangle.size + self.views + self.fixed_size
        self.tells_apart = MIRRORED if self.space.special else ""
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.LOSSY,
            differentiable="where the sums span the space",
            source="proof in the docstring of VectorSums",
            note="Tells generic sets from their mirror images, and not much else." if self.space.special else "",
        )

    @property
    def settings(self) -> dict[str, object]:
        """Whether sets are ragged, and seed."""
        return {"ragged": self.ragged, "seed": self.seed}

    def _invariants(self, fields: list[Tensor], mask: Tensor) -> Tensor:
        rows = torch.cat([fields[i].flatten(2) for i in (*self.still, *self.turned)], dim=2)
        direction, norm = direction_and_norm(rows, dims=(1, 2))
        count = mask.sum(dim=1)[:, None, None].to(rows.dtype)
        scaled = direction * count.clamp(min=1).sqrt()
        scalars = scaled[..., : self.linear.shape[0]]
        x = scaled[..., self.linear.shape[0] :].unflatten(2, (-1, self.space.d))
        mean = x.sum(dim=1, keepdim=True) / count.clamp(min=1)[..., None]
        own = [scalars, direction_and_norm(x)[1][..., 0], (x * mean).sum(dim=-1)]
        numbers = torch.cat(own, dim=2)
        curved = (numbers @ self.inner.to(x.dtype) + self.shift.to(x.dtype)).tanh()
        weights = torch.cat([scalars @ self.linear.to(x.dtype), curved], dim=2)
        mixed = self.combinations.to(x.dtype) @ x
        sums = torch.einsum("bnk,bnkd->bkd", weights, mixed) / count.clamp(min=1).sqrt()
        return torch.cat([self.triangle(gram_root(sums)), *self._seen(numbers, x, mask)], dim=1) * norm[:, 0]

    def _seen(self, numbers: Tensor, x: Tensor, mask: Tensor) -> list[Tensor]:
        """Determinants of d weighted sums of what each point sees of the others, their mean over points, each (B, 1).

        Weights know both points and how far apart they are.
        """
        seen = []
        shown = mask[..., None].to(x.dtype)
        apart = direction_and_norm(x[:, :, None] - x[:, None], dims=(3, 4))[1][..., 0, 0] if self.views else x
        for weights, mixed in zip(self.seeing.to(x.dtype), self.looked.to(x.dtype), strict=True):
            there, here, far, shift = weights.split([numbers.shape[2], numbers.shape[2], 1, 1], dim=1)
            size = (numbers @ there.mT)[:, :, None] + (numbers @ here.mT + shift[:, 0])[:, None]
            share = (size + apart[..., None] * far[:, 0]).tanh() * shown[:, :, None]
            u = torch.einsum("m,bnmd->bnd", mixed, x)
            sums = torch.einsum("bijk,bid->bjkd", share, u) - share.sum(dim=1)[..., None] * u[:, :, None]
            unit, length = direction_and_norm(sums, dims=(2, 3))
            eye = torch.eye(self.space.d, dtype=x.dtype, device=x.device)[None]
            handed = pseudoscalars(unit.flatten(0, 1), eye).unflatten(0, x.shape[:2]) * length[..., 0]
            seen.append(HANDEDNESS * (handed * shown).sum(dim=1) / shown.sum(dim=1).clamp(min=1) ** 1.5)
        return seen
