"""Reads an artefact directory that may come from anywhere, without executing or unpickling any of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import safe_open

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.artifact import (
    CERTIFICATE,
    CONFIG,
    FORMAT,
    FORMAT_VERSION,
    GRAPH,
    NETWORK,
    PROJECTION,
    WEIGHTS,
    Artifact,
    file_hash,
)
from lightning_invariant.hub.graph import parse_graph
from lightning_invariant.hub.json_file import JSON_LIMIT, parse_json, read_bytes

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from torch import Tensor

REQUIRED_KEYS = {
    "library": str,
    "torch": str,
    "input": dict,
    "latent_size": int,
    "features": int,
    "representation": str,
    "projection": dict,
    "guarantee": dict,
    "files": dict,
}
GRAPH_LIMIT = 32 * 2**20
"""Largest graph that is read, in bytes."""
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
    if config.get("format") != FORMAT:
        raise ArtifactError(
            f"Expected {path} of format {FORMAT!r} but got {str(config.get('format'))[:40]!r}; "
            "only encoders that lightning-invariant exported can be loaded."
        )
    version = config.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ArtifactError(
            f"Expected format version {FORMAT_VERSION} in {path} but got {str(version)[:40]}; "
            "install the version of lightning-invariant that wrote it, or a newer one."
        )
    if wrong := [key for key, kind in REQUIRED_KEYS.items() if type(config.get(key)) is not kind]:
        raise ArtifactError(f"Expected {', '.join(wrong)} in {path} but got none of that kind; export or pull again.")
    return config


def _read(source: Path) -> Artifact:
    config = read_config(source)
    graph = _require_hash(read_bytes(source / GRAPH, GRAPH_LIMIT), source / GRAPH, config)
    certificate = _require_hash(read_bytes(source / CERTIFICATE, JSON_LIMIT), source / CERTIFICATE, config)
    return Artifact(
        config, parse_graph(graph), _read_tensors(source / WEIGHTS, config), parse_json(certificate, CERTIFICATE)
    )


def _read_tensors(path: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    _require_hash(None, path, config)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except Exception as error:  # a crafted header can name what torch does not know
        reason = str(error)[:200]
        raise ArtifactError(f"Expected weights in safetensors but got {path}: {reason}; pull again.") from error
    if foreign := [name for name in tensors if not name.startswith((NETWORK, PROJECTION))]:
        raise ArtifactError(
            f"Expected tensors of network and projection in {path} but got {foreign[0][:80]!r}; export or pull again."
        )
    return tensors


def _require_hash(content: bytes | None, path: Path, config: Mapping[str, Any]) -> bytes:
    digest = file_hash(path) if content is None else hashlib.sha256(content).hexdigest()
    if config["files"].get(path.name) != digest:
        raise ArtifactError(
            f"Expected {path} as config.json describes it but its hash differs: damaged, incomplete or of another "
            "export; export or pull again."
        )
    return content or b""


def _stamp(folder: Path) -> tuple[int, ...]:
    try:
        found = (folder / CONFIG).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
