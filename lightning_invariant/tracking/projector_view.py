"""Fewer points of a step that was written before: a thinned copy beside the whole."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format

from lightning_invariant.tracking.projector_tensor import read_tensor, write_tensor
from lightning_invariant.tracking.rows import spread_rows
from lightning_invariant.tracking.thumbnails import read_sheet, sprite_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

VIEW = "view-"
_ENTRY = "entry.pbtxt"


def write_view(run: Path, folder: Path, entry: Any, count: int) -> Any:
    """Write so many of a step's points, its labels and pictures with them, unless that is done already.

    Args:
        run: Folder of the run.
        folder: Of the step.
        entry: Of the projector's config for the whole step.
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
