"""Links in a folder that is loaded: they may lead within it, or to the blobs beside a snapshot of the Hub's client."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path


def require_inside(path: Path) -> Path:
    """Refuse an entry of a folder that is a link to somewhere else; the folder itself may be a link.

    Args:
        path: Of the entry, which need not exist.

    Returns:
        The path.

    Raises:
        ArtifactError: What it leads to lies elsewhere, so that a folder could name any file of this machine.
    """
    if path.is_symlink():
        target, folder = os.path.realpath(path), os.path.realpath(path.parent)
        allowed = [folder]
        if os.path.basename(os.path.dirname(folder)) == "snapshots":
            allowed.append(os.path.join(os.path.dirname(os.path.dirname(folder)), "blobs"))  # which may be no link
        if os.path.dirname(target) not in allowed:
            raise ArtifactError(
                f"Expected files within the folder but {path} is a link out of it; replace it by a copy of the file "
                "if you trust what it leads to."
            )
    return path
