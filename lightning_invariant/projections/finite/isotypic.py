"""The parts of a finite group's representation that never mix: isotypic components, found numerically.

Let phi_a be an orthonormal basis of the functions on G, grouped by component f. For z and t in component f, the
function g -> <rho(g) z, t> is a combination of the n_f functions of that component alone, with coefficients
c_a = <C_a z, t>, C_a = sum_g phi_a(g) rho(g). For C_n this is the real Fourier basis (n_f = 2 for each pair of
conjugate frequencies); D_n has n_f = 4. A random symmetric class function acts as one number on each component, so
its eigenspaces are the components (Serre 1977, Linear Representations of Finite Groups, 2.6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import FiniteGroup
from lightning_invariant.groups.finite_blocks import Regular

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group, Representation
    from lightning_invariant.groups.block import Block


GAP = 1e-8
"""Eigenvalues nearer than this belong to one component; merging two components by chance costs time, not exactness."""

TRIES = 8
"""Class functions tried for small groups; the one whose eigenvalues lie furthest apart gives the most exact bases."""


class Component(NamedTuple):
    """One component of a representation.

    Attributes:
        functions: Orthonormal functions on the group, (G, n_f), float64.
        bases: For each block an orthonormal basis of its share in one copy, (dim, r), r = 0 where it has none.
        actions: For each block the matrices C_a in that basis, (n_f, r, r).
    """

    functions: Tensor
    bases: list[Tensor]
    actions: list[Tensor]


def components(representation: Representation) -> list[Component]:
    """All components that the representation contains.

    Args:
        representation: Of a group whose elements can be listed.
    """
    elements = representation.group.elements()
    # All of rho once for all components; of regular fields, which may be large, nothing but their share is needed.
    moved = [
        None
        if isinstance(block, Regular)
        else moved_copies(block, torch.eye(block.dim, dtype=torch.float64), elements).mT
        for block in representation
    ]
    found = []
    for functions in _function_components(representation.group):
        bases = [functions if rho is None else _share(rho, functions) for rho in moved]
        if sum(basis.shape[1] for basis in bases):
            parts = zip(representation, moved, bases, strict=True)
            actions = [_actions(block, rho, basis, elements, functions) for block, rho, basis in parts]
            found.append(Component(functions, bases, actions))
    return found


def multiplication_table(group: Group) -> Tensor:
    """Numbers of the products of listed elements, shape (order, order)."""
    if isinstance(group, FiniteGroup):
        return group.table()
    elements = group.elements()
    products = group.compose(elements[:, None], elements[None]).flatten(2).double()
    weights = torch.randn(products.shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    keys, order = (elements.flatten(1).double() @ weights).sort()
    middles = (keys[1:] + keys[:-1]) / 2
    return order[torch.searchsorted(middles, products @ weights)]


def moved_copies(block: Block, vectors: Float[Tensor, "r dim"], elements: Tensor) -> Float[Tensor, "G r dim"]:
    """rho(g) of vectors of one copy, for every element."""
    z = vectors.expand(len(elements), *vectors.shape)
    if block.copies_last:
        return block.transform(z.mT, elements).mT
    return block.transform(z, elements)


def _function_components(group: Group) -> list[Tensor]:
    table = multiplication_table(group)
    inverse = table.eq(0).int().argmax(dim=1)
    label = table[table, inverse[:, None]].amin(dim=0)
    label = torch.minimum(label, label[inverse])
    kernel = label[table[:, inverse]]
    tries = [_eigenspaces(kernel, seed) for seed in range(TRIES if len(table) <= 128 else 1)]
    return max(tries, key=lambda found: (len(found.spaces), found.gap)).spaces


class _Eigenspaces(NamedTuple):
    spaces: list[Tensor]
    gap: float


def _eigenspaces(kernel: Tensor, seed: int) -> _Eigenspaces:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(kernel), dtype=torch.float64, generator=generator)
    eigenvalues, vectors = torch.linalg.eigh(values[kernel])
    steps = eigenvalues.diff() / eigenvalues.abs().max()
    cuts = steps > GAP
    gap = steps[cuts].min().item() if cuts.any() else 1.0
    return _Eigenspaces(list(torch.tensor_split(vectors, (cuts.nonzero().flatten() + 1).tolist(), dim=1)), gap)


def _share(rho: Tensor, functions: Tensor) -> Tensor:
    projector = torch.tensordot(functions @ functions[0], rho, dims=1)
    weights, vectors = torch.linalg.eigh((projector + projector.mT) / 2)
    return vectors[:, weights > 0.5]


def _actions(block: Block, rho: Tensor | None, basis: Tensor, elements: Tensor, functions: Tensor) -> Tensor:
    moved = moved_copies(block, basis.mT, elements) if rho is None else (rho @ basis).mT
    return torch.einsum("ga,grs->asr", functions, moved @ basis)
