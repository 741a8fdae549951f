"""Encoders that come with the package: folders of hub_configs that hold an export."""

from __future__ import annotations

from pathlib import Path

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.artifact import CONFIG

EXPORT = "encoder"
"""Name of the export inside a folder of hub_configs."""


def recipes_folder() -> Path:
    """hub_configs, inside the installed package or beside it in a clone."""
    package = Path(__file__).parents[1]
    return next(folder for folder in (package / "hub_configs", package.parent / "hub_configs") if folder.is_dir())


def bundled_names() -> list[str]:
    """Names that `InvariantEncoder.from_pretrained` loads without asking anybody.

    Example:
        >>> "digits-c4" in bundled_names()
        True
    """
    return sorted(path.parent.parent.name for path in recipes_folder().glob(f"*/{EXPORT}/{CONFIG}"))


def bundled_folder(name: str) -> Path:
    """The folder of a bundled encoder.

    Raises:
        ArtifactError: There is none of that name; the message lists those that there are.
    """
    if name not in (names := bundled_names()):
        raise ArtifactError(
            f"Expected a folder, a repository 'user/name', or one of the bundled encoders {', '.join(names)} but got "
            f"{name[:200]!r}: no such folder."
        )
    return recipes_folder() / name / EXPORT
