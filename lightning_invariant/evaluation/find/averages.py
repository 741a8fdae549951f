"""Averages over a group of matrices that are known for its generators only, exact up to a band limit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Cyclic, Dihedral, Group, Matrices, Orthogonal, Representation
from lightning_invariant.groups.planar import planar_matrices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jaxtyping import Float
    from torch import Tensor

TURNS = 17
"""Rotations of the circle that stand for all of it: averages are exact up to the limits below."""
TOP_FREQUENCY, TOP_DEGREE = 8, 4
"""Highest frequency of SO(2) and O(2), and highest degree of SO(3) and O(3), that averages tell apart."""


@dataclass(frozen=True)
class Stage:
    """Some elements with their matrices; a group is the product of its stages.

    Args:
        elements: Of the group, (K, *element_shape).
        weights: Of the elements, (K,); they sum to 1.
        matrices: rho of the elements, (K, r, r).
        is_cyclic: Whether the elements are all powers of the second one.
    """

    elements: Tensor
    weights: Tensor
    matrices: Tensor
    is_cyclic: bool = False


def generators(group: Group) -> Tensor:
    """Return elements from whose matrices a representation is known.

    Args:
        group: C_n, D_n, T_n, a finite group of matrices such as Cube, SO2, O2, SO3 or O3.

    Returns:
        Elements, shape (n, *element_shape).

    Raises:
        GroupError: Another group.

    Example:
        >>> from lightning_invariant.groups import Dihedral
        >>> generators(Dihedral(4)).tolist()
        [1, 4]
    """
    if isinstance(group, Cyclic):
        return torch.tensor([1 % group.n])
    if isinstance(group, Dihedral):
        return torch.tensor([1, group.n] if group.n > 1 else [group.n])
    if isinstance(group, Matrices):
        known = group.matrices()
        steps = torch.tensor(group.generators, dtype=torch.float64)
        return (known[None] - steps[:, None]).abs().amax(dim=(2, 3)).argmin(dim=1)
    if isinstance(group, Orthogonal) and group.d == 2:
        angle, flip = torch.tensor([2 * math.pi / TURNS, 0.0], dtype=torch.float64), torch.tensor([0, 1])
        return planar_matrices(angle, flip, group.axis)[: 1 if group.special else 2]
    if isinstance(group, Orthogonal) and group.d == 3:
        c, s = math.cos(2 * math.pi / TURNS), math.sin(2 * math.pi / TURNS)
        about_y = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        y_to_z = [[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]
        inversion = [[-1.0, 0, 0], [0, -1, 0], [0, 0, -1]]
        listed = [about_y, y_to_z] if group.special else [about_y, y_to_z, inversion]
        return torch.tensor(listed, dtype=torch.float64)
    raise GroupError(
        f"Expected a group whose representations can be found (Cn, Dn, Tn, Cube, FullCube, Matrices, SO2, O2, SO3, O3) "
        f"but got {group}; declare the representation."
    )


def stages(group: Group, rho: Sequence[Float[Tensor, "r r"]]) -> list[Stage]:
    """Return the group as a product of stages.

    Args:
        group: One that `generators` knows.
        rho: The matrix of each generator.
    """
    if isinstance(group, (Cyclic, Dihedral)) or (isinstance(group, Orthogonal) and group.d == 2):
        flips = len(rho) == 2 or (isinstance(group, Dihedral) and group.n == 1)
        turns = [] if isinstance(group, Dihedral) and group.n == 1 else [_powers(group, rho[0])]
        return [*turns, *([_pair(generators(group)[-1], group, rho[-1])] if flips else [])]
    if isinstance(group, Matrices):
        return [_listed(group, rho)]
    about_y, y_to_z = _powers(group, rho[0]), generators(group)[1]
    back = torch.linalg.matrix_power(rho[1], 3)  # its inverse, whether it is orthogonal or not
    about_z = Stage(y_to_z @ about_y.elements @ y_to_z.mT, _polar_weights(), rho[1] @ about_y.matrices @ back)
    return [*([_pair(generators(group)[2], group, rho[2])] if len(rho) == 3 else []), about_y, about_z, about_y]


def invariant_product(parts: Sequence[Stage]) -> Float[Tensor, "r r"]:
    """Return the average of rho(g)^T rho(g): an inner product that the group keeps."""
    found = torch.eye(parts[0].matrices.shape[-1], dtype=torch.float64)
    for stage in parts:
        found = _average(stage, found, lambda k, inner, rho=stage.matrices: rho[k].mT @ inner @ rho[k])
    return (found + found.mT) / 2


def intertwiner(parts: Sequence[Stage], representation: Representation, start: Float[Tensor, "r d"]) -> Tensor:
    """Return the average of rho(g) X S(g)^T, which commutes with the group: rho(g) X = X S(g).

    Args:
        parts: The stages of rho.
        representation: S.
        start: X before the average.
    """
    for stage in reversed(parts):

        def act(k: int, x: Tensor, stage: Stage = stage) -> Tensor:
            return stage.matrices[k] @ representation.transform(x, stage.elements[k])

        start = _average(stage, start, act)
    return start


def invariants(parts: Sequence[Stage]) -> float:
    """Return the dimension of what the group leaves alone: the trace of the average of rho."""
    found = torch.eye(parts[0].matrices.shape[-1], dtype=torch.float64)
    for stage in parts:
        found = found @ torch.einsum("k,kij->ij", stage.weights, stage.matrices)
    return float(found.trace())


def _average(stage: Stage, start: Tensor, act: Callable[[int, Tensor], Tensor]) -> Tensor:
    """The weighted mean of what the elements, by their numbers, make of a matrix."""
    count = len(stage.weights)
    if not stage.is_cyclic:
        parts = (weight * act(k, start) for k, weight in enumerate(stage.weights))
        return sum(parts, torch.zeros_like(start))
    total, done = start, 1
    for bit in f"{count:b}"[1:]:  # the sum over 2m powers is that over m of them, and its image under the m-th
        total, done = total + act(done, total), 2 * done
        if bit == "1":
            total, done = start + act(1, total), done + 1
    return total / count


def weight_counts(powers: Stage, twist: Float[Tensor, "r r"] | None = None) -> Float[Tensor, "n"]:
    """Return how often each frequency occurs in a cyclic stage, by characters; weighted by a matrix that commutes.

    Args:
        powers: Powers of one rotation.
        twist: Such as the inversion's matrix; the identity if None.
    """
    matrices = powers.matrices if twist is None else powers.matrices @ twist
    traces = matrices.diagonal(dim1=1, dim2=2).sum(dim=1)
    return torch.fft.fft(traces).real / len(traces)


def _powers(group: Group, rho: Tensor) -> Stage:
    count = TURNS if isinstance(group, Orthogonal) else group.n  # type: ignore[attr-defined]
    elements, matrices = [group.identity()], [torch.eye(len(rho), dtype=torch.float64)]
    for _ in range(count - 1):
        elements.append(group.compose(elements[-1], generators(group)[0]))
        matrices.append(matrices[-1] @ rho)
    return Stage(torch.stack(elements), _even(count), torch.stack(matrices), is_cyclic=True)


def _pair(element: Tensor, group: Group, rho: Tensor) -> Stage:
    matrices = torch.stack([torch.eye(len(rho), dtype=torch.float64), rho])
    return Stage(torch.stack([group.identity(), element]), _even(2), matrices)


def _listed(group: Matrices, rho: Sequence[Tensor]) -> Stage:
    steps, table = generators(group).tolist(), group.table()
    known = {0: torch.eye(len(rho[0]), dtype=torch.float64)}
    fresh = [0]
    while fresh:
        reached = []
        for g in fresh:
            for step, matrix in zip(steps, rho, strict=True):
                product = int(table[g, step])
                if product not in known:
                    known[product] = known[g] @ matrix
                    reached.append(product)
        fresh = reached
    return Stage(group.elements(), _even(group.order), torch.stack([known[g] for g in range(group.order)]))


def _even(count: int) -> Tensor:
    return torch.full((count,), 1 / count, dtype=torch.float64)


def _polar_weights() -> Tensor:
    """Weights of the angles 2 pi j / TURNS by which trigonometric sums integrate to half their integral with sin."""
    angles = 2 * math.pi / TURNS * torch.arange(TURNS, dtype=torch.float64)
    even = range(2, 2 * TOP_DEGREE + 1, 2)
    total = 1 + sum((2 / (1 - m * m) * (m * angles).cos() for m in even), torch.zeros(()))
    return total / TURNS
