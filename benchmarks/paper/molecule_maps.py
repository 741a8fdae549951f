"""Maps from latents of atoms, "S23 x O3: 8 points*0e + 4 points*1o", to features: what each keeps of a molecule."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.projections import (
    ChannelNorm,
    GramRoot,
    GramRows,
    PointSort,
    SphericalBispectrum,
    SphericalPowerSpectrum,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float
    from torch import Tensor

    from lightning_invariant.projections import Projection
    from lightning_invariant.zoo.vector_network import VectorEncoder

OF_ATOMS = {
    "norms": ChannelNorm,
    "power spectrum": SphericalPowerSpectrum,
    "bispectrum": SphericalBispectrum,
    "root of the Gram matrix": GramRoot,
}
"""Maps of the vectors of one atom, or of their sum over atoms."""

JOINT = "atoms together: GramRows"
"""The map that `choose` takes."""
SIZES = (64, 256)
"""Numbers of features that it is cut to, beside twice the latent's size."""


class MoleculeMap(NamedTuple):
    """One line of the table.

    Args:
        label: Its name.
        guarantee: What is known of it, in words.
        features: From latents and mask to features.
    """

    label: str
    guarantee: str
    features: Callable[[Tensor, Tensor], Tensor]


def molecule_maps(encoder: VectorEncoder) -> list[MoleculeMap]:
    """Every invariant map that is compared.

    Args:
        encoder: Says how many atoms, scalars and vectors there are.
    """
    n, scalars, vectors = encoder.atoms, encoder.scalars, encoder.vectors
    one = f"O3: {scalars}x0e + {vectors}x1o"
    found = []
    for name, kind in OF_ATOMS.items():
        inner = kind(one)
        sort = PointSort(f"S{n}: {n} points x {inner.out_features + 1}")
        found.append(MoleculeMap(f"{name} of each atom, sorted", "lossy", _EachAtom(inner, sort, scalars, vectors)))
    for name, kind in OF_ATOMS.items():
        found.append(MoleculeMap(f"{name} of the sum over atoms", "lossy", _Summed(kind(one), n, scalars)))
    text = encoder.representation
    joint: list[tuple[str, Projection]] = [(f"{JOINT}, {size}", GramRows(text, size, ragged=True)) for size in SIZES]
    joint.append((JOINT, GramRows(text, ragged=True)))
    return found + [MoleculeMap(name, map_.guarantee.separation.words, map_) for name, map_ in joint]


class _EachAtom:
    """Each atom by itself, then all atoms sorted along random directions; 1 beside those that exist, 0 elsewhere."""

    def __init__(self, inner: Projection, sort: Projection, scalars: int, vectors: int) -> None:
        self.inner, self.sort, self.scalars, self.vectors = inner, sort, scalars, vectors

    def __call__(self, z: Float[Tensor, "B D"], mask: Bool[Tensor, "B n"]) -> Float[Tensor, "B K"]:
        n, cut = mask.shape[1], self.scalars * mask.shape[1]
        s = z[:, :cut].unflatten(1, (self.scalars, n)).mT
        v = z[:, cut:].unflatten(1, (self.vectors, n, 3)).transpose(1, 2)
        rows = self.inner(torch.cat([s, v.flatten(2)], dim=2).flatten(0, 1)).unflatten(0, (-1, n))
        points = torch.cat([rows, torch.ones_like(rows[..., :1])], dim=-1)
        return self.sort(torch.where(mask[..., None], points, 0.0))


class _Summed:
    """Scalars and vectors summed over atoms, then the invariants of what is left."""

    def __init__(self, inner: Projection, n: int, scalars: int) -> None:
        self.inner, self.n, self.cut = inner, n, scalars * n

    def __call__(self, z: Float[Tensor, "B D"], mask: Bool[Tensor, "B n"]) -> Float[Tensor, "B K"]:
        s = z[:, : self.cut].unflatten(1, (-1, self.n)).sum(dim=2)
        v = z[:, self.cut :].unflatten(1, (-1, self.n, 3)).sum(dim=2)
        return self.inner(torch.cat([s, v.flatten(1)], dim=1))
