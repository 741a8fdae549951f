"""From a name to a local folder: a path, or a repository of the Hugging Face Hub at one commit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.artifact import LOADED

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        name: A folder, or "user/name" on the Hub; a folder of that name comes first.
        revision: Branch, tag or commit; the main branch if None.
        cache_dir: Of the Hub's client.
        token: Of the Hub's client.
        local_files_only: Use what was downloaded before and ask nobody.
        files: Patterns of the files to download.

    Raises:
        ArtifactError: There is no such folder, and the name is not one of the Hub's.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses; the message is the Hub's.
        huggingface_hub.errors.LocalEntryNotFoundError: It was not downloaded before and the Hub cannot be asked.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not isinstance(name, str) or name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
        raise ArtifactError(
            f"Expected a folder or a repository 'user/name' but got {os.fspath(name)!r}: no such folder."
        )
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(
            name,
            revision=revision,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            token=token,
            local_files_only=local_files_only,
            allow_patterns=list(files),
        )
    )
