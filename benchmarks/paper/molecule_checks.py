"""What decoded graphs are as molecules: whether they exist, and how they change along a path of latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.zoo.molecule_graphs import ATOMS, BONDS, NODES, require_rdkit

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int64
    from torch import Tensor

    from lightning_invariant.zoo.graph_vae import GraphDecoder

CHUNK = 512
SMOOTH = 4
"""Most entries of 45, nodes and pairs of nodes, that may change in one step of a smooth path."""

ALIKE = 1e-4
"""Latents of two nodes that are closer than this, over the deviation of all, are the same up to rounding."""


class Graphs(NamedTuple):
    """Element of each node and bond of each pair, 0 for none; the diagonal of the bonds means nothing."""

    atoms: Int64[Tensor, "N n"]
    bonds: Int64[Tensor, "N n n"]

    def entries(self) -> Int64[Tensor, "N E"]:
        """Nodes and pairs in one row, a bond between nodes one of which is none left out."""
        first, second = torch.triu_indices(NODES, NODES, offset=1)
        there = (self.atoms > 0)[:, first] & (self.atoms > 0)[:, second]
        return torch.cat([self.atoms, torch.where(there, self.bonds[:, first, second], 0)], dim=1)

    def ordered(self, index: Int64[Tensor, "N n"]) -> Graphs:
        """Node index[i] comes to place i."""
        rows = torch.arange(len(index))[:, None]
        return Graphs(self.atoms[rows, index], self.bonds[rows[..., None], index[:, :, None], index[:, None]])


def decoded(decoder: GraphDecoder, z: Float[Tensor, "N *z"]) -> Graphs:
    """The likeliest element of each node and bond of each pair."""
    with torch.no_grad():
        parts = [tuple(scores.argmax(dim=-1) for scores in decoder(part)) for part in z.split(CHUNK)]
    return Graphs(*(torch.cat(column) for column in zip(*parts, strict=True)))


def smiles_of(graphs: Graphs) -> list[str]:
    """Canonical SMILES of what makes sense: right valences, in one piece; an empty string for the rest."""
    chem, found = require_rdkit(), {}
    texts = []
    for row in graphs.entries().tolist():
        key = tuple(row)
        if key not in found:
            found[key] = _smiles(chem, row)
        texts.append(found[key])
    return texts


def changes(path: list[Graphs]) -> Int64[Tensor, "P steps"]:
    """How many entries change in each step."""
    rows = torch.stack([graphs.entries() for graphs in path], dim=1)
    return (rows[:, 1:] != rows[:, :-1]).sum(dim=2)


def same(a: Graphs, b: Graphs) -> Bool[Tensor, "N"]:
    """Whether two graphs agree node by node."""
    return (a.entries() == b.entries()).all(dim=1)


def tells_apart(z: Float[Tensor, "N n"] | Float[Tensor, "N n d"], truth: Graphs) -> Bool[Tensor, "N"]:
    """Whether the latents allow an equivariant decoder to rebuild a graph at all.

    They do not where two nodes have the same latent but one of them alone is bound to a third: every decoder gives
    both the same bonds.
    """
    z = z[..., None] if z.dim() == 2 else z
    alike = ((z[:, :, None] - z[:, None]).abs() <= ALIKE * z.std()).all(dim=-1)
    differ = truth.bonds[:, :, :, None] != truth.bonds[:, :, None, :]
    same_place = torch.eye(z.shape[1], dtype=torch.bool)
    third = ~(same_place[:, :, None] | same_place[:, None, :])
    return ~(differ & alike[:, None] & third).flatten(1).any(dim=1)


def _smiles(chem, row: list[int]) -> str:
    atoms, bonds = row[:NODES], row[NODES:]
    molecule, place = chem.RWMol(), {}
    for node, atom in enumerate(atoms):
        if atom:
            place[node] = molecule.AddAtom(chem.Atom(ATOMS[atom - 1]))
    orders = {1: chem.BondType.SINGLE, 2: chem.BondType.DOUBLE, 3: chem.BondType.TRIPLE}
    for (i, j), bond in zip(torch.triu_indices(NODES, NODES, offset=1).T.tolist(), bonds, strict=True):
        if bond:
            molecule.AddBond(place[i], place[j], orders[BONDS[bond - 1]])
    if not place:
        return ""
    try:
        chem.SanitizeMol(molecule)
    except ValueError:
        return ""
    text = chem.MolToSmiles(molecule)
    return "" if "." in text else text
