"""Cross sections: latents from invariant features, for maps that can be undone up to the group."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Orthogonal
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.projections import (
    Absolute,
    ArgmaxCanonical,
    Centred,
    Chamber,
    Cone,
    Gram,
    GramRoot,
    Identity,
    Norm,
    PhaseOuter,
    Reduced,
    SignOuter,
    SingularValues,
    Sort,
    SortedEigenvalues,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.projections import Projection

CANONICAL = (Identity, Sort, Absolute, Chamber, ArgmaxCanonical)
"""Maps whose features are a latent of the orbit themselves."""
POLAR = (Norm, SortedEigenvalues, SingularValues)


def section(projection: Projection, features: Float[Tensor, "B K"]) -> Float[Tensor, "B D"]:
    """Return latents that have given features: one of the orbit that the features belong to.

    Args:
        projection: A map that can be undone: Identity, Sort, Absolute, Chamber, ArgmaxCanonical, Norm,
            SortedEigenvalues, SingularValues, Cone, SignOuter, PhaseOuter, Gram, GramRoot, or one of these
            behind Reduced or Centred.
        features: What it gave, or features near the ones it can give, such as averages.

    Returns:
        Flat latents, dtype of the features. projection(latents) are the features; where no latent has these features,
        such as a matrix that is no Gram matrix, they are those of a latent near to having them.

    Raises:
        GroupError: Another projection.
        LatentError: The features have another shape.

    Note:
        From a Gram matrix G = U L U^T with eigenvalues L in descending order, X = U sqrt(L) without the columns beyond
        the dimension of the space; of a root, X = U L; of v v^T / |v|, v = U L in its first column, for complex v too.
        Of an image and its mirror image under rotations, the one whose determinants are nearer to the features is
        taken. Eigenvalues and singular values are put on a diagonal.

    Example:
        >>> import lightning_invariant.projections as P
        >>> root = P.GramRoot("O2: 3 vectors").double()
        >>> z = torch.arange(6.0, dtype=torch.float64)[None]
        >>> torch.allclose(root(section(root, root(z))), root(z))
        True
    """
    if features.dim() != 2 or features.shape[1] != projection.out_features:
        raise LatentError(
            f"Expected features of shape (B, {projection.out_features}) of {type(projection).__name__} but got "
            f"{tuple(features.shape)}."
        )
    if isinstance(projection, CANONICAL):
        return features.clone()
    if isinstance(projection, Reduced):
        latents = section(projection.projection, features)
        return latents if projection.order is None else latents[:, projection.order.argsort()]
    if isinstance(projection, Centred):
        return projection.undo(section(projection.projection, features))
    if isinstance(projection, POLAR):
        return _on_a_diagonal(projection, features)
    if isinstance(projection, Cone):
        return _from_the_cone(projection, features)
    if isinstance(projection, SignOuter):
        return _signed(projection, features)
    if isinstance(projection, PhaseOuter):
        return _phased(projection, features)
    if isinstance(projection, (Gram, GramRoot)):
        return _vectors(projection, features)
    names = ", ".join(kind.__name__ for kind in (*CANONICAL, *POLAR, Cone, SignOuter, PhaseOuter, Gram, GramRoot))
    raise GroupError(
        f"Expected a projection that can be undone ({names}) but got {type(projection).__name__}; keep latents beside "
        "the features, and walk between them with quotient.path."
    )


def _on_a_diagonal(projection: Norm | SortedEigenvalues | SingularValues, features: Tensor) -> Tensor:
    """One vector along the first axis, or one diagonal matrix."""
    where = projection.representation.slices[projection.term]
    end = where.start + projection.out_features - (projection.representation.size - (where.stop - where.start))
    values = features[:, where.start : end]
    part = features.new_zeros(len(features), where.stop - where.start)
    if isinstance(projection, SortedEigenvalues):
        # The irrep of degree 2 has the functions xz, xy, 3 y^2 - 1, yz, z^2 - x^2; two of them are diagonal.
        part[:, 2], part[:, 4] = values[:, 1] * 1.5**0.5, (values[:, 2] - values[:, 0]) / 2**0.5
    else:
        columns = projection.block.parts[1].dim if isinstance(projection.block, Outer) else part.shape[1]
        places = torch.arange(values.shape[1], device=features.device) * (columns + 1)
        part[:, places] = values
    return torch.cat([features[:, : where.start], part, features[:, end:]], dim=1)


def _from_the_cone(projection: Cone, features: Tensor) -> Tensor:
    """A point of the plane with its angle divided by the number of turns, and what stays."""
    work = features.to(torch.promote_types(features.dtype, torch.float32))
    norm = work[:, :1] / (1 - projection.turns**-2) ** 0.5
    angle = torch.atan2(work[:, 2:3], work[:, 1:2]) / projection.turns
    point = norm * torch.cat([angle.cos(), angle.sin()], dim=1)
    plane, fixed = projection.table_plane.to(work), projection.table_fixed.to(work)
    return (point @ plane.mT + work[:, 3:] @ fixed.mT).to(features.dtype)


def _signed(projection: SignOuter, features: Tensor) -> Tensor:
    """The numbers that share each sign, and those that stay, out of the basis of signs."""
    representation, end = projection.representation, 0
    work = features.to(torch.promote_types(features.dtype, torch.float32))
    numbers = work.new_zeros(len(work), representation.size)
    for i, triangle in enumerate(projection.triangles):
        places, start, end = projection.get_buffer(f"places{i}"), end, end + int(triangle.size)  # type: ignore[arg-type]
        numbers[:, places] = _principal(_symmetric(work[:, start:end], len(places)), 1, 1.0)[..., 0]
    numbers[:, projection.kept] = work[:, end:]
    parts = []
    for i, (block, where) in enumerate(zip(representation, representation.slices, strict=True)):
        copies, basis = (
            numbers[:, where].unflatten(1, (block.copies, block.dim)),
            projection.get_buffer(f"table_basis{i}"),
        )
        copies = copies @ basis.to(copies).mT if basis.numel() else copies
        parts.append((copies.mT if block.copies_last else copies).flatten(1))
    return torch.cat(parts, dim=1).to(features.dtype)


def _phased(projection: PhaseOuter, features: Tensor) -> Tensor:
    """Complex numbers with the given products."""
    real = _symmetric(features, projection.m)
    rows, columns = torch.triu_indices(projection.m, projection.m, offset=1, device=features.device)
    start = projection.triangle.size
    across = features[:, start : start + len(rows)].to(real) / math.sqrt(2)
    imaginary = torch.zeros_like(real)
    imaginary[:, rows, columns], imaginary[:, columns, rows] = across, -across
    v = _principal(torch.complex(real, imaginary), 1, 1.0)[..., 0]
    return _assembled(projection, torch.view_as_real(v), features)


def _vectors(projection: Gram | GramRoot, features: Tensor) -> Tensor:
    """N vectors with the given Gram matrix, or root of it."""
    matrix = _symmetric(features, projection.n)
    x = _principal(matrix, projection.d, 1.0 if isinstance(projection, GramRoot) else 0.5)
    z = _assembled(projection, x, features)
    group = projection.representation.group
    if not (isinstance(group, Orthogonal) and group.special):
        return z
    mirrored = _assembled(projection, torch.cat([x[..., :-1], -x[..., -1:]], dim=-1), features)
    gaps = [(projection(side.to(features)) - features).norm(dim=1) for side in (z, mirrored)]
    return torch.where((gaps[1] < gaps[0])[:, None], mirrored, z)


def _symmetric(features: Tensor, n: int) -> Tensor:
    """The first features as symmetric matrices (B, n, n), from their weighted upper triangles."""
    rows, columns = torch.triu_indices(n, n, device=features.device)
    entries = features[:, : len(rows)].to(torch.promote_types(features.dtype, torch.float32))
    entries = torch.where(rows == columns, entries, entries / math.sqrt(2))
    matrix = entries.new_zeros(len(entries), n, n)
    matrix[:, rows, columns] = entries
    matrix[:, columns, rows] = entries
    return matrix


def _principal(matrix: Tensor, d: int, power: float) -> Tensor:
    """The d leading eigenvectors times powers of their eigenvalues, zero where there are fewer: (..., n, d)."""
    weights, vectors = torch.linalg.eigh(matrix)
    scaled = (vectors * weights.clamp(min=0).pow(power)[..., None, :]).flip(-1)[..., :d]
    return torch.nn.functional.pad(scaled, (0, d - scaled.shape[-1]))


def _assembled(projection: PhaseOuter | Gram | GramRoot, moved: Tensor, features: Tensor) -> Tensor:
    """Flat latents from the copies of all moving blocks (B, copies, dim) and the unmoved numbers, the last features."""
    z = features.new_zeros(len(features), projection.representation.size)
    start, end = 0, projection.out_features - projection.fixed_size
    for where, block in projection.moving:
        z[:, where] = moved[:, start : start + block.copies].flatten(1).to(z.dtype)
        start += block.copies
    for where in projection.fixed:
        z[:, where] = features[:, end : end + where.stop - where.start]
        end += where.stop - where.start
    return z
