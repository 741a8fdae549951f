"""The file of points that TensorBoard's projector loads."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float

BYTES, TABLE = "tensors.bytes", "tensors.tsv"


def write_tensor(folder: Path, matrix: Float[np.ndarray, "N K"]) -> str:
    """Write points as raw float32 where the page's server will take them for such, otherwise as a table.

    Returns:
        Name of the file in the folder.
    """
    raw = np.ascontiguousarray(matrix, dtype="<f4").tobytes()
    if _reads_as_bytes(raw):
        (folder / BYTES).write_bytes(raw)
        return BYTES
    # Nine digits give every float32 back exactly.
    np.savetxt(folder / TABLE, matrix, fmt="%.9g", delimiter="\t")
    return TABLE


def read_tensor(path: Path, columns: int) -> Float[np.ndarray, "N K"]:
    """The points in a file that `write_tensor` wrote."""
    if path.name == BYTES:
        return np.fromfile(path, dtype="<f4").reshape(-1, columns)
    return np.loadtxt(path, dtype="<f4", delimiter="\t", ndmin=2)


def _reads_as_bytes(raw: bytes) -> bool:
    """Whether TensorBoard will see that these are no text.

    Its reader takes a file for a table of numbers and turns to raw bytes only on a UnicodeDecodeError. With TensorFlow
    installed it decodes line by line, without it block by block: when the first line is not UTF-8, both fail as they
    should.
    """
    head = raw[: raw.find(b"\n") + 1] or raw
    try:
        codecs.decode(head, "utf-8", "strict")
    except UnicodeDecodeError:
        return True
    return False
