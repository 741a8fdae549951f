"""Small organic molecules as dense graphs with their properties."""

from __future__ import annotations

import csv
import gzip
import math
from importlib import import_module
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
TIES = len(ATOMS) + len(BONDS)
"""Channel that tells nodes apart which a symmetry of the molecule exchanges: 0, 1, 2, ... within each such set."""
CHANNELS = TIES + 1
NODES = 9
"""Most atoms of a QM9 molecule beside hydrogen."""
PROPERTIES = ("gap", "logp", "mol_weight")
"""Columns of QM9: gap of the orbitals, logarithm of the octanol-water partition, weight in g/mol."""
COMPUTED = {"logp": ("Crippen", "MolLogP"), "mol_weight": ("Descriptors", "MolWt")}
"""What RDKit computes where the table does not say it: module and function."""
SMILES = ("SMILES", "smiles")
"""Names of the column with the structures."""
HOLDS = "a table of molecules with a column SMILES"
SOURCE = (
    "MoleculeNet's table of QM9 is one, gaps in hartree: "
    "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/qm9.csv."
)


class MoleculeGraphs(SplitData):
    """Small molecules as graphs (9, 9, 8) with properties, split at random; batches (graph, property, property, ...).

    Elements stand on the diagonal (4 channels), bonds off it (3 channels), both one-hot; nodes that do not exist are
    zero. The last channel, on the diagonal, numbers the nodes of each set that a symmetry of the molecule exchanges,
    0, 1, 2 and so on: without it an equivariant network gives them equal latents, and cannot rebuild their bonds.
    Nodes stand in the order of the SMILES. Molecules with more than 9 atoms beside hydrogen, or with others than
    C, N, O and F, are left out.

    Args:
        data_dir: Folder with the table of molecules, or with a folder "molecules" that holds it: qm9.csv, or the only
            table there (.csv or .csv.gz); None to download all of QM9 as MoleculeNet has it, once, with pooch.
        batch_size: Molecules a step.
        validation_share: Share of the molecules kept for validation.
        limit: Use only so many molecules, drawn at random; all of them if None.
        seed: Of the split and of the order of training.
        properties: Columns of the table; logp and mol_weight are computed where they are missing. None for gap, logp
            and mol_weight, without the gap where the table has none. After `setup` the attribute says which.

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
        properties: list[str] | None = None,
    ) -> None:
        super().__init__(batch_size, validation_share, limit, seed)
        self.data_dir, self.properties = data_dir, properties

    def setup(self, stage: str) -> None:
        """Load, parse and split the molecules; duplicates among the structures are left out."""
        smiles, values = read_molecules(molecule_file(self.data_dir), self.properties)
        self.properties = list(values)
        order = self.drawn(len(smiles)).tolist()
        graphs, kept = graphs_of([smiles[i] for i in order])
        rows = [order[i] for i in kept]
        columns = torch.tensor([_column(name, values[name], smiles, rows) for name in values]).T
        self.split(graphs, *columns.unbind(dim=1))


def molecule_file(data_dir: str | None) -> Path:
    """The table of molecules in a data folder, downloaded if there is none.

    Raises:
        ImportError: It has to be downloaded, and pooch is not installed.
        InvariantError: The folder has none, or several of unknown names, or it cannot be had.
    """
    if data_dir is None:
        return downloaded_qm9()
    names = ("qm9.csv", "qm9.csv.gz", "qm9_gap_30937.csv.gz")
    return data_file(data_dir, *names, endings=(".csv", ".csv.gz"), holds=HOLDS, source=SOURCE)


def read_molecules(
    path: Path, properties: Sequence[str] | None = None
) -> tuple[list[str], dict[str, list[float] | None]]:
    """SMILES of every molecule, and its properties, by name; None for one that RDKit has to compute.

    Args:
        path: A table, comma-separated with names in its first line.
        properties: Their names; None for those of `PROPERTIES` that can be had.

    Raises:
        InvariantError: A column is missing, or a value is no number.
    """
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        rows = csv.DictReader(lines)
        columns = list(rows.fieldnames or ())
        name = next((name for name in SMILES if name in columns), None)
        wanted = [p for p in PROPERTIES if p in columns or p in COMPUTED] if properties is None else list(properties)
        missing = [p for p in wanted if p not in columns and p not in COMPUTED]
        if name is None or missing or not wanted:
            asked = ", ".join(missing) or "at least one property"
            raise InvariantError(
                f"Expected {HOLDS} and {asked} in {path} but got the columns {', '.join(columns) or 'none'}; "
                "name columns that are there with --data.properties."
            )
        found = list(rows)
    values = {p: [_number(row[p], p, path) for row in found] if p in columns else None for p in wanted}
    return [row[name] for row in found], values


def graphs_of(smiles: Sequence[str]) -> tuple[Float[Tensor, "M 9 9 8"], list[int]]:
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


def _number(text: str, column: str, path: Path) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InvariantError(
            f"Expected a number in column {column} of {path} but got {text!r}; leave that row out, or name other "
            "columns with --data.properties."
        )
    return value


def _column(name: str, known: list[float] | None, smiles: list[str], rows: list[int]) -> list[float]:
    """One property of some molecules, computed if the table does not have it."""
    if known is not None:
        return [known[row] for row in rows]
    chem, (module, function) = require_rdkit(), COMPUTED[name]
    compute = getattr(import_module(f"rdkit.Chem.{module}"), function)
    return [compute(chem.MolFromSmiles(smiles[row])) for row in rows]


def _fits(molecule: Any) -> bool:
    atoms = molecule.GetAtoms()
    # Formal charges have no channel: a charged molecule could not be told from another by its graph.
    return 0 < len(atoms) <= NODES and all(a.GetSymbol() in ATOMS and a.GetFormalCharge() == 0 for a in atoms)


def _graph(chem: Any, molecule: Any) -> Float[Tensor, "9 9 8"]:
    chem.Kekulize(molecule, clearAromaticFlags=True)
    graph = torch.zeros(NODES, NODES, CHANNELS)
    for atom in molecule.GetAtoms():
        graph[atom.GetIdx(), atom.GetIdx(), ATOMS.index(atom.GetSymbol())] = 1
    for node, number in enumerate(_ties(chem, molecule)):
        graph[node, node, TIES] = number
    for bond in molecule.GetBonds():
        i, j, order = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), int(bond.GetBondTypeAsDouble())
        graph[i, j, len(ATOMS) + BONDS.index(order)] = graph[j, i, len(ATOMS) + BONDS.index(order)] = 1
    return graph


def _ties(chem: Any, molecule: Any) -> list[int]:
    """Number of each atom within the set of those that a symmetry exchanges it with, in RDKit's canonical order."""
    sets, ranks = (list(chem.CanonicalRankAtoms(molecule, breakTies=broken)) for broken in (False, True))
    return [
        sum(sets[other] == sets[atom] and ranks[other] < ranks[atom] for other in range(len(sets)))
        for atom in range(len(sets))
    ]
