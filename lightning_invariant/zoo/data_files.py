"""Where a recipe's data lies on the user's disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    import os


def data_file(data_dir: str | os.PathLike[str], *names: str, holds: str, source: str) -> Path:
    """The first of some files in a data folder.

    Args:
        data_dir: The folder.
        names: Names in order of preference; each may also lie in a folder "molecules" there.
        holds: What is in the file, for the message.
        source: Where to get it, for the message.

    Raises:
        InvariantError: There is none; the message says what the file holds and where to get it.
    """
    for name in names:
        for candidate in (Path(data_dir) / name, Path(data_dir) / "molecules" / name):
            if candidate.is_file():
                return candidate
    raise InvariantError(
        f"Expected a data folder with {' or '.join(names)}, {holds}, but got {str(data_dir)!r}. {source} "
        "Give the folder with --data-dir (benchmarks) or --data.data_dir (recipes)."
    )
