"""Points for TensorBoard's embedding projector, written as raw bytes and safe to resume.

Against torch's `SummaryWriter.add_embedding`: points are raw float32 instead of text, the projector's config is merged
instead of overwritten, old steps are removed, and what breaks the page (a NaN row, a line break in a label, a sprite
sheet over 8192 pixels) never gets there.

Everything lies under `<log_dir>/invariant_projector/<tag>/<step>/`; `projector_config` says how the page's list is made
of these folders. Entries and folders elsewhere are another writer's and are kept as they are.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import torch
from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import (  # the name is made at import
    EmbeddingInfo,  # pyright: ignore[reportAttributeAccessIssue]
)
from torch import Tensor

from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking.labels import Labels, coloured_column, label_columns, metadata_table
from lightning_invariant.tracking.projector_config import (
    ENTRY,
    ROOT,
    foreign_config,
    outdated,
    remove_views,
    write_config,
)
from lightning_invariant.tracking.projector_files import write_tensor
from lightning_invariant.tracking.rows import spread_rows
from lightning_invariant.tracking.thumbnails import sprite_sheet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float, Num

_WRITING = ".writing"


class WrittenPoints(NamedTuple):
    """What `write_projector` wrote: the folder, its number of points, and how many non-finite rows were left out."""

    folder: Path
    points: int
    dropped: int


def write_projector(
    log_dir: str | os.PathLike[str],
    tag: str,
    step: int,
    points: Float[Tensor, "N K"],
    *,
    labels: Labels | None = None,
    thumbnails: Num[Tensor, "N C H W"] | None = None,
    keep_last: int = 3,
    max_points: int = 2000,
) -> WrittenPoints:
    """Write one set of points for TensorBoard's projector, which opens with those written last.

    A running TensorBoard reads the config again only when a new run appears: restart it to see later steps.

    Args:
        log_dir: Local folder of the run, the one with its event files. Created if absent.
        tag: Name of the points, for example "raw" or "invariant".
        step: Global step, at least 0. The same tag and step again replaces what is there.
        points: Shape (N, K). Rows with a NaN or infinite value (in float32) are left out and counted. One column gets a
            second one of zeros, because the projector shows no tensor of one column.
        labels: N labels, or a mapping of column names to N labels each. A column with more than 50 different words
            cannot be coloured by the projector.
        thumbnails: Images, shape (N, C, H, W) with C 1 or 3, floats in any range or uint8.
        keep_last: Most steps kept of this tag; those written longest ago are removed.
        max_points: Most rows written; `spread_rows` says which.

    Returns:
        Folder, points written, rows dropped because they were not finite.

    Raises:
        ValueError: If shapes or lengths do not fit, or fewer than two finite rows remain.
        InvariantError: If `log_dir` is no local folder, or its projector config cannot be read.

    Note:
        The config never names a file that is not whole, also when the process dies half-way.
    """
    _check(log_dir, tag, step, points, labels, thumbnails, keep_last, max_points)
    matrix, rows, dropped = _finite_rows(tag, points, max_points)
    run = Path(log_dir)
    foreign = foreign_config(run)
    folder = run / ROOT / safe_name(tag) / f"{step:08d}"
    draft = folder.with_name(_WRITING)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    at = folder.relative_to(run).as_posix()
    entry = EmbeddingInfo(tensor_name=f"{tag}:{step:05d}", tensor_shape=matrix.shape)
    entry.tensor_path = f"{at}/{write_tensor(draft, matrix.numpy())}"
    if labels is not None:
        (draft / "metadata.tsv").write_bytes(metadata_table(labels, rows.tolist()))
        entry.metadata_path = f"{at}/metadata.tsv"
        if (column := coloured_column(labels, rows.tolist())) is not None:
            (draft / "bookmarks.json").write_text(json.dumps([_bookmark(column, matrix.shape)]), encoding="utf-8")
            entry.bookmarks_path = f"{at}/bookmarks.json"
    if thumbnails is not None:
        sheet, size = sprite_sheet(thumbnails[rows.to(thumbnails.device)])
        sheet.save(draft / "sprite.png", compress_level=1)
        entry.sprite.image_path = f"{at}/sprite.png"
        entry.sprite.single_image_dim.extend(size)
    (draft / ENTRY).write_text(text_format.MessageToString(entry), encoding="utf-8")
    if folder.exists():
        write_config(run, foreign, without=[folder])
        shutil.rmtree(folder)
    draft.rename(folder)
    old = outdated(folder, keep_last)
    write_config(run, foreign, without=old)
    # Only now: a config that names a missing file breaks the projector for the whole log directory.
    for gone in old:
        shutil.rmtree(gone, ignore_errors=True)
    remove_views(run)
    return WrittenPoints(folder, len(matrix), dropped)


def _check(
    log_dir: str | os.PathLike[str],
    tag: str,
    step: int,
    points: Tensor,
    labels: Labels | None,
    thumbnails: Tensor | None,
    keep_last: int,
    max_points: int,
) -> None:
    if "://" in os.fspath(log_dir):
        raise InvariantError(f"Expected a local folder for the projector but got {os.fspath(log_dir)!r}; log locally.")
    if not tag or step < 0 or keep_last < 1 or max_points < 2:
        raise ValueError(
            "Expected a tag, step >= 0, keep_last >= 1 and max_points >= 2 "
            f"but got tag={tag!r}, step={step}, keep_last={keep_last}, max_points={max_points}."
        )
    if points.ndim != 2 or points.shape[1] == 0 or points.is_complex():
        raise ValueError(
            f"Expected real points of shape (N, K) but got {tuple(points.shape)}, {points.dtype}; flatten or pool them."
        )
    lengths = {name: len(column) for name, column in label_columns(labels).items()}
    if thumbnails is not None:
        lengths["thumbnails"] = len(thumbnails)
    for name, length in lengths.items():
        if length != len(points):
            raise ValueError(f"Expected {len(points)} of {name!r}, one a point, but got {length}.")
    if labels is not None and not label_columns(labels):
        raise ValueError("Expected at least one column of labels but got an empty mapping; give labels=None.")


def _finite_rows(tag: str, points: Tensor, max_points: int) -> tuple[Tensor, Tensor, int]:
    chosen = spread_rows(len(points), max_points)
    matrix = points.detach()[chosen.to(points.device)].float().cpu()
    finite = torch.isfinite(matrix).all(dim=1)
    matrix, rows = matrix[finite], chosen[finite]
    if len(matrix) < 2:
        raise ValueError(
            f"Expected at least 2 finite rows of {tag!r} but got {len(matrix)} of {len(chosen)}; "
            "the projector shows no fewer. Look for NaN in the latents."
        )
    if matrix.shape[1] == 1:
        matrix = torch.cat([matrix, torch.zeros_like(matrix)], dim=1)
    return matrix, rows, len(chosen) - len(rows)


def _bookmark(column: str, shape: Sequence[int]) -> dict[str, Any]:
    """Return a state of the page: as it opens, but coloured by a column.

    The page has computed the principal components before, so none has to stand here. What is no colour has the value
    that the page starts with, because it takes every one of them from here.
    """
    state: dict[str, Any] = {
        "label": f"coloured by {column}",
        "selectedColorOptionName": column,
        "selectedLabelOption": column,
        "customSelectedSearchByMetadataOption": column,
        "selectedProjection": "pca",
        "pcaComponentDimensions": list(range(min(3, shape[1]))),
        "projections": [],
        "selectedPoints": [],
        "dataSetDimensions": list(shape),
        "tSNEIteration": 0,
        "tSNEPerplexity": max(5, math.ceil(math.sqrt(shape[0]) / 4)),
        "tSNELearningRate": 1,  # its logarithm to base 10
        "tSNEis3d": True,
        "umapIs3d": True,
        "umapNeighbors": 15,
        "umapMinDist": 0.1,
    }
    for side in ("XLeft", "XRight", "YUp", "YDown"):
        state |= {f"custom{side}Text": "", f"custom{side}Regex": False}
    return state


def safe_name(tag: str) -> str:
    """Return a folder name for any tag, one to one: "val/raw" is "val%2Fraw", and no name starts with a dot."""
    name = quote(tag, safe=" +=,@").replace(".", "%2E")
    if len(name) > 200:
        raise ValueError(
            f"Expected a tag of at most 200 characters once escaped but got {len(name)}; shorten {tag[:40]!r}."
        )
    return name
