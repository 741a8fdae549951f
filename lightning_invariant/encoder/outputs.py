"""Where features go: into memory, or into a file that is written batch by batch and appears when it is complete."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Sequence

FILES = (".npy", ".npz", ".parquet", ".safetensors")
ROW_GROUP = 4096
"""Most rows of one row group of a Parquet file."""
_HEADER = 1024
"""Bytes kept for a header that is written last, when the number of rows is known."""
_NPY = {torch.float16: "<f2", torch.float32: "<f4", torch.float64: "<f8", torch.int64: "<i8"}
_SAFE = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64", torch.int64: "I64"}


class Output(Protocol):
    """Takes features batch by batch."""

    def __enter__(self) -> Output: ...
    def __exit__(self, *error: Any) -> None: ...

    def add(self, features: Tensor, labels: Tensor | None, names: Sequence[str] | None) -> None:
        """One more batch, features (B, K) on the CPU, labels (B,), names of files."""

    def result(self) -> Any:
        """What the caller gets."""


def open_output(output: str | os.PathLike[str], length: int | None, size: int, dtype: torch.dtype | None) -> Output:
    """Open an output of that name.

    Args:
        output: "numpy", "torch", or a path.
        length: Number of rows, if known.
        size: Numbers in a row.
        dtype: Of the features.

    Raises:
        ArtifactError: A path of an unknown ending, a folder that is not there, or a package that is not installed.
    """
    if output in ("numpy", "torch"):
        return _Memory(length, size, as_numpy=output == "numpy")
    path = Path(output)
    kinds = {".npy": _Npy, ".npz": _Npz, ".parquet": _Parquet, ".safetensors": _Safetensors}
    if path.suffix not in kinds:
        raise ArtifactError(
            f"Expected 'numpy', 'torch' or a path ending in {', '.join(FILES)} as output but got {str(output)!r}."
        )
    if not path.absolute().parent.is_dir():
        raise ArtifactError(f"Expected a folder to write {path} into but there is none; make it first.")
    return kinds[path.suffix](path, size, dtype or torch.float32)


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
    """A file beside the target that takes its place when everything was written."""

    def __init__(self, path: Path, size: int, dtype: torch.dtype) -> None:
        self.path, self.size = path, size
        self.dtype = torch.float32 if dtype == torch.bfloat16 and path.suffix != ".safetensors" else dtype
        self.rows = 0
        self.known: list[Tensor] = []

    def __enter__(self) -> Any:
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}-", dir=self.path.absolute().parent)
        self.draft = Path(name)
        self.file: BinaryIO = os.fdopen(handle, "wb+")
        try:
            self.begin()
        except BaseException:
            self.__exit__(ArtifactError)
            raise
        return self

    def __exit__(self, kind: Any, *error: Any) -> None:
        try:
            if kind is None:
                self.finish()
                self.file.close()
                os.chmod(self.draft, 0o666 & ~_umask())
                os.replace(self.draft, self.path)
        finally:
            self.file.close()
            self.draft.unlink(missing_ok=True)

    def add(self, features: Tensor, labels: Tensor | None, names: Sequence[str] | None) -> None:
        self.rows += len(features)
        if labels is not None:
            self.known.append(labels.cpu())
        self.write(features.to(self.dtype).contiguous(), labels, names)

    def begin(self) -> None:
        self.file.write(bytes(_HEADER))

    def write(self, features: Tensor, labels: Tensor | None, names: Sequence[str] | None) -> None:
        self.file.write(_raw(features))

    def finish(self) -> None: ...

    def labels(self) -> Tensor | None:
        """Labels as float64 or int64, if every row has one."""
        labels = torch.cat(self.known) if self.known else None
        if labels is None or len(labels) != self.rows:
            return None
        return labels.double() if labels.is_floating_point() else labels.long()

    def result(self) -> Path:
        return self.path


class _Npy(_File):
    """Format of NumPy, header last. Labels have no place in it."""

    def finish(self) -> None:
        self.file.seek(0)
        self.file.write(_npy_header(self.dtype, (self.rows, self.size)))


class _Npz(_Npy):
    """An archive of features and labels."""

    def finish(self) -> None:
        super().finish()
        self.file.close()
        features = self.draft.with_name(f"{self.draft.name}-features")
        os.replace(self.draft, features)
        try:
            with zipfile.ZipFile(self.draft, "w", zipfile.ZIP_STORED) as archive:
                archive.write(features, "features.npy")
                if (labels := self.labels()) is not None:
                    archive.writestr("labels.npy", _npy_header(labels.dtype, (len(labels),)) + _raw(labels))
        finally:
            features.unlink()


class _Safetensors(_File):
    """Format of safetensors, header last."""

    def finish(self) -> None:
        end = self.rows * self.size * self.dtype.itemsize
        header = {"features": {"dtype": _SAFE[self.dtype], "shape": [self.rows, self.size], "data_offsets": [0, end]}}
        if (labels := self.labels()) is not None:
            offsets = [end, end + 8 * len(labels)]
            header["labels"] = {"dtype": _SAFE[labels.dtype], "shape": [len(labels)], "data_offsets": offsets}
            self.file.write(_raw(labels))
        text = json.dumps(header).encode().ljust(_HEADER - 8)
        self.file.seek(0)
        self.file.write(struct.pack("<Q", len(text)) + text)


class _Parquet(_File):
    """A column of lists of fixed length, labels and names of files beside it."""

    def begin(self) -> None:
        try:
            import pyarrow
            import pyarrow.parquet as parquet
        except ImportError as error:
            raise ArtifactError('Parquet needs pyarrow: pip install "lightning-invariant[parquet]".') from error
        self.arrow, self.parquet, self.writer = pyarrow, parquet, None

    def write(self, features: Tensor, labels: Tensor | None, names: Sequence[str] | None) -> None:
        flat = self.arrow.array(features.flatten().numpy())
        columns = {"features": self.arrow.FixedSizeListArray.from_arrays(flat, self.size)}
        if labels is not None:
            columns["label"] = self.arrow.array(labels.cpu().numpy())
        if names is not None:
            columns["file"] = self.arrow.array(list(names))
        table = self.arrow.table(columns)
        if self.writer is None:
            self.writer = self.parquet.ParquetWriter(self.file, table.schema)
        self.writer.write_table(table, row_group_size=ROW_GROUP)

    def finish(self) -> None:
        if self.writer is None:
            self.write(torch.empty(0, self.size, dtype=self.dtype), None, None)
        if self.writer is not None:
            self.writer.close()


def _raw(values: Tensor) -> bytes:
    """Bytes of a contiguous tensor, without NumPy."""
    values = values.contiguous()
    return ctypes.string_at(values.data_ptr(), values.numel() * values.element_size()) if values.numel() else b""


def _npy_header(dtype: torch.dtype, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': '{_NPY[dtype]}', 'fortran_order': False, 'shape': {shape!r}, }}"
    head = b"\x93NUMPY\x01\x00" + struct.pack("<H", _HEADER - 10)
    return head + text.ljust(_HEADER - 11).encode() + b"\n"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
