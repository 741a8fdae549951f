"""The files that TensorBoard's projector loads: points, and a thinned copy of a step that was written before."""

from __future__ import annotations

import codecs
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import text_format

from lightning_invariant.tracking.rows import spread_rows
from lightning_invariant.tracking.thumbnails import read_sheet, sprite_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float

BYTES, TABLE = "tensors.bytes", "tensors.tsv"
VIEW = "view-"
_ENTRY = "entry.pbtxt"


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
    """Read the points in a file that `write_tensor` wrote."""
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


def write_view(run: Path, folder: Path, entry: Any, count: int) -> Any:
    """Write so many of a step's points, its labels and images with them, unless that is done already.

    Args:
        run: Folder of the run.
        folder: Folder of the step.
        entry: Entry of the projector's config for the whole step.
        count: Points of the view, fewer than the step has.

    Returns:
        An entry for the view.
    """
    view, shown = folder / f"{VIEW}{count}", type(entry)()
    if view.exists():
        return text_format.Parse((view / _ENTRY).read_text(encoding="utf-8"), shown)
    draft = folder / f".{view.name}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    rows, (points, columns) = spread_rows(entry.tensor_shape[0], count).tolist(), entry.tensor_shape
    shown.CopyFrom(entry)
    shown.tensor_shape[0] = count
    at = view.relative_to(run).as_posix()
    shown.tensor_path = f"{at}/{write_tensor(draft, read_tensor(run / entry.tensor_path, columns)[rows])}"
    if entry.metadata_path:
        shown.metadata_path = f"{at}/metadata.tsv"
        (draft / "metadata.tsv").write_bytes(_lines((run / entry.metadata_path).read_bytes(), rows, points))
    if entry.sprite.image_path:
        shown.sprite.image_path = f"{at}/sprite.png"
        sheet, _ = sprite_sheet(read_sheet(run / entry.sprite.image_path, entry.sprite.single_image_dim)[rows])
        sheet.save(draft / "sprite.png", compress_level=1)
    (draft / _ENTRY).write_text(text_format.MessageToString(shown), encoding="utf-8")
    draft.rename(view)
    return shown


def _lines(table: bytes, rows: Sequence[int], points: int) -> bytes:
    """Some rows of a table of labels, and the header where it has one."""
    lines = table.split(b"\n")[:-1]
    header, labels = lines[: len(lines) - points], lines[len(lines) - points :]
    return b"\n".join([*header, *(labels[row] for row in rows), b""])
