"""The data of the recipes from where it is published, for who gives no folder."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.chula_cells import LABELS
from lightning_invariant.zoo.xyz_files import ENERGIES, MOLECULES

if TYPE_CHECKING:
    from collections.abc import Iterable


class Published(NamedTuple):
    """One file that others publish.

    Attributes:
        url: Where.
        sha256: Of the file, or of what is used of the archive.
    """

    url: str
    sha256: str


QM9 = Published(
    "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/qm9.csv",
    "3e668f8c34e4bc392a90d417a50a5eed3b64b842a817a633024bdc054c68ccb4",
)
"""MoleculeNet's table of 133,885 molecules with SMILES and gaps in hartree, 30 MB."""
QM7 = Published(
    "https://github.com/qmlcode/qmllib/archive/8ebea8a1fc19fac986b32b3ae629bff9c496708d.tar.gz",
    "e9d27af274f5dcdf55b447e290dca96fe2277897a14c38f861170b8638a18ea9",
)
"""A commit of qmllib, whose tests hold 7,101 molecules as xyz files; GitHub does not promise an archive's bytes."""

CHULA = Published(
    "https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset/archive/fa130f48135d79bbd69f8e540b533511017d6896.tar.gz",
    "3e70094cced192f27cf482c69d6909b226993d5c9f49fe7af1083cd47c89ce5a",
)
"""A commit of Chula-RBC-12: 738 photographs of blood smears, 623 of them with labels, under the MIT licence; 78 MB."""


def downloaded_qm9() -> Path:
    """MoleculeNet's table of QM9, in the user's cache.

    Raises:
        ImportError: pooch is not installed.
        InvariantError: It cannot be had, or is another file.
    """
    return Path(_retrieved(QM9, QM9.sha256, "qm9.csv"))


def downloaded_qm7() -> Path:
    """The file of QM7's energies, beside its folder of xyz files, in the user's cache.

    Raises:
        ImportError: pooch is not installed.
        InvariantError: It cannot be had, or holds other molecules.
    """
    pooch = _pooch()
    files = [Path(name) for name in _retrieved(QM7, None, "qmllib.tar.gz", processor=pooch.Untar())]
    energies = next((path for path in files if path.name == ENERGIES), None)
    molecules = sorted(path for path in files if path.parent.name == MOLECULES and path.suffix == ".xyz")
    if energies is None or _digest([energies, *molecules]) != QM7.sha256:
        raise InvariantError(
            f"Expected {ENERGIES} and the folder {MOLECULES} of 7,101 molecules in {QM7.url} but got {len(molecules)} "
            "or other ones; give a folder that holds them instead."
        )
    return energies


def downloaded_chula() -> Path:
    """The folder of Chula-RBC-12, with its folders Dataset and Label, in the user's cache.

    Raises:
        ImportError: pooch is not installed.
        InvariantError: It cannot be had, or holds other cells.
    """
    pooch = _pooch()
    files = [Path(name) for name in _retrieved(CHULA, None, "chula-rbc-12.tar.gz", processor=pooch.Untar())]
    labels = sorted(path for path in files if path.parent.name == LABELS and path.suffix == ".txt")
    if not labels or _digest(labels) != CHULA.sha256:
        raise InvariantError(
            f"Expected 623 files of labelled cells in {CHULA.url} but got {len(labels)} or other ones; download it "
            "otherwise, and give its folder."
        )
    return labels[0].parents[1]


def _retrieved(file: Published, sha256: str | None, name: str, **settings: Any) -> Any:
    """What pooch keeps in its cache, downloaded once.

    Raises:
        InvariantError: There is no way there, or the file is another.
    """
    pooch = _pooch()
    try:
        return pooch.retrieve(
            file.url, sha256, fname=name, path=pooch.os_cache("lightning-invariant"), progressbar=True, **settings
        )
    except (OSError, ValueError) as error:
        raise InvariantError(
            f"Expected to download {file.url} but got: {error}; download it otherwise, and give its folder "
            "(--data-dir of benchmarks, --data.data_dir of recipes)."
        ) from error


def _pooch() -> Any:
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "Molecules and cells are downloaded with pooch: pip install pooch, or give the folder of the data "
            "(--data.data_dir of recipes, --data-dir of benchmarks)."
        ) from error
    return pooch


def _digest(paths: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.read_bytes())
    return found.hexdigest()
