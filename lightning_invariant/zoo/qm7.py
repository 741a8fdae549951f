"""QM7: small organic molecules in space with their atomisation energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.data_files import data_file
from lightning_invariant.zoo.downloads import downloaded_qm7
from lightning_invariant.zoo.split_data import SplitData
from lightning_invariant.zoo.xyz_files import ENERGIES, read_xyz_set

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

HOLDS = (
    "the first of which is a NumPy archive of charges Z (M, 23), 0 where there is no atom, positions R (M, 23, 3) in "
    "angstrom, and atomisation energies E_col1 (M,) in kcal/mol"
)
SOURCE = (
    "The repository qmlcode/qmllib on GitHub has the set among its tests: the folder that holds hof_qm7.txt and the "
    "folder qm7 of xyz files will do."
)
PLACES = 23
"""Most atoms of a molecule."""


class Qm7(SplitData):
    """7,101 molecules of up to 23 atoms with their atomisation energy, split at random.

    Energies are those of PBE0/def2-TZVP in kcal/mol, negative: -417 for methane. The file of the published set is named
    after heats of formation (hof_qm7.txt), which they are not.

    Args:
        data_dir: Folder with qm7.npz or with hof_qm7.txt and the folder qm7 of xyz files, or one with a folder
            "molecules" that has them; None to download them from qmllib, once, with pooch.
        batch_size: Molecules a step.
        validation_share: Share of the molecules kept for validation.
        limit: Use only so many molecules, drawn at random; all of them if None.
        seed: Of the split and of the order of training.

    Raises:
        InvariantError: The file is not there, or holds something else; when data is asked for.
        ValueError: A share outside (0, 1).

    Source:
        Rupp, Tkatchenko, Mueller and von Lilienfeld 2012 (1109.2618); Blum and Reymond 2009 for the molecules.
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
        """Load and split the molecules."""
        atoms, energies = load_qm7(self.data_dir)
        order = self.drawn(len(energies))
        self.split(atoms[order], energies[order])


def load_qm7(data_dir: str | None) -> tuple[Float[Tensor, "M 23 4"], Float[Tensor, "M"]]:
    """Atoms as rows of charge and position in angstrom, and atomisation energies in kcal/mol.

    Raises:
        ImportError: It has to be downloaded, and pooch is not installed.
        InvariantError: The file is not there, cannot be had, or holds something else.
    """
    names = ("qm7.npz", ENERGIES, f"data/{ENERGIES}")
    path = downloaded_qm7() if data_dir is None else data_file(data_dir, *names, holds=HOLDS, source=SOURCE)
    return read_xyz_set(path, PLACES) if path.name == ENERGIES else _read_archive(path)


def _read_archive(path: Path) -> tuple[Float[Tensor, "M 23 4"], Float[Tensor, "M"]]:
    import numpy as np

    with np.load(path, allow_pickle=False) as arrays:
        missing = [name for name in ("Z", "R", "E_col1") if name not in arrays]
        if missing:
            raise InvariantError(f"Expected arrays Z, R and E_col1 in {path} but {', '.join(missing)} is missing.")
        z, r, energy = (torch.as_tensor(arrays[name].astype("float32")) for name in ("Z", "R", "E_col1"))
    if z.shape[1:] != (PLACES,) or r.shape != (*z.shape, 3) or energy.shape != z.shape[:1]:
        raise InvariantError(
            f"Expected Z (M, {PLACES}), R (M, {PLACES}, 3) and E_col1 (M,) in {path} but got {tuple(z.shape)}, "
            f"{tuple(r.shape)} and {tuple(energy.shape)}."
        )
    return torch.cat([z[..., None], r], dim=-1), energy
