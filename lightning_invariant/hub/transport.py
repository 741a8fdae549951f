"""From a name to a local folder: a path, a bundled encoder, or a repository of the Hugging Face Hub at one commit."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.access import hub_client
from lightning_invariant.hub.artifact import LOADED, file_hash
from lightning_invariant.hub.bundled import bundled_folder
from lightning_invariant.hub.pace import paced
from lightning_invariant.hub.reader import read_artifact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lightning_invariant.hub.artifact import Artifact

_GIT = 40
"""Characters of git's hash."""
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def local_folder(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    files: Sequence[str] = LOADED,
) -> Path:
    """The folder of an artefact, downloaded if it is not a path.

    Only the files that an encoder is loaded from are downloaded. The Hub's client resolves the revision to one commit
    before the first of them, so that configuration and weights cannot come from two, and remembers it for
    `local_files_only`.

    Args:
        name: A folder, the name of a bundled encoder, or "user/name" on the Hub; a folder of that name comes first.
        revision: Branch, tag or commit; the main branch if None.
        cache_dir: Of the Hub's client.
        token: Of the Hub's client.
        local_files_only: Use what was downloaded before and ask nobody.
        files: Patterns of the files to download.

    Raises:
        ArtifactError: There is no such folder, and the name is not one of the Hub's.
        HubError: The Hub sends next to nothing, for minutes.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses; the message is the Hub's.
        huggingface_hub.errors.LocalEntryNotFoundError: It was not downloaded before and the Hub cannot be asked.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if isinstance(name, str) and "/" not in name and not name.startswith((".", "~")):
        return bundled_folder(name)
    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        raise ArtifactError(
            f"Expected a folder or a repository 'user/name' but got {os.fspath(name)!r}: no such folder."
        )
    client = hub_client()
    with paced() as bar:
        found = client.snapshot_download(
            name,
            revision=revision,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            token=token,
            local_files_only=local_files_only,
            allow_patterns=list(files),
            tqdm_class=bar,
        )
    return Path(found)


def read_pretrained(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> Artifact:
    """The artefact of a folder or repository; arguments as in `local_folder`.

    What was damaged on its way is thrown out of the client's cache and downloaded again, once.

    Raises:
        ArtifactError: There is no such folder, or a file is missing, damaged, or of another format or version.
        GraphError: The graph is no JSON.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
    """
    for again in (True, False):
        folder = local_folder(
            name, revision=revision, cache_dir=cache_dir, token=token, local_files_only=local_files_only
        )
        try:
            return read_artifact(folder)
        except ArtifactError:
            if local_files_only or Path(name).is_dir() or not drop_damaged(folder) or not again:
                raise
    raise AssertionError("the second attempt returns or raises")


def drop_damaged(folder: Path) -> list[str]:
    """Throw away downloaded files that are not what the Hub announced, so that the next download brings them anew.

    The client keeps each file under the hash of its content, which it does not check.

    Args:
        folder: A snapshot in the client's cache; only links into the blobs beside it are followed, and of those only
            the files that an encoder is loaded from.

    Returns:
        Names of the files that were thrown away.
    """
    damaged = []
    if folder.parent.name != "snapshots":
        return damaged
    blobs = Path(os.path.realpath(folder.parent.parent / "blobs"))
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        kept = _kept(path, blobs) if any(map(path.match, LOADED)) else None
        if kept is not None and _blob_hash(kept) != kept.name:
            path.unlink(missing_ok=True)
            kept.unlink(missing_ok=True)
            damaged.append(path.name)
    return damaged


def _kept(path: Path, blobs: Path) -> Path | None:
    """The downloaded file that an entry of a snapshot is a link to; None for whatever lies elsewhere."""
    if not path.is_symlink():
        return None
    kept = Path(os.path.normpath(path.parent / os.readlink(path)))
    inside = Path(os.path.realpath(kept.parent)) == blobs and _BLOB.fullmatch(kept.name)
    return kept if inside and not kept.is_symlink() and kept.is_file() else None


def _blob_hash(path: Path) -> str:
    """The name that the Hub gives a file: SHA-256 of a large one, git's SHA-1 of a small one."""
    if len(path.name) != _GIT:
        return file_hash(path)
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
