"""JSON objects of an artefact: bounded when read, finite when written."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.links import require_inside

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

JSON_LIMIT = 4 * 2**20
"""Largest configuration or certificate that is read, in bytes; parsed JSON takes some twenty times its size."""


def write_json(path: Path, data: Mapping[str, Any], *, compact: bool = False) -> None:
    """Write an object; it must hold neither NaN nor an infinity."""
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 1}
    path.write_text(json.dumps(data, allow_nan=False, ensure_ascii=False, **layout) + "\n", encoding="utf-8")


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a regular file, which may come from anywhere.

    Raises:
        ArtifactError: It is missing, no regular file, a link out of its folder, cannot be read, or larger than the
            limit.
    """
    if not require_inside(path).is_file():
        raise ArtifactError(f"Expected the file {path} but it is missing; export or pull again.")
    try:
        with path.open("rb") as file:
            content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
    except OSError as error:
        raise ArtifactError(f"Expected the file {path} but it cannot be read: {error}.") from error
    if len(content) > limit:
        raise ArtifactError(f"Expected {path} of at most {limit} bytes but it is larger; it is refused.")
    return content


def parse_json(content: bytes, where: str) -> dict[str, Any]:
    """The object that some untrusted bytes hold.

    Raises:
        ArtifactError: They are no JSON object, repeat a key, are nested too deeply, or hold NaN or an infinity.
    """
    try:
        data = json.loads(content.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        reason = str(error)[:200]
        raise ArtifactError(
            f"Expected JSON in {where} but got {type(error).__name__}: {reason}; export or pull again."
        ) from None
    if not isinstance(data, dict):
        raise ArtifactError(f"Expected a JSON object in {where} but got {type(data).__name__}; export or pull again.")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(result := dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")
