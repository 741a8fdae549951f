"""Molecules in space, and the latents that a pretrained potential, SevenNet's 7net-0, has of their atoms."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from lightning_invariant.groups import SO3
from lightning_invariant.zoo.molecule_graphs import molecule_file, read_molecules, require_rdkit
from lightning_invariant.zoo.potential import layer_latents, load_potential, potential_graph
from lightning_invariant.zoo.qm7 import load_qm7

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float, Int64
    from torch import Tensor

WIDTH, LAYERS = 480, (0, 1, 2)
REPRESENTATION = "SO3: 128x0 + 64x1 + 32x2"
"""Of each atom's latent in each layer. Its parities are not those of O(3): see SevenNet's irreps, all even."""
PLACES, REACH = 29, 3.0
"""Most atoms of a molecule, hydrogen included; radius in angstrom of the surroundings that handedness sees."""
ENERGY, GAP, LOGP = "atomisation energy (kcal/mol)", "gap (eV)", "logP"
ASPHERICITY, HANDEDNESS = "asphericity", "handedness"


class Molecules(NamedTuple):
    """Atoms as rows of charge and position in angstrom, zero where there is none, and properties by name and unit."""

    atoms: Float[Tensor, "M 29 4"]
    values: dict[str, Float[Tensor, "M"]]


class AtomLatents(NamedTuple):
    """Latents of the atoms of all molecules, one below the other.

    Args:
        layers: An array (A, 480) on disk for each of `LAYERS`.
        molecule: Number of each atom's molecule.
        charges: Atomic number of each atom.
    """

    layers: list[np.ndarray]
    molecule: Int64[Tensor, "A"]
    charges: Int64[Tensor, "A"]


def qm7_molecules(data_dir: str | None, count: int) -> Molecules:
    """Molecules of QM7, in the geometry of the file, with their atomisation energies."""
    atoms, energy = load_qm7(data_dir)
    order = torch.randperm(len(energy), generator=torch.Generator().manual_seed(0))[:count]
    return Molecules(F.pad(atoms[order], (0, 0, 0, PLACES - atoms.shape[1])), {ENERGY: energy[order]})


def qm9_molecules(data_dir: str | None, count: int) -> Molecules:
    """Molecules of QM9, in a conformer that RDKit makes or in its mirror image, with properties of table and shape."""
    smiles, values = read_molecules(molecule_file(data_dir), ["gap", "logp"])
    generator, atoms, kept = torch.Generator().manual_seed(0), [], []
    for row in torch.randperm(len(smiles), generator=generator).tolist():
        if (found := conformer(smiles[row])) is not None:
            atoms.append(F.pad(found, (0, 0, 0, PLACES - len(found))))
            kept.append(row)
        if len(kept) == count:
            break
    x = torch.stack(atoms)
    x[:, :, 3] *= torch.randint(2, (len(x), 1), generator=generator) * 2 - 1
    columns = {name: torch.tensor([column[row] for row in kept]) for name, column in values.items() if column}
    shape = {ASPHERICITY: asphericity(x), HANDEDNESS: handedness(x)}
    return Molecules(x, {GAP: columns["gap"], LOGP: columns["logp"], **shape})


def conformer(smiles: str) -> Float[Tensor, "n 4"] | None:
    """Charges and positions of a molecule by distance geometry and the force field MMFF94; None where that fails."""
    chem = require_rdkit()
    from rdkit.Chem import AllChem

    molecule = chem.MolFromSmiles(smiles)
    if molecule is None:
        return None
    molecule = chem.AddHs(molecule)
    if molecule.GetNumAtoms() > PLACES or AllChem.EmbedMolecule(molecule, randomSeed=0) != 0:
        return None
    AllChem.MMFFOptimizeMolecule(molecule)
    z = torch.tensor([[atom.GetAtomicNum()] for atom in molecule.GetAtoms()], dtype=torch.float32)
    return torch.cat([z, torch.tensor(molecule.GetConformer().GetPositions(), dtype=torch.float32)], dim=1)


def asphericity(x: Float[Tensor, "M n 4"]) -> Float[Tensor, "M"]:
    """Relative shape anisotropy of the atoms' gyration tensor: 0 for a ball, 1 for a rod.

    References:
        Theodorou and Suter 1985, Shape of unperturbed linear polymers.
    """
    there = (x[..., :1] > 0).to(x.dtype)
    centred = (x[..., 1:] - (x[..., 1:] * there).sum(1, keepdim=True) / there.sum(1, keepdim=True)) * there
    tensor = centred.mT @ centred
    trace = tensor.diagonal(dim1=1, dim2=2).sum(1)
    return 1.5 * tensor.square().sum((1, 2)) / trace.square() - 0.5


def handedness(x: Float[Tensor, "M n 4"]) -> Float[Tensor, "M"]:
    """Sum over atoms of det [v_0, v_1, v_2], v_k = sum_j (Z_j / 8)^k w(r_j) r_j / |r_j|; its sign changes in a mirror.

    r_j leads to the atoms within 3 angstrom, w falls to zero there. In units of its deviation over the molecules.
    """
    z, r = x[..., 0] / 8, x[..., 1:]
    there = (z > 0).to(x.dtype)
    apart = r[:, None] - r[:, :, None]
    length = apart.norm(dim=-1).clamp(min=1e-6)
    weight = there[:, :, None] * there[:, None] * (1 + (torch.pi * length / REACH).cos()) / 2
    unit = apart / length[..., None] * (weight * (length < REACH))[..., None]
    vectors = torch.stack([(unit * (z**k)[:, None, :, None]).sum(dim=2) for k in range(3)], dim=-1)
    total = torch.linalg.det(vectors.double()).sum(dim=1)
    return (total / total.std()).float()


def atom_latents(x: Float[Tensor, "M n 4"], folder: Path, *, seed: int = 0, batch: int = 32) -> AtomLatents:
    """Latents of every atom, each molecule turned at random first; what a folder holds already is read from it.

    Args:
        x: Charges and positions.
        folder: Keeps an array for each layer, 2 kB an atom, so that a second call needs no potential.
        seed: Of the rotations.
        batch: Molecules a forward.

    Raises:
        ImportError: sevenn is not installed, and the folder holds nothing.
    """
    there = x[..., 0] > 0
    molecule = torch.arange(len(x))[:, None].expand_as(there)[there]
    paths = [folder / f"layer{layer}.npy" for layer in LAYERS]
    made = folder / "made.json"
    if not made.is_file() or json.loads(made.read_text(encoding="utf-8")) != [len(molecule), seed]:
        _evaluate(x, paths, seed, batch)
        made.write_text(json.dumps([len(molecule), seed]), encoding="utf-8")
    return AtomLatents([np.load(path, mmap_mode="r") for path in paths], molecule, x[..., 0][there].long())


def _evaluate(x: Float[Tensor, "M n 4"], paths: list[Path], seed: int, batch: int) -> None:
    """Write the latents of all atoms, an array a layer."""
    model, cutoff = load_potential()
    turns = SO3().sample(len(x), torch.Generator().manual_seed(seed)).to(x.dtype)
    turned = torch.cat([x[..., :1], x[..., 1:] @ turns.mT], dim=-1)
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    size = (int((x[..., 0] > 0).sum()), WIDTH)
    arrays = [np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=size) for path in paths]
    start = 0
    for rows in turned.split(batch):
        latents = layer_latents(model, [potential_graph(row, cutoff) for row in rows], len(LAYERS))
        for array, z in zip(arrays, latents, strict=True):
            array[start : start + len(z)] = z.numpy()
        start += len(latents[0])
    for array in arrays:
        array.flush()
