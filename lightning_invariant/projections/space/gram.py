"""The Gram matrix and its root: vectors that rotations and reflections turn together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.matrix_blocks import DegreeIrrep, FrequencyIrrep, Vectors
from lightning_invariant.groups.orthogonal import Orthogonal
from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.joint import _JointInvariants
from lightning_invariant.projections.base.tables import UpperTriangle

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.groups.block import Block


def pseudoscalar_templates(n: int, d: int, seed: int) -> Float[Tensor, "k n d"]:
    """Random frames A_i (n, d) with orthonormal columns, so that det(A_i^T X) is an SO(d) invariant of X (n, d).

    X and its mirror image have determinants of opposite sign, so they agree only where all are zero. Each is one
    equation on the column space of X, a point of the Grassmannian of dimension d (n - d); with k = d (n - d) + 1
    random frames no X of rank d meets them all.

    Args:
        n: Number of vectors.
        d: Dimension of the space.
        seed: Seed of a generator of their own.

    Returns:
        Float32, drawn in float64; k is 0 if n < d, where a mirror image is a rotation.
    """
    if n < d:
        return torch.zeros(0, n, d)
    generator = torch.Generator().manual_seed(seed)
    gaussian = torch.randn(d * (n - d) + 1, n, d, dtype=torch.float64, generator=generator)
    return torch.linalg.qr(gaussian)[0].float()


def pseudoscalars(x: Float[Tensor, "B n d"], templates: Float[Tensor, "k n d"]) -> Float[Tensor, "B k"]:
    """det(A_i^T X) for each template, by cofactors: gradients are finite where the determinant is zero."""
    return _determinant(torch.einsum("knd,bne->bkde", templates.to(x.dtype), x))


def _determinant(m: Tensor) -> Tensor:
    if m.shape[-1] == 1:
        return m[..., 0, 0]
    if m.shape[-1] > 4:
        return torch.linalg.det(m)
    size = m.shape[-1]
    minors = [m[..., 1:, [j for j in range(size) if j != i]] for i in range(size)]
    return torch.stack([(-1) ** i * m[..., 0, i] * _determinant(minor) for i, minor in enumerate(minors)]).sum(0)


class _VectorInvariants(_JointInvariants):
    """n vectors of R^d as the rows of X, from "12 vectors", irreps of frequency 1 or (odd) degree 1.

    Under SO(d) with n >= d the features end with determinants, which see mirror images; otherwise there are none.
    """

    expected = "vectors of O(d) or SO(d), such as 'O3: 12 vectors' or 'SO3: 12x1'"
    remedy = "use PhaseInvariants or SphericalBispectrum for other irreps"

    templates: Tensor

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation)
        group = self.representation.group
        self.n, self.d = sum(block.copies for _, block in self.moving), self.moving[0][1].dim
        self.seed, self.triangle = seed, UpperTriangle(self.n)
        special = isinstance(group, Orthogonal) and group.special
        chiral = pseudoscalar_templates(self.n, self.d, seed) if special else torch.zeros(0, self.n, self.d)
        self.register_buffer("templates", chiral)
        self.out_features = self.triangle.size + len(chiral) + self.fixed_size

    @staticmethod
    def _fits(block: Block) -> bool:
        if isinstance(block, Vectors):
            return isinstance(block.group, Orthogonal)
        if isinstance(block, DegreeIrrep):
            return block.degree == 1 and block.parity != 1
        return isinstance(block, FrequencyIrrep) and block.frequency == 1

    @property
    def settings(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}


class Gram(_VectorInvariants):
    """f = upper triangle of X X^T for n vectors, the rows of X (n, d), with the Frobenius norm of the whole matrix.

    Under SO(d) with n >= d, d (n - d) + 1 determinants of random combinations follow.

    Args:
        representation: Of O(d) or SO(d) on vectors, "O3: 12 vectors", "SO3: 12x1"; trivial terms may stand beside
            them and are kept.
        seed: Seed of the determinants' templates.

    Raises:
        GroupError: Another representation.

    Note:
        Injective: X X^T = Y Y^T exactly when Y = X g with g in O(d). Under SO(d) a mirror image has the determinants'
        signs reversed, which some template sees for almost all templates; if n < d a reflection fixes the span, so
        mirror images are rotations. Quadratic, hence not Lipschitz, and differences near zero vectors vanish.

    References:
        Derksen 2024 (2409.06829) for what it does to distances.

    Example:
        >>> import torch
        >>> Gram("O2: 2 vectors")(torch.tensor([[[1.0, 0.0], [3.0, 4.0]]]).double()).round(decimals=3).tolist()
        [[1.0, 4.243, 25.0]]
    """

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation, seed)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.INJECTIVE,
            source="Derksen 2024, 2409.06829",
            note="Not Lipschitz." + (" For almost all templates." if len(self.templates) else ""),
        )

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """Products, then determinants."""
        x = torch.cat(parts, dim=1)
        return torch.cat([self.triangle(x @ x.mT), pseudoscalars(x, self.templates)], dim=1)


class GramRoot(_VectorInvariants):
    """f = upper triangle of (X X^T)^(1/2) for n vectors, the rows of X (n, d), with the matrix's Frobenius norm.

    Under SO(d) with n >= d, d (n - d) + 1 determinants of random combinations follow, divided by |X|^(d - 1).

    Args:
        representation: Of O(d) or SO(d) on vectors, "O3: 12 vectors", "SO3: 12x1"; trivial terms may stand beside
            them and are kept.
        seed: Seed of the determinants' templates.

    Raises:
        GroupError: Another representation.

    Note:
        O(d), and SO(d) with n < d: sqrt(2)-Lipschitz, and never shorter than the orbit distance, so the distortion is
        at most sqrt(2); one vector gives its norm, which is isometric. SO(d) with n >= d: injective for almost all
        templates and Lipschitz, but near configurations of rank d - 2 mirror images come too close for a bound.
        Not differentiable where X has rank below min(n, d); the gradient returned there is finite. Elsewhere second
        derivatives are right as well, so forces can be trained through it.

        The singular value decomposition waits for the device on CUDA.

    References:
        Derksen 2024 (2409.06829).

    Example:
        >>> import torch
        >>> GramRoot("O2: 2 vectors")(torch.tensor([[[0.0, 2.0], [3.0, 0.0]]]).double()).round(decimals=3).tolist()
        [[2.0, 0.0, 3.0]]
    """

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation, seed)
        mirrored = len(self.templates) > 0
        bound = None if mirrored else 1.0 if self.n == 1 else math.sqrt(2)
        bounded = Separation.ISOMETRIC if self.n == 1 else Separation.BILIPSCHITZ
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.INJECTIVE if mirrored else bounded,
            lipschitz=bound,
            distortion=bound,
            differentiable="where the vectors span as much as they can",
            source="Derksen 2024, 2409.06829",
            note="Lipschitz; for almost all templates." if mirrored else "",
        )

    def invariants(self, parts: list[Tensor]) -> Tensor:
        """The root, then scaled determinants."""
        x = torch.cat(parts, dim=1)
        unit, norm = direction_and_norm(x, dims=(1, 2))
        return torch.cat([self.triangle(gram_root(x)), pseudoscalars(unit, self.templates) * norm[:, 0]], dim=1)


def gram_root(x: Float[Tensor, "B n d"]) -> Float[Tensor, "B n n"]:
    """Return (X X^T)^(1/2), with gradients that stay finite where singular values vanish or coincide.

    Derivatives of every order are right where X has its full rank min(n, d). Elsewhere the root has none; the gradient
    that is returned there is that of a nearby direction, and finite.

    Args:
        x: Vectors as rows. Rows of the batch that are not finite give NaN.

    Returns:
        Symmetric positive semidefinite matrices.
    """
    fine = x.detach().isfinite().all(dim=-1, keepdim=True).all(dim=-2, keepdim=True)
    x = torch.where(fine, x, torch.zeros_like(x))
    # A graph for inference needs no gradient, and no node that only a custom function makes.
    root: Tensor = (_GramRoot.forward if torch.compiler.is_exporting() else _GramRoot.apply)(x)[0]  # type: ignore[index]
    return torch.where(fine, root, torch.nan)


class _GramRoot(torch.autograd.Function):
    """P = (X X^T)^(1/2) = U S U^T for X = U S W^T.

    The root solves P dP + dP P = d(X X^T), hence U^T dP U = (N_ij s_j + N_ji s_i) / (s_i + s_j) for N = U^T dX W.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        u, s, wt = torch.linalg.svd(x, full_matrices=False)
        return (u * s[..., None, :]) @ u.mT, u, s, wt

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(inputs[0], *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # type: ignore[override]
        x, u, s, wt = ctx.saved_tensors
        g = gradients[0] + gradients[0].mT
        floor = s[..., :1] * torch.finfo(s.dtype).eps * max(x.shape[-2:])
        direct = _with_fixed_factors(g, u, s, wt, floor)
        if not torch.is_grad_enabled():
            return direct
        full = (s[..., -1:] > floor)[..., None]
        return torch.where(full, _differentiable(torch.where(full, x, torch.eye(*x.shape[-2:]).to(x)), g), direct)


def _with_fixed_factors(g: Tensor, u: Tensor, s: Tensor, wt: Tensor, floor: Tensor) -> Tensor:
    """The gradient by the formula of `_GramRoot`, finite for any singular values."""
    total = s[..., :, None] + s[..., None, :]
    share = torch.where(total > 0, s[..., None, :] / torch.where(total > 0, total, torch.ones_like(total)), 0.0)
    turned, seen = g @ u, (s > floor).to(s.dtype)[..., None, :]
    inner = u.mT @ turned
    return (turned * seen + u @ (share * inner - inner * seen)) @ wt


def _differentiable(x: Tensor, g: Tensor) -> Tensor:
    """The same gradient for X of full rank, in operations that have derivatives themselves.

    P = X H^(-1) X^T with H = (X^T X)^(1/2) where n > d, and P itself is nonsingular elsewhere.
    """
    if x.shape[-2] <= x.shape[-1]:
        return _Lyapunov.apply(_SmallRoot.apply(x.mT), g) @ x  # type: ignore[operator]
    small: Tensor = _SmallRoot.apply(x)  # type: ignore[assignment]
    scaled = torch.linalg.solve(small, x.mT).mT
    return g @ scaled - x @ _Lyapunov.apply(small, scaled.mT @ g @ scaled)  # type: ignore[operator]


class _SmallRoot(torch.autograd.Function):
    """H = (X^T X)^(1/2) for X of full column rank, from its singular values."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        _, s, wt = torch.linalg.svd(x, full_matrices=False)
        return (wt.mT * s[..., None, :]) @ wt

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # type: ignore[override]
        x, root = ctx.saved_tensors
        return x @ _Lyapunov.apply(root, gradients[0] + gradients[0].mT)  # type: ignore[operator]


class _Lyapunov(torch.autograd.Function):
    """The symmetric L with H L + L H = C for symmetric positive definite H and symmetric C."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, c: Tensor) -> Tensor:  # type: ignore[override]
        values, q = torch.linalg.eigh(h)
        return q @ (q.mT @ c @ q / (values[..., :, None] + values[..., None, :])) @ q.mT

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0], output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        h, solution = ctx.saved_tensors
        adjoint: Tensor = _Lyapunov.apply(h, (gradients[0] + gradients[0].mT) / 2)  # type: ignore[assignment]
        product = adjoint @ solution
        return -(product + product.mT), adjoint
