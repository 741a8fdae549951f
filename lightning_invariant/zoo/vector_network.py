"""A network of scalars and vectors on atoms in space: equivariant under their order and under O(3)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ELEMENTS = (1, 6, 7, 8, 16)
"""Nuclear charges of hydrogen, carbon, nitrogen, oxygen and sulphur: all that is in QM7."""
TINY = 1e-8
"""Under the roots, so that gradients at zero vectors are finite."""


class VectorMessages(nn.Module):
    """What atoms tell their neighbours: numbers, their own vectors, and the directions between them.

    Args:
        width: Scalars, and vectors, of an atom.
        radial: Functions of the distance that the strengths of messages are made of.

    Source:
        Schuett, Unke and Gastegger 2021 (2102.03150), eq. 7 and 8.
    """

    def __init__(self, width: int, radial: int) -> None:
        super().__init__()
        self.content = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3 * width))
        self.strength = nn.Linear(radial, 3 * width, bias=False)

    def forward(
        self,
        s: Float[Tensor, "B n F"],
        v: Float[Tensor, "B n F 3"],
        rays: Float[Tensor, "B n n 3"],
        shells: Float[Tensor, "B n n R"],
    ) -> tuple[Float[Tensor, "B n F"], Float[Tensor, "B n F 3"]]:
        """Sums over neighbours; `shells` are zero between atoms that do not meet."""
        messages = self.content(s)[:, None] * self.strength(shells)
        scalars, along, carried = messages.chunk(3, dim=-1)
        pushed = torch.einsum("bijf,bijc->bifc", along, rays)
        return scalars.sum(dim=2), pushed + torch.einsum("bijf,bjfc->bifc", carried, v)


class VectorUpdate(nn.Module):
    """Each atom by itself: vectors are mixed, and scalars learn their lengths and products.

    Args:
        width: Scalars, and vectors, of an atom.

    Source:
        Schuett, Unke and Gastegger 2021 (2102.03150), eq. 9 and 10.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Linear(width, 2 * width, bias=False)
        self.gates = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, 3 * width))

    def forward(
        self, s: Float[Tensor, "B n F"], v: Float[Tensor, "B n F 3"]
    ) -> tuple[Float[Tensor, "B n F"], Float[Tensor, "B n F 3"]]:
        """Changes of scalars and vectors."""
        first, second = self.mix(v.mT).mT.chunk(2, dim=2)
        own, product, gate = self.gates(torch.cat([s, lengths(second)], dim=-1)).chunk(3, dim=-1)
        return own + product * (first * second).sum(dim=-1), gate[..., None] * first


class VectorEncoder(nn.Module):
    """Atoms in space to scalars and vectors of each, for "S23 x O3: 8 points*0e + 4 points*1o".

    An atom is a row (charge, x, y, z); charge 0 is no atom, and the latent is zero there. Only differences of positions
    are read, so translations change nothing.

    Args:
        atoms: Places n for atoms.
        scalars: Numbers of an atom in the latent.
        vectors: Vectors of an atom in the latent.
        width: Scalars, and vectors, of an atom inside the network.
        layers: Rounds of messages.
        radial: Functions of the distance.
        cutoff: Distance in angstrom from which atoms do not see each other.

    Source:
        After Schuett, Unke and Gastegger 2021 (2102.03150).
    """

    charges: Tensor
    centres: Tensor

    def __init__(
        self,
        atoms: int = 23,
        scalars: int = 8,
        vectors: int = 4,
        width: int = 32,
        layers: int = 3,
        radial: int = 16,
        cutoff: float = 5.0,
    ) -> None:
        super().__init__()
        self.atoms, self.scalars, self.vectors, self.cutoff = atoms, scalars, vectors, cutoff
        self.register_buffer("charges", torch.tensor(ELEMENTS, dtype=torch.float32), persistent=False)
        self.register_buffer("centres", torch.linspace(0.5, cutoff, radial), persistent=False)
        self.spread = (cutoff - 0.5) / (radial - 1)
        self.embedding = nn.Linear(len(ELEMENTS), width)
        self.messages = nn.ModuleList(VectorMessages(width, radial) for _ in range(layers))
        self.updates = nn.ModuleList(VectorUpdate(width) for _ in range(layers))
        self.to_scalars = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, scalars + vectors))
        self.to_vectors = nn.Linear(width, vectors, bias=False)

    @property
    def representation(self) -> str:
        """How order and rotations act on the latent."""
        return f"S{self.atoms} x O3: {self.scalars} points*0e + {self.vectors} points*1o"

    def forward(self, x: Float[Tensor, "B n 4"]) -> Float[Tensor, "B D"]:
        """Flat latents: all scalars (scalars, n), then all vectors (vectors, n, 3)."""
        s, v = self.fields(x)
        return torch.cat([s.mT.flatten(1), v.transpose(1, 2).flatten(1)], dim=1)

    def fields(self, x: Float[Tensor, "B n 4"]) -> tuple[Float[Tensor, "B n S"], Float[Tensor, "B n V 3"]]:
        """Scalars and vectors of each atom."""
        kinds = (x[..., :1] == self.charges).to(x.dtype)
        there = (x[..., 0] > 0).to(x.dtype)
        rays, shells = self._geometry(x[..., 1:], there)
        s = self.embedding(kinds)
        v = torch.zeros_like(s)[..., None].expand(-1, -1, -1, 3)
        for talk, think in zip(self.messages, self.updates, strict=True):
            ds, dv = talk(s, v, rays, shells)
            s, v = s + ds, v + dv
            ds, dv = think(s, v)
            s, v = s + ds, v + dv
        mask = there[..., None]
        numbers = self.to_scalars(torch.cat([s, lengths(v)], dim=-1))
        gates = numbers[..., self.scalars :, None]
        return numbers[..., : self.scalars] * mask, self.to_vectors(v.mT).mT * gates * mask[..., None]

    def _geometry(
        self, positions: Float[Tensor, "B n 3"], there: Float[Tensor, "B n"]
    ) -> tuple[Float[Tensor, "B n n 3"], Float[Tensor, "B n n R"]]:
        """Unit vectors from atom i to j, and bumps of their distance that fade out at the cutoff."""
        between = positions[:, None] - positions[:, :, None]
        distance = lengths(between)
        apart = (distance > 0.01).to(distance.dtype) * (distance < self.cutoff).to(distance.dtype)
        meet = there[:, None] * there[:, :, None] * apart
        fade = 0.5 * (torch.cos(distance * (math.pi / self.cutoff)) + 1) * meet
        bumps = torch.exp(-0.5 * ((distance[..., None] - self.centres) / self.spread) ** 2)
        return between / distance[..., None], bumps * fade[..., None]


def lengths(v: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
    """Norms with finite gradients at zero."""
    return (v.square().sum(dim=-1) + TINY).sqrt()
