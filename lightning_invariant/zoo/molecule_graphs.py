"""Small organic molecules as dense graphs with their properties."""

from __future__ import annotations

import csv
import gzip
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.data_files import data_file
from lightning_invariant.zoo.downloads import downloaded_qm9
from lightning_invariant.zoo.split_data import SplitData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

ATOMS = ("C", "N", "O", "F")
BONDS = (1, 2, 3)
"""Orders of bonds; aromatic rings are written with single and double ones."""
CHANNELS = len(ATOMS) + len(BONDS)
NODES = 9
"""Most atoms of a QM9 molecule beside hydrogen."""
PROPERTIES = ("gap", "logp", "mol_weight")
"""Columns of the file: gap of the orbitals, logarithm of the octanol-water partition, weight in g/mol."""
SMILES = ("SMILES", "smiles")
"""Names of the column with the structures."""
HOLDS = "a table of molecules with the columns SMILES and gap (logp and mol_weight are computed where they are missing)"
SOURCE = (
    "MoleculeNet's table of QM9 is one, gaps in hartree: "
    "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/qm9.csv."
)


class MoleculeGraphs(SplitData):
    """QM9 molecules as graphs (9, 9, 7) with gap, logP and weight, split at random; batches (graph, gap, logP, weight).

    Elements stand on the diagonal (4 channels), bonds off it (3 channels), both one-hot; nodes that do not exist are
    zero. Nodes stand in the order of the SMILES.

    Args:
        data_dir: Folder with the table of molecules, or with a folder "molecules" that holds it; None to download
            all of QM9 as MoleculeNet has it, once, with pooch.
        batch_size: Molecules a step.
        validation_share: Share of the molecules kept for validation.
        limit: Use only so many molecules, drawn at random; all of them if None.
        seed: Of the split and of the order of training.

    Raises:
        ImportError: RDKit is not installed; when data is asked for.
        InvariantError: The file is not there, or holds something else; when data is asked for.
        ValueError: A share outside (0, 1).

    Source:
        Ramakrishnan, Dral, Rupp and von Lilienfeld 2014, Quantum chemistry structures and properties of 134 kilo
        molecules.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 64,
        validation_share: float = 0.2,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, validation_share, limit, seed)
        self.data_dir = data_dir

    def setup(self, stage: str) -> None:
        """Load, parse and split the molecules; duplicates among the structures are left out."""
        smiles, values = read_molecules(molecule_file(self.data_dir))
        order = self.drawn(len(smiles)).tolist()
        graphs, kept = graphs_of([smiles[i] for i in order])
        columns = torch.tensor([_completed(smiles[order[i]], values[order[i]]) for i in kept])
        self.split(graphs, *columns.unbind(dim=1))


def molecule_file(data_dir: str | None) -> Path:
    """The table of molecules in a data folder, downloaded if there is none.

    Raises:
        ImportError: It has to be downloaded, and pooch is not installed.
        InvariantError: The folder has none, or it cannot be had.
    """
    if data_dir is None:
        return downloaded_qm9()
    names = ("qm9.csv", "qm9.csv.gz", "qm9_gap_30937.csv.gz")
    return data_file(data_dir, *names, holds=HOLDS, source=SOURCE)


def read_molecules(path: Path) -> tuple[list[str], list[dict[str, float]]]:
    """SMILES of every molecule, and those of its properties that the table has.

    Raises:
        InvariantError: A column is missing.
    """
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        columns = list(rows.fieldnames or ())
        name = next((name for name in SMILES if name in columns), None)
        if name is None or "gap" not in columns:
            raise InvariantError(f"Expected {HOLDS} in {path} but got the columns {', '.join(columns) or 'none'}.")
        known = [column for column in PROPERTIES if column in columns]
        found = [(row[name], {column: float(row[column]) for column in known}) for row in rows]
    return [smiles for smiles, _ in found], [values for _, values in found]


def graphs_of(smiles: Sequence[str]) -> tuple[Float[Tensor, "M 9 9 7"], list[int]]:
    """Graphs of the molecules that fit, and which those are: each structure once, at most 9 atoms of C, N, O and F.

    Raises:
        ImportError: RDKit is not installed.
        InvariantError: None fits.
    """
    chem, seen, graphs, kept = require_rdkit(), set(), [], []
    for i, text in enumerate(smiles):
        molecule = chem.MolFromSmiles(text)
        canonical = None if molecule is None else chem.MolToSmiles(molecule)
        if canonical is None or canonical in seen or not _fits(molecule):
            continue
        seen.add(canonical)
        graphs.append(_graph(chem, molecule))
        kept.append(i)
    if not graphs:
        raise InvariantError(f"Expected SMILES of molecules with at most {NODES} atoms of {', '.join(ATOMS)}.")
    return torch.stack(graphs), kept


def require_rdkit() -> Any:
    """The chemistry module of RDKit, whose messages about molecules that make no sense are switched off.

    Raises:
        ImportError: It is not installed.
    """
    try:
        from rdkit import Chem, RDLogger
    except ImportError as error:
        raise ImportError(
            'Molecules are read and checked with RDKit: pip install "lightning-invariant[molecules]".'
        ) from error
    RDLogger.DisableLog("rdApp.*")  # pyright: ignore[reportAttributeAccessIssue]
    return Chem


def _completed(smiles: str, values: dict[str, float]) -> list[float]:
    """All properties, in order; those that RDKit computes are computed where they are missing."""
    if len(values) < len(PROPERTIES):
        molecule = require_rdkit().MolFromSmiles(smiles)
        from rdkit.Chem import Crippen, Descriptors

        computed = {"logp": Crippen.MolLogP, "mol_weight": Descriptors.MolWt}  # pyright: ignore[reportAttributeAccessIssue]
        values = {name: f(molecule) for name, f in computed.items()} | values
    return [values[name] for name in PROPERTIES]


def _fits(molecule: Any) -> bool:
    atoms = molecule.GetAtoms()
    # Formal charges have no channel: a charged molecule could not be told from another by its graph.
    return 0 < len(atoms) <= NODES and all(a.GetSymbol() in ATOMS and a.GetFormalCharge() == 0 for a in atoms)


def _graph(chem: Any, molecule: Any) -> Float[Tensor, "9 9 7"]:
    chem.Kekulize(molecule, clearAromaticFlags=True)
    graph = torch.zeros(NODES, NODES, CHANNELS)
    for atom in molecule.GetAtoms():
        graph[atom.GetIdx(), atom.GetIdx(), ATOMS.index(atom.GetSymbol())] = 1
    for bond in molecule.GetBonds():
        i, j, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(bond.GetBondTypeAsDouble())
        graph[i, j, len(ATOMS) + BONDS.index(order)] = graph[j, i, len(ATOMS) + BONDS.index(order)] = 1
    return graph
