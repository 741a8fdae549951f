"""Tensors of an artefact on disk: one safetensors file, or shards with an index where they are large."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.graph.operators import DTYPES
from lightning_invariant.hub.json_file import parse_json, read_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
SHARDS = "model-*-of-*.safetensors"
SHARD_BYTES = 5 * 10**9
"""Most bytes in one file; what the Hub recommends."""
HEADER_LIMIT = 16 * 2**20
"""Largest header that is read, in bytes."""
MAX_TENSORS = 25_000
"""Most tensors of an artefact."""
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


def write_weights(folder: Path, tensors: Mapping[str, Tensor], shard_bytes: int = SHARD_BYTES) -> list[str]:
    """Write tensors; returns the names of the files, the index first if there are shards."""
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if sum(tensor.numel() * tensor.element_size() for tensor in plain.values()) <= shard_bytes:
        _save(plain, folder / WEIGHTS)
        return [WEIGHTS]
    from huggingface_hub import split_torch_state_dict_into_shards

    split = split_torch_state_dict_into_shards(plain, max_shard_size=shard_bytes)
    if not split.is_sharded:  # one tensor alone is larger
        _save(plain, folder / WEIGHTS)
        return [WEIGHTS]
    for name, members in split.filename_to_tensors.items():
        _save({member: plain[member] for member in members}, folder / name)
    write_json(folder / INDEX, {"metadata": split.metadata, "weight_map": split.tensor_to_filename})
    return [INDEX, *split.filename_to_tensors]


def weight_files(files: Mapping[str, Any]) -> list[str]:
    """Which of the files that a configuration lists hold tensors.

    Raises:
        ArtifactError: None, both kinds, or shards that do not count up to their number.
    """
    shards = sorted(name for name in files if SHARD.fullmatch(name))
    if WEIGHTS in files and INDEX not in files and not shards:
        return [WEIGHTS]
    total = len(shards)
    wanted = [f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)]
    if WEIGHTS in files or INDEX not in files or not shards or shards != wanted:
        raise ArtifactError(
            f"Expected {WEIGHTS}, or {INDEX} and all shards, among the files of the configuration but got "
            f"{str(sorted(files))[:200]}; export or pull again."
        )
    return shards


def read_weights(folder: Path, names: list[str]) -> dict[str, Tensor]:
    """Read the tensors of files whose hashes were checked; the data stays on disk until it is used.

    Raises:
        ArtifactError: A header is damaged or too large, a type unknown, or index and shards differ.
    """
    found: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    for name in names:
        tensors = _read_file(folder / name)
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


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode  # safetensors would leave the file to its owner alone
    try:
        save_file(tensors, path, {"format": "pt"})
    except ImportError as error:
        raise ArtifactError(f"Expected {error.name} to be installed, which safetensors writes with.") from error
    path.chmod(mode)


def _read_file(path: Path) -> dict[str, Tensor]:
    header = _read_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            names = set(file.keys())
            if names != header.keys():
                raise ValueError("two readers see different names")
            tensors = {name: file.get_tensor(name) for name in names}
    except Exception as error:  # a crafted header can name what torch does not know
        reason = str(error)[:200]
        raise ArtifactError(f"Expected weights in safetensors but got {path}: {reason}; pull again.") from error
    for name, tensor in tensors.items():
        if tensor.dtype != header[name] or tensor.layout != torch.strided:
            raise ArtifactError(f"Expected {name[:80]!r} of {header[name]} in {path} but got {tensor.dtype}.")
    return tensors


def _read_header(path: Path) -> dict[str, torch.dtype]:
    """Types by name. The reader of safetensors checks sizes and places; here names and types are, and once each."""
    try:
        with path.open("rb") as file:
            length, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
            content = file.read(length) if 0 < length <= min(HEADER_LIMIT, size) else b""
    except OSError as error:
        raise ArtifactError(f"Expected the file {path} but it cannot be read: {error}.") from error
    if not content or len(content) != length:
        raise ArtifactError(
            f"Expected weights in safetensors but {path} has a header of {length} bytes; export or pull again."
        )
    entries = parse_json(content, f"the header of {path}")
    if len(entries) > MAX_TENSORS:
        raise ArtifactError(f"Expected at most {MAX_TENSORS} tensors in {path} but got {len(entries)}; it is refused.")
    types = {}
    for name, entry in entries.items():
        if name == _METADATA:
            continue
        dtype = entry.get("dtype") if isinstance(entry, dict) else None
        if not isinstance(dtype, str) or dtype not in _TYPES:
            raise ArtifactError(
                f"Expected weights in safetensors of types {', '.join(_TYPES)} but {name[:80]!r} in {path} is of "
                f"{str(dtype)[:40]!r}; export or pull again."
            )
        types[name] = DTYPES[_TYPES[dtype]]
    return types
