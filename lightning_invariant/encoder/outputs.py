"""Where features go: into memory, or into a file that appears when it is complete."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROW_GROUP = 4096
"""Most rows of one row group of a Parquet file."""
_SAFE = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


def open_output(
    output: str | os.PathLike[str], length: int | None, size: int, dtype: torch.dtype | None
) -> _Memory | _File:
    """Open "numpy", "torch" or a path for rows of a known size, whose number may be known too."""
    if output in ("numpy", "torch"):
        return _Memory(length, size, as_numpy=output == "numpy")
    path = Path(output)
    if path.suffix not in _WRITERS:
        raise ArtifactError(
            f"Expected 'numpy', 'torch' or a path ending in {', '.join(_WRITERS)} as output but got {str(output)!r}."
        )
    if not path.absolute().parent.is_dir():
        raise ArtifactError(f"Expected a folder to write {path} into but there is none; make it first.")
    if path.suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ArtifactError('Parquet needs pyarrow: pip install "lightning-invariant[parquet]".') from error
    return _File(path, size, dtype or torch.float32)


class _Memory:
    """Features in one tensor; it is made at once where the number of rows is known."""

    def __init__(self, length: int | None, size: int, *, as_numpy: bool) -> None:
        self.length, self.size, self.as_numpy = length, size, as_numpy
        if as_numpy:
            try:
                import numpy  # noqa: F401  (an environment to serve from may lack it)
            except ImportError as error:
                raise ArtifactError("Expected NumPy to be installed; give output='torch' or a path.") from error
        self.whole: Tensor | None = None
        self.parts: list[Tensor] = []
        self.rows = 0

    def __enter__(self) -> _Memory:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def add(self, features: Tensor, labels: Tensor | None, names: Sequence[str] | None) -> None:
        if self.whole is None and self.length is not None:
            self.whole = features.new_empty(self.length, self.size)
        if self.whole is not None and self.rows + len(features) <= len(self.whole):
            self.whole[self.rows : self.rows + len(features)] = features
        else:
            self.parts.append(features.clone())
        self.rows += len(features)

    def result(self) -> Any:
        known = [] if self.whole is None else [self.whole[: self.rows - sum(map(len, self.parts))]]
        features = torch.cat([*known, *self.parts]) if known or self.parts else torch.empty(0, self.size)
        if not self.as_numpy:
            return features
        return (features.float() if features.dtype == torch.bfloat16 else features).numpy()


class _File:
    """Rows in a scratch file, from which the file that was asked for is written at the end."""

    def __init__(self, path: Path, size: int, dtype: torch.dtype) -> None:
        self.path, self.size = path, size
        self.dtype = torch.float32 if dtype == torch.bfloat16 and path.suffix != ".safetensors" else dtype
        self.rows = 0
        self.known: list[Tensor] = []
        self.names: list[str] = []

    def __enter__(self) -> _File:
        self.scratch = tempfile.TemporaryDirectory(prefix=f".{self.path.name}-", dir=self.path.absolute().parent)
        self.file: BinaryIO = (Path(self.scratch.name) / "rows").open("wb+")
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        with self.scratch, self.file:
            if kind is None:
                self.file.seek(0)
                draft = Path(self.scratch.name) / "done"
                with draft.open("wb") as target:
                    _WRITERS[self.path.suffix](self, target)
                os.replace(draft, self.path)

    def add(self, features: Tensor, labels: Tensor | None, names: Sequence[str] | None) -> None:
        self.rows += len(features)
        self.known += [] if labels is None else [labels.cpu()]
        self.names += names or []
        self.file.write(_raw(features.to(self.dtype)))

    def labels(self) -> Tensor | None:
        """Return labels as float64 or int64, if every row has one."""
        labels = torch.cat(self.known) if self.known else None
        if labels is None or len(labels) != self.rows:
            return None
        return labels.double() if labels.is_floating_point() else labels.long()

    def result(self) -> Path:
        return self.path


def _npy(done: _File, target: Any) -> None:
    _header(target, done.dtype, (done.rows, done.size))
    shutil.copyfileobj(done.file, target)


def _npz(done: _File, target: BinaryIO) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        with archive.open("features.npy", "w", force_zip64=True) as entry:
            _npy(done, entry)
        if (labels := done.labels()) is not None:
            with archive.open("labels.npy", "w", force_zip64=True) as entry:
                _header(entry, labels.dtype, (len(labels),))
                entry.write(_raw(labels))


def _safetensors(done: _File, target: BinaryIO) -> None:
    end, labels = done.rows * done.size * done.dtype.itemsize, done.labels()
    header = {"features": {"dtype": _SAFE[done.dtype], "shape": [done.rows, done.size], "data_offsets": [0, end]}}
    if labels is not None:
        offsets = [end, end + 8 * len(labels)]
        header["labels"] = {"dtype": _SAFE[labels.dtype], "shape": [len(labels)], "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    target.write(struct.pack("<Q", len(text)) + text)
    shutil.copyfileobj(done.file, target)
    target.write(b"" if labels is None else _raw(labels))


def _parquet(done: _File, target: BinaryIO) -> None:
    import numpy as np
    import pyarrow
    from pyarrow import parquet

    labels, kind, writer = done.labels(), torch.empty(0, dtype=done.dtype).numpy().dtype, None
    for start in range(0, max(done.rows, 1), ROW_GROUP):
        rows = slice(start, start + ROW_GROUP)
        flat = pyarrow.array(np.frombuffer(done.file.read(ROW_GROUP * done.size * kind.itemsize), kind))
        columns = {"features": pyarrow.FixedSizeListArray.from_arrays(flat, done.size)}
        columns |= {} if labels is None else {"label": pyarrow.array(labels[rows].numpy())}
        columns |= {"file": pyarrow.array(done.names[rows])} if done.names else {}
        table = pyarrow.table(columns)
        writer = writer or parquet.ParquetWriter(target, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()


def _raw(values: Tensor) -> Any:
    """Return the bytes of a tensor."""
    flat = values.contiguous().flatten()
    return (flat.view(torch.uint8) if flat.numel() else torch.empty(0, dtype=torch.uint8)).numpy().data


def _header(target: Any, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    import numpy as np

    described = np.lib.format.header_data_from_array_1_0(torch.empty(0, dtype=dtype).numpy())
    np.lib.format.write_array_header_1_0(target, described | {"shape": shape, "fortran_order": False})


_WRITERS = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
