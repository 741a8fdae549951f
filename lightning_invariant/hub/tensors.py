"""Reads the tensors of an artefact once, each file in one pass: what was hashed is what is used.

The reader of safetensors maps a file into memory and leaves it on disk. Whoever shortens that file between the check of
its hash and its use ends the process by a signal that nothing can catch, and whoever rewrites it changes the weights.
Here the bytes are copied into memory, the hash is that of the copies, and nothing points to the file afterwards.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.graph.operators import DTYPES
from lightning_invariant.hub.json_file import parse_json, read_bytes
from lightning_invariant.hub.links import require_inside
from lightning_invariant.hub.weights import INDEX, WEIGHTS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

HEADER_LIMIT = 16 * 2**20
"""Largest header that is read, in bytes."""
MAX_TENSORS = 25_000
"""Most tensors of an artefact."""
MAX_RANK = 16
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",
}
_METADATA = "__metadata__"


class _Entry(NamedTuple):
    """A tensor of a file: name, type, shape, first byte and the byte behind the last, counted from the header."""

    name: str
    dtype: torch.dtype
    shape: list[int]
    begin: int
    end: int


def read_weights(folder: Path, names: list[str], hashes: Mapping[str, str]) -> dict[str, Tensor]:
    """Read the tensors of files, and see that they are the files of the configuration.

    Args:
        folder: Of the artefact.
        names: The files, as `weight_files` gives them.
        hashes: SHA-256 of each.

    Raises:
        ArtifactError: A file is missing, damaged or another one, a type unknown, or index and shards differ.
    """
    found: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    for name in names:
        tensors = _read_file(folder / name, hashes.get(name))
        if repeated := found.keys() & tensors.keys():
            raise ArtifactError(
                f"Expected each tensor once but {min(repeated)[:80]!r} stands in two shards; pull again."
            )
        found |= tensors
        if len(found) > MAX_TENSORS:
            raise ArtifactError(f"Expected at most {MAX_TENSORS} tensors in {folder} but got more; it is refused.")
        places |= dict.fromkeys(tensors, name)
    if names != [WEIGHTS]:
        index = parse_json(read_bytes(folder / INDEX, HEADER_LIMIT), INDEX)
        if index.get("weight_map") != places:
            raise ArtifactError(f"Expected {INDEX} to say what the shards hold but it does not; pull again.")
    return found


def _read_file(path: Path, digest: str | None) -> dict[str, Tensor]:
    if not require_inside(path).is_file():
        raise ArtifactError(f"Expected the file {path} but it is missing; export or pull again.")
    try:
        with path.open("rb", buffering=0) as file:
            source = _Source(file, path)
            try:
                return _read_tensors(source)
            finally:
                source.require(digest)  # a damaged file is told as such, whatever else is wrong with it
    except OSError as error:
        raise ArtifactError(f"Expected the file {path} but it cannot be read: {error}.") from error


class _Source:
    """A file that is read from its beginning to its end, and hashed meanwhile."""

    def __init__(self, file: Any, path: Path) -> None:
        self.file, self.path, self.size = file, path, os.fstat(file.fileno()).st_size
        self.left, self.hash = self.size, hashlib.sha256()

    def read_into(self, view: memoryview) -> None:
        """Fill a piece of memory; files of the system may be of size 0 and never end, others shrink."""
        done = 0
        while done < len(view):
            count = self.file.readinto(view[done : done + 2**24]) if self.left >= len(view) - done else 0
            if not count:
                raise self.damaged(f"it ends after {self.size} bytes or fewer")
            self.hash.update(view[done : done + count])
            done, self.left = done + count, self.left - count

    def read(self, count: int) -> bytes:
        """The next bytes."""
        content = bytearray(count)
        self.read_into(memoryview(content))
        return bytes(content)

    def require(self, digest: str | None) -> None:
        """Read what is left, and compare.

        Raises:
            ArtifactError: The file is not the one of that hash.
        """
        while self.left > 0 and (block := self.file.read(min(self.left, 2**20))):
            self.hash.update(block)
            self.left -= len(block)
        if self.hash.hexdigest() != digest:
            raise ArtifactError(
                f"Expected {self.path} as config.json describes it but its hash differs: damaged, incomplete or of "
                "another export; export or pull again."
            )

    def damaged(self, reason: str) -> ArtifactError:
        """The error for a file of another format."""
        return ArtifactError(
            f"Expected weights in safetensors but {self.path} is damaged: {reason}; export or pull again."
        )


def _read_tensors(source: _Source) -> dict[str, Tensor]:
    entries = _read_header(source)
    tensors = {}
    for entry in entries:
        tensor = _empty(entry, source)
        if entry.end > entry.begin:
            memory = (ctypes.c_char * (entry.end - entry.begin)).from_address(tensor.data_ptr())
            source.read_into(memoryview(memory).cast("B"))
        if entry.dtype == torch.bool and tensor.numel() and int(tensor.view(torch.uint8).max()) > 1:
            raise source.damaged(f"{entry.name[:80]!r} holds booleans that are neither 0 nor 1")
        tensors[entry.name] = tensor
    return tensors


def _empty(entry: _Entry, source: _Source) -> Tensor:
    try:
        return torch.empty(entry.shape, dtype=entry.dtype)
    except RuntimeError as error:  # more than there is
        raise ArtifactError(
            f"Expected weights that fit into memory but {source.path} has {entry.end - entry.begin} bytes in "
            f"{entry.name[:80]!r}."
        ) from error


def _read_header(source: _Source) -> list[_Entry]:
    """Entries in the order of their bytes, which follow each other without a gap and fill the file."""
    length = int.from_bytes(source.read(8), "little") if source.size >= 8 else 0
    if not 0 < length <= min(HEADER_LIMIT, source.left):
        raise source.damaged(f"a header of {length} bytes")
    header = parse_json(source.read(length), f"the header of {source.path}")
    header.pop(_METADATA, None)
    if len(header) > MAX_TENSORS:
        raise ArtifactError(
            f"Expected at most {MAX_TENSORS} tensors in {source.path} but got {len(header)}; it is refused."
        )
    entries = sorted((_entry(name, value, source) for name, value in header.items()), key=lambda e: (e.begin, e.end))
    place = 0
    for entry in entries:
        if entry.begin != place:
            raise source.damaged(f"a gap or an overlap before {entry.name[:80]!r}")
        place = entry.end
    if place != source.left:
        raise source.damaged(f"its tensors take {place} bytes but {source.left} follow the header")
    return entries


def _entry(name: str, value: Any, source: _Source) -> _Entry:
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise source.damaged(f"{name[:80]!r} has no type, shape and place")
    kind, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(kind, str) or kind not in _TYPES:
        raise source.damaged(f"{name[:80]!r} is of {str(kind)[:40]!r}, which is none of {', '.join(_TYPES)}")
    if not _are_sizes(shape, MAX_RANK) or not _are_sizes(offsets, 2) or len(offsets) != 2:
        raise source.damaged(f"{name[:80]!r} has no shape or no place")
    dtype, (begin, end) = DTYPES[_TYPES[kind]], offsets
    if math.prod(shape) * dtype.itemsize != end - begin or end > source.left:
        raise source.damaged(f"{name[:80]!r} of {str(shape)[:80]} does not take the bytes {begin} to {end}")
    return _Entry(name, dtype, shape, begin, end)


def _are_sizes(value: Any, longest: int) -> bool:
    return isinstance(value, list) and len(value) <= longest and all(type(n) is int and 0 <= n < 2**48 for n in value)
