"""Tensors of an artefact on disk: one safetensors file, or shards with an index where they are large.

`tensors` reads them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.json_file import write_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
SHARDS = "model-*-of-*.safetensors"
SHARD_BYTES = 5 * 10**9
"""Most bytes in one file; what the Hub recommends."""


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


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    path.touch()
    mode = path.stat().st_mode  # safetensors would leave the file to its owner alone
    try:
        save_file(tensors, path, {"format": "pt"})
    except ImportError as error:
        raise ArtifactError(f"Expected {error.name} to be installed, which safetensors writes with.") from error
    path.chmod(mode)
