"""Files of an artefact, which may come from anywhere: bounded when read, never a link out of their folder."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError, InvariantError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

JSON_LIMIT = 4 * 2**20
"""Largest configuration or certificate that is read, in bytes; parsed JSON takes some twenty times its size."""


def write_json(path: Path, data: Mapping[str, Any], *, compact: bool = False) -> None:
    """Write an object; it must hold neither NaN nor an infinity."""
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    path.write_text(json.dumps(data, allow_nan=False, ensure_ascii=False, **layout) + "\n", encoding="utf-8")


def read_bytes(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file within its folder and the limit."""
    if not require_inside(path).is_file():
        raise ArtifactError(f"Expected the file {path} but it is missing; export or pull again.")
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size  # files of the system may be of size 0 and never end
            content = b"" if limit is not None and size > limit else file.read(size + 1)
    except (OSError, MemoryError) as error:
        raise ArtifactError(f"Expected the file {path} but it cannot be read: {error}.") from error
    if limit is not None and size > limit:
        raise ArtifactError(f"Expected {path} of at most {limit} bytes but it is larger; it is refused.")
    if len(content) > size:
        raise ArtifactError(f"Expected {path} at rest but it grows while it is read; try again.")
    return content


def read_hashed(path: Path, hashes: Mapping[str, str], limit: int | None = None) -> bytes:
    """Return the content of a file that is the one of its hash in a configuration."""
    content = read_bytes(path, limit)
    require_hash(path, hashlib.sha256(content).hexdigest(), hashes)
    return content


def require_hash(path: Path, digest: str, hashes: Mapping[str, str]) -> None:
    """Refuse a file that is not the one of a configuration."""
    if digest != hashes.get(path.name):
        raise ArtifactError(
            f"Expected {path} as config.json describes it but its hash differs: damaged, incomplete or of another "
            "export; export or pull again."
        )


def parse_json(content: bytes | str, where: str, error: type[InvariantError] = ArtifactError) -> dict[str, Any]:
    """Return the object that some untrusted bytes hold, which repeats no key and holds neither NaN nor infinity."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8")
        data = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as reason:
        raise error(
            f"Expected JSON in {where} but got {type(reason).__name__}: {str(reason)[:200]}; export or pull again."
        ) from None
    if not isinstance(data, dict):
        raise error(f"Expected a JSON object in {where} but got {type(data).__name__}; export or pull again.")
    return data


def file_hash(path: Path, digest: hashlib._Hash | None = None) -> str:
    """Return the SHA-256 of a regular file, in hexadecimal, or what a digest becomes by its content."""
    if not path.is_file():
        raise ArtifactError(f"Expected the file {path} but it is missing; export or pull again.")
    digest = digest or hashlib.sha256()
    try:
        with path.open("rb") as file:
            left = os.fstat(file.fileno()).st_size
            while left > 0 and (block := file.read(min(left, 2**20))):
                digest.update(block)
                left -= len(block)
    except OSError as error:
        raise ArtifactError(f"Expected the file {path} but it cannot be read: {error}.") from error
    return digest.hexdigest()


def require_inside(path: Path) -> Path:
    """Return the path of an entry of a folder, unless it is a link to somewhere else, which could be any file.

    A link may lead within the folder, or from a snapshot of the Hub's client to the blobs beside it; the folder itself
    may be a link, and the entry need not exist.
    """
    if path.is_symlink():
        target, folder = os.path.realpath(path), os.path.realpath(path.parent)
        allowed, parent = [folder], folder
        while (above := os.path.dirname(parent)) != parent:  # the encoder may stand in a subfolder of a snapshot
            if os.path.basename(above) == "snapshots":
                allowed.append(os.path.join(os.path.dirname(above), "blobs"))  # which may be no link
                break
            parent = above
        if os.path.dirname(target) not in allowed:
            raise ArtifactError(
                f"Expected files within the folder but {path} is a link out of it; replace it by a copy of the file "
                "if you trust what it leads to."
            )
    return path


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(result := dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _refuse(name: str) -> float:
    raise ValueError(f'{name} is no JSON number, write {{"float": "{name}"}}')
