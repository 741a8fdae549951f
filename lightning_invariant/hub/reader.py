"""Reads an artefact directory that may come from anywhere, without executing or unpickling any of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.artifact import CERTIFICATE, CONFIG, GRAPH, HEAD, NETWORK, PICTURE, PROJECTION, Artifact
from lightning_invariant.hub.graph import parse_graph
from lightning_invariant.hub.json_file import JSON_LIMIT, parse_json, read_bytes
from lightning_invariant.hub.schema import GRAPH_KIND, check_config
from lightning_invariant.hub.tensors import HEADER_LIMIT, read_weights
from lightning_invariant.hub.weights import INDEX, weight_files

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor

GRAPH_LIMIT = 16 * 2**20
"""Largest graph that is read, in bytes."""
PICTURE_LIMIT = 16 * 2**20
"""Largest picture that is kept, in bytes."""
_PNG = b"\x89PNG\r\n\x1a\n"
ATTEMPTS = 5
"""How often a directory is read that is replaced while it is read."""


def read_artifact(folder: str | os.PathLike[str]) -> Artifact:
    """Read a directory, check its hashes and the kind of every entry; nothing of it is executed or unpickled.

    A directory that is replaced meanwhile is read again, so that no two exports are mixed.

    Raises:
        ArtifactError: A file is missing, damaged, of another format or version, or does not match its hash.
        GraphError: The graph is no JSON.
    """
    source = Path(folder)
    for _ in range(ATTEMPTS):
        stamp = _stamp(source)
        try:
            artifact = _read(source)
        except ArtifactError:
            if _stamp(source) == stamp:
                raise
        else:
            if _stamp(source) == stamp:
                return artifact
    raise ArtifactError(f"Expected a folder at rest but {source} was replaced {ATTEMPTS} times while it was read.")


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The configuration alone, with every required key of the right kind.

    Raises:
        ArtifactError: It is missing or not of this format.
    """
    path = Path(folder) / CONFIG
    config = parse_json(read_bytes(path, JSON_LIMIT), str(path))
    check_config(config, str(path))
    return config


def read_certificate(folder: str | os.PathLike[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured, as the configuration's hash says.

    Raises:
        ArtifactError: The file is missing, damaged or another one.
    """
    path = Path(folder) / CERTIFICATE
    return parse_json(_require_hash(read_bytes(path, JSON_LIMIT), path, config), CERTIFICATE)


def _read(source: Path) -> Artifact:
    config = read_config(source)
    graph = None
    if config["network"]["kind"] == GRAPH_KIND:
        graph = parse_graph(_require_hash(read_bytes(source / GRAPH, GRAPH_LIMIT), source / GRAPH, config))
    return Artifact(config, graph, _read_tensors(source, config), read_certificate(source, config), source)


def read_picture(folder: Path | None) -> bytes | None:
    """The picture beside an artefact, which is not needed to load it; None where there is none that can be kept."""
    path = None if folder is None else folder / PICTURE
    try:
        content = b"" if path is None or not path.is_file() else read_bytes(path, PICTURE_LIMIT)
    except ArtifactError:
        return None
    return content if content.startswith(_PNG) else None


def _read_tensors(source: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    names = weight_files(config["files"])
    if INDEX in config["files"]:
        _require_hash(read_bytes(source / INDEX, HEADER_LIMIT), source / INDEX, config)
    tensors = read_weights(source, names, config["files"])
    if foreign := [name for name in tensors if not name.startswith((NETWORK, PROJECTION, HEAD))]:
        raise ArtifactError(
            f"Expected tensors of network, projection and head in {source} but got {foreign[0][:80]!r}; export or "
            "pull again."
        )
    return tensors


def _require_hash(content: bytes, path: Path, config: Mapping[str, Any]) -> bytes:
    if config["files"].get(path.name) != hashlib.sha256(content).hexdigest():
        raise ArtifactError(
            f"Expected {path} as config.json describes it but its hash differs: damaged, incomplete or of another "
            "export; export or pull again."
        )
    return content


def _stamp(folder: Path) -> tuple[int, ...]:
    try:
        found = (folder / CONFIG).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
