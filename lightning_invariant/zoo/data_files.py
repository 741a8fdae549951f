"""Where a recipe's data lies on the user's disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    import os


def data_file(
    data_dir: str | os.PathLike[str], *names: str, endings: tuple[str, ...] = (), holds: str, source: str
) -> Path:
    """The first of some files in a data folder.

    Args:
        data_dir: The folder.
        names: Names in order of preference; each may also lie in a folder "molecules" there.
        endings: Of other names: a file with one of them is taken if it is the only one.
        holds: What is in the file, for the message.
        source: Where to get it, for the message.

    Raises:
        InvariantError: There is none, or several that could be meant; the message says what the file holds and where
            to get it.
    """
    folders = (Path(data_dir), Path(data_dir) / "molecules")
    for candidate in (folder / name for name in names for folder in folders):
        if candidate.is_file():
            return candidate
    files = (path for folder in folders if folder.is_dir() for path in folder.iterdir() if path.is_file())
    others = sorted(path for path in files if path.name.endswith(endings))
    if len(others) == 1:
        return others[0]
    got = f" with {', '.join(path.name for path in others)}" if others else ""
    alone = f" or one {' or '.join(endings)} file" if endings else ""
    raise InvariantError(
        f"Expected a data folder with {' or '.join(names)}{alone}, {holds}, but got {str(data_dir)!r}{got}. {source} "
        "Give the folder with --data-dir (benchmarks) or --data.data_dir (recipes)."
    )
