"""QM7 as it lies in the repositories that publish it: an xyz file a molecule, and one file of energies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.vector_network import ELEMENTS

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from torch import Tensor

SYMBOLS: dict[str, int] = dict(zip(("H", "C", "N", "O", "S"), ELEMENTS, strict=True))
ENERGIES, MOLECULES = "hof_qm7.txt", "qm7"


def read_xyz_set(energies: Path, places: int) -> tuple[Float[Tensor, "M n 4"], Float[Tensor, "M"]]:
    """Atoms as rows of charge and position in angstrom, and energies.

    Args:
        energies: A file of lines "0001.xyz -417.031 ..."; the molecules lie in a folder "qm7" beside it, or one level
            up.
        places: Rows for atoms; what a molecule does not need is 0.

    Raises:
        InvariantError: A molecule is missing, too large, or not as written in an xyz file.
    """
    folder = next((f / MOLECULES for f in (energies.parent, energies.parent.parent) if (f / MOLECULES).is_dir()), None)
    if folder is None:
        raise InvariantError(f"Expected a folder {MOLECULES} of xyz files beside {energies} but there is none.")
    lines = [line.split() for line in energies.read_text(encoding="utf-8").splitlines() if line.strip()]
    atoms = torch.stack([_read_xyz(folder / words[0], places) for words in lines])
    return atoms, torch.tensor([float(words[1]) for words in lines])


def _read_xyz(path: Path, places: int) -> Float[Tensor, "n 4"]:
    try:
        count, _, *lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split() for line in lines[: int(count)]]
        found = torch.tensor([[SYMBOLS[row[0]], *map(float, row[1:4])] for row in rows], dtype=torch.float32)
        if found.shape != (int(count), 4) or not 0 < len(found) <= places:
            raise ValueError(f"it says {count} but its lines make a table of {tuple(found.shape)}")
    except (OSError, ValueError, KeyError) as error:
        raise InvariantError(
            f"Expected an xyz file with the number of atoms, a comment, and a line 'C x y z' for each of at most "
            f"{places} atoms of {', '.join(SYMBOLS)} but {path} is another: {error}"
        ) from error
    return torch.nn.functional.pad(found, (0, 0, 0, places - len(found)))
