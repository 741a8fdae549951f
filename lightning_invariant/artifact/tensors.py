"""Tensors of an artefact on disk: one safetensors file, or shards with an index where they are large."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file

from lightning_invariant.artifact.config import HEAD, INDEX, NETWORK, PROJECTION, WEIGHTS, weight_files
from lightning_invariant.artifact.files import file_hash, parse_json, read_hashed, require_hash, write_json
from lightning_invariant.artifact.graph.operators import DTYPE_NAMES
from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from torch import Tensor

SHARD_BYTES = 5 * 10**9
"""Most bytes in one file; what the Hub recommends."""
INDEX_LIMIT = HEADER_LIMIT = 16 * 2**20
"""Largest index, and largest header of a file, that is read, in bytes."""
MAX_TENSORS, MAX_RANK = 25_000, 16
"""Most tensors of an artefact, and most axes of one."""
_MAPPED_BYTES = 16 * 2**20
"""Bytes of a mapped file that are read before it is mapped anew, so that what was read need not stay in memory."""


def write_weights(folder: Path, tensors: Mapping[str, Tensor]) -> list[str]:
    """Write tensors; return the names of the files, the index first if there are shards."""
    plain = {name: tensor.contiguous() for name, tensor in tensors.items()}
    if (total := sum(tensor.nbytes for tensor in plain.values())) <= SHARD_BYTES:
        _save(plain, folder / WEIGHTS)
        return [WEIGHTS]
    shards: list[dict[str, Tensor]] = [{}]
    size = 0
    for key, tensor in plain.items():
        if shards[-1] and size + tensor.nbytes > SHARD_BYTES:
            shards.append({})
            size = 0
        shards[-1][key] = tensor
        size += tensor.nbytes
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    for name, shard in zip(names, shards, strict=True):
        _save(shard, folder / name)
    places = {key: name for name, shard in zip(names, shards, strict=True) for key in shard}
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": places})
    return [INDEX, *names]


def read_weights(folder: Path, files: Mapping[str, str], *, mapped: bool = False) -> dict[str, Tensor]:
    """Read the tensors of the files that a configuration lists with their hashes, and see that they are these files."""
    found: dict[str, Tensor] = {}
    places: dict[str, str] = {}
    for name in weight_files(files):
        for key, tensor in (_mapped if mapped else _copied)(folder / name, files):
            if key in found:
                raise ArtifactError(f"Expected each tensor once but {key[:80]!r} stands in two shards; pull again.")
            _require_plain(key, tensor, folder)
            # Tensors in a file are not aligned as PyTorch aligns memory, and kernels then give other last bits.
            found[key], places[key] = tensor.clone(), name
    if len(found) > MAX_TENSORS:
        raise ArtifactError(f"Expected at most {MAX_TENSORS} tensors in {folder} but got more; it is refused.")
    index = (
        parse_json(read_hashed(folder / INDEX, files, INDEX_LIMIT), INDEX) if INDEX in files else {"weight_map": places}
    )
    if index.get("weight_map") != places:
        raise ArtifactError(f"Expected {INDEX} to say what the shards hold but it does not; pull again.")
    return found


def _copied(path: Path, files: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    """Of the bytes that were hashed, whatever becomes of the file afterwards."""
    content = read_hashed(path, files)
    if (header := int.from_bytes(content[:8], "little")) > HEADER_LIMIT:
        raise _damaged(path, ValueError(f"a header of {header} bytes"))
    try:
        tensors = load(content)
    except Exception as error:  # the reader's errors share no base
        raise _damaged(path, error) from error
    del content
    for name in list(tensors):
        yield name, tensors.pop(name)


def _mapped(path: Path, files: Mapping[str, str]) -> Iterator[tuple[str, Tensor]]:
    require_hash(path, file_hash(path), files)
    try:
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
        while names:
            size = 0
            with safe_open(path, framework="pt") as file:
                while names and size < _MAPPED_BYTES:
                    tensor = file.get_tensor(name := names.pop())
                    size += tensor.nbytes
                    yield name, tensor
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _require_plain(name: str, tensor: Tensor, folder: Path) -> None:
    if not name.startswith((NETWORK, PROJECTION, HEAD)):
        raise ArtifactError(
            f"Expected tensors of network, projection and head in {folder} but got {name[:80]!r}; export or pull again."
        )
    if tensor.dtype not in DTYPE_NAMES or tensor.dim() > MAX_RANK:
        raise ArtifactError(
            f"Expected {name[:80]!r} of at most {MAX_RANK} axes and a type among {', '.join(DTYPE_NAMES.values())} in "
            f"{folder} but got {tensor.dtype} of {tensor.dim()}; the file is damaged."
        )
    if tensor.dtype == torch.bool and tensor.numel() and int(tensor.view(torch.uint8).max()) > 1:
        raise ArtifactError(f"Expected booleans that are 0 or 1 in {name[:80]!r} of {folder}; the file is damaged.")


def _damaged(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"Expected weights in safetensors but {path} is damaged: {str(error)[:200] or type(error).__name__}; export or "
        "pull again."
    )


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode  # safetensors would leave the file to its owner alone
    try:
        save_file(tensors, path, {"format": "pt"})
    except ImportError as error:
        raise ArtifactError(f"Expected {error.name} to be installed, which safetensors writes with.") from error
    path.chmod(mode)
