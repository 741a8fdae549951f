"""An exported encoder as a directory: class-free graph, weights, configuration, certificate, card.

config.json         format, versions, inputs and latent, representation, projection, guarantee, hashes of the files
graph.json          the network from inputs to latent, without a class; absent where only the class can build it
model.safetensors   tensors of the network ("network."), projection ("projection.") and head ("head."), or shards
certificate.json    what was measured
README.md           the model card
embeddings.png      raw beside projected latents, where a picture was drawn
model.onnx          features and latents for ONNX Runtime, where that was asked for

docs/artifact.md describes every entry.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.directory import check_replaceable, replace_directory
from lightning_invariant.hub.json_file import JSON_LIMIT, parse_json, read_bytes, write_json
from lightning_invariant.hub.schema import FORMAT, FORMAT_VERSION
from lightning_invariant.hub.weights import INDEX, SHARD, SHARD_BYTES, SHARDS, WEIGHTS, weight_files, write_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONFIG, GRAPH, CERTIFICATE = "config.json", "graph.json", "certificate.json"
CARD, PICTURE, ONNX = "README.md", "embeddings.png", "model.onnx"
LOADED = (CONFIG, GRAPH, CERTIFICATE, WEIGHTS, INDEX, SHARDS)
"""Patterns of the files that an encoder is loaded from."""
OWN = (*LOADED, CARD, PICTURE, ONNX)
"""Patterns of all files of an artefact."""
NETWORK, PROJECTION, HEAD = "network.", "projection.", "head."


@dataclass(frozen=True)
class Artifact:
    """What a program needs of a directory, before any of it becomes a module.

    Args:
        config: The configuration; `write_artifact` adds format, versions and hashes.
        graph: The class-free graph, or None for a network that only its class can build.
        tensors: Tensors by name, "network.", "projection." or "head." in front.
        certificate: What was measured, JSON-able.
        folder: Where it was read from; None if it was not.
    """

    config: Mapping[str, Any]
    graph: Mapping[str, Any] | None
    tensors: Mapping[str, Tensor]
    certificate: Mapping[str, Any]
    folder: Path | None = None

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one part, without its prefix."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def write_artifact(
    folder: str | os.PathLike[str],
    artifact: Artifact,
    *,
    card: str | Callable[[str], str],
    picture: bytes | Callable[[str], bytes | None] | None = None,
    onnx: bytes | None = None,
    check: Callable[[Path], None] | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Replace the folder's content as a whole; files that are not ours stay.

    Args:
        folder: Empty, new, or an earlier export.
        artifact: What to write.
        card: Text of the model card, or a function from the digest of the weights to that text.
        picture: PNG bytes, or likewise a function.
        onnx: The encoder as ONNX.
        shard_bytes: Most bytes of tensors in one file.
        check: Called with the complete new directory before it takes its place; if it raises, the folder is unchanged.

    Raises:
        ArtifactError: The folder holds something else or cannot be written; it is unchanged then.
    """

    def fill(fresh: Path) -> None:
        _write_files(fresh, artifact, card, picture, onnx, shard_bytes)
        if check is not None:
            check(fresh)

    check_target(folder)
    replace_directory(folder, fill, keep=lambda name: not is_own(name))


def check_target(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that an artefact could not be written to, without leaving anything behind.

    Raises:
        ArtifactError: It is no folder, holds something that is not an artefact of ours, or cannot be written.
    """
    names = check_replaceable(folder)
    if names and not _is_ours(Path(folder)):
        some = ", ".join(names[:3])
        raise ArtifactError(
            f"Expected an empty folder or an earlier export but {folder} holds {some}; choose another folder."
        )


def is_own(name: str) -> bool:
    """Whether a file of that name belongs to an artefact."""
    return name in OWN or SHARD.fullmatch(name) is not None


def weights_digest(files: Mapping[str, str]) -> str:
    """One hash for all tensors, from the hashes of the files of a configuration."""
    hashes = [files[name] for name in weight_files(files)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def _write_files(
    folder: Path,
    artifact: Artifact,
    card: str | Callable[[str], str],
    picture: bytes | Callable[[str], bytes | None] | None,
    onnx: bytes | None,
    shard_bytes: int,
) -> None:
    names = write_weights(folder, artifact.tensors, shard_bytes)
    if artifact.graph is not None:
        write_json(folder / GRAPH, artifact.graph, compact=True)
        names.append(GRAPH)
    write_json(folder / CERTIFICATE, artifact.certificate)
    if onnx is not None:
        (folder / ONNX).write_bytes(onnx)
        names.append(ONNX)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "torch": str(torch.__version__)}
    hashes = {name: file_hash(folder / name) for name in sorted([*names, CERTIFICATE])}
    digest = weights_digest(hashes)
    if (drawn := picture(digest) if callable(picture) else picture) is not None:
        (folder / PICTURE).write_bytes(drawn)
    (folder / CARD).write_text(card if isinstance(card, str) else card(digest), encoding="utf-8")
    certified = {"certified": artifact.config.get("certified") or digest}
    write_json(folder / CONFIG, {**header, **artifact.config, **header, **certified, "files": hashes})


def file_hash(path: Path) -> str:
    """SHA-256 of a regular file, in hexadecimal."""
    if not path.is_file():
        raise ArtifactError(f"Expected the file {path} but it is missing; export or pull again.")
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size  # files of the system may be of size 0 and never end
            while left > 0 and (block := file.read(min(left, 2**20))):
                digest.update(block)
                left -= len(block)
    except OSError as error:
        raise ArtifactError(f"Expected the file {path} but it cannot be read: {error}.") from error
    return digest.hexdigest()


def _is_ours(folder: Path) -> bool:
    try:
        return parse_json(read_bytes(folder / CONFIG, JSON_LIMIT), CONFIG).get("format") == FORMAT
    except ArtifactError:
        return False
