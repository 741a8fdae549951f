"""Writes an artefact as a folder, and reads one that may come from anywhere without executing any of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.artifact.config import (
    CARD,
    CERTIFICATE,
    CONFIG,
    FIGURE,
    FORMAT,
    FORMAT_VERSION,
    GRAPH,
    GRAPH_KIND,
    ONNX,
    Artifact,
    is_own,
    weights_digest,
)
from lightning_invariant.artifact.directory import check_replaceable, replace_directory
from lightning_invariant.artifact.files import JSON_LIMIT, file_hash, parse_json, read_bytes, read_hashed, write_json
from lightning_invariant.artifact.schema import check_certificate, check_config
from lightning_invariant.artifact.tensors import read_weights, write_weights
from lightning_invariant.errors import ArtifactError, GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GRAPH_LIMIT = 16 * 2**20
"""Largest graph that is read, in bytes."""
FIGURE_LIMIT = 16 * 2**20
"""Largest figure that is kept, in bytes."""
ATTEMPTS = 5
"""How often a directory is read that is replaced while it is read."""


@dataclass(frozen=True)
class Beside:
    """What stands beside the files that an encoder is loaded from; card and figure may depend on their digest."""

    card: str | Callable[[str], str]
    figure: bytes | Callable[[str], bytes | None] | None = None
    onnx: bytes | None = None


def write_artifact(
    folder: str | os.PathLike[str], artifact: Artifact, beside: Beside, *, check: Callable[[Path], None] | None = None
) -> None:
    """Replace the folder's content as a whole, once `check` takes the new directory; files that are not ours stay.

    Raises:
        ArtifactError: The folder holds something else or cannot be written; it is unchanged then.
    """

    def fill(fresh: Path) -> None:
        _write_files(fresh, artifact, beside)
        if check is not None:
            check(fresh)

    check_target(folder)
    replace_directory(folder, fill, keep=lambda name: not is_own(name))


def check_target(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that an artefact could not be written to, without leaving anything behind."""
    names = check_replaceable(folder)
    if names and not _is_ours(Path(folder)):
        some = ", ".join(names[:3])
        raise ArtifactError(
            f"Expected an empty folder or an earlier export but {folder} holds {some}; choose another folder."
        )


def read_artifact(folder: str | os.PathLike[str], *, mapped: bool = False) -> Artifact:
    """Read a directory, check its hashes and the kind of every entry; nothing of it is executed or unpickled.

    A directory that is replaced meanwhile is read again, so that no two exports are mixed. Tensors that are `mapped`
    take less memory, for a folder that nobody else can write to.

    Raises:
        ArtifactError: A file is missing, damaged, of another format or version, or does not match its hash.
        GraphError: The graph is no JSON.
    """
    source = Path(folder)
    for _ in range(ATTEMPTS):
        stamp = _stamp(source)
        try:
            artifact = _read(source, mapped=mapped)
        except ArtifactError:
            if _stamp(source) == stamp:
                raise
        else:
            if _stamp(source) == stamp:
                return artifact
    raise ArtifactError(f"Expected a folder at rest but {source} was replaced {ATTEMPTS} times while it was read.")


def read_config(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the configuration alone, with every required key of the right kind."""
    path = Path(folder) / CONFIG
    config = parse_json(read_bytes(path, JSON_LIMIT), str(path))
    check_config(config, str(path))
    return config


def read_certificate(folder: str | os.PathLike[str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was measured, as the configuration's hash says, and of this encoder."""
    path = Path(folder) / CERTIFICATE
    certificate = parse_json(read_hashed(path, config["files"], JSON_LIMIT), CERTIFICATE)
    check_certificate(certificate, config, str(path))
    return certificate


def read_figure(folder: Path | None) -> bytes | None:
    """Return the figure beside an artefact, which is not needed to load it; None where none can be kept."""
    path = None if folder is None else folder / FIGURE
    try:
        content = b"" if path is None or not path.is_file() else read_bytes(path, FIGURE_LIMIT)
    except ArtifactError:
        return None
    return content if content.startswith(b"\x89PNG\r\n\x1a\n") else None


def _write_files(folder: Path, artifact: Artifact, beside: Beside) -> None:
    names = write_weights(folder, artifact.tensors)
    if artifact.graph is not None:
        write_json(folder / GRAPH, artifact.graph, compact=True)
        names.append(GRAPH)
    write_json(folder / CERTIFICATE, artifact.certificate)
    if beside.onnx is not None:
        (folder / ONNX).write_bytes(beside.onnx)
        names.append(ONNX)
    header = {"format": FORMAT, "format_version": FORMAT_VERSION, "torch": str(torch.__version__)}
    hashes = {name: file_hash(folder / name) for name in sorted([*names, CERTIFICATE])}
    digest = weights_digest(hashes)
    if (drawn := beside.figure(digest) if callable(beside.figure) else beside.figure) is not None:
        (folder / FIGURE).write_bytes(drawn)
    (folder / CARD).write_text(beside.card if isinstance(beside.card, str) else beside.card(digest), encoding="utf-8")
    certified = {"certified": artifact.config.get("certified") or digest}
    write_json(folder / CONFIG, {**header, **artifact.config, **header, **certified, "files": hashes})


def _is_ours(folder: Path) -> bool:
    try:
        return parse_json(read_bytes(folder / CONFIG, JSON_LIMIT), CONFIG).get("format") == FORMAT
    except ArtifactError:
        return False


def _read(source: Path, *, mapped: bool) -> Artifact:
    config = read_config(source)
    certificate = read_certificate(source, config)
    graph = None
    if config["network"]["kind"] == GRAPH_KIND:
        graph = parse_json(read_hashed(source / GRAPH, config["files"], GRAPH_LIMIT), GRAPH, GraphError)
    return Artifact(config, graph, read_weights(source, config["files"], mapped=mapped), certificate, source)


def _stamp(folder: Path) -> tuple[int, ...]:
    try:
        found = (folder / CONFIG).stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
