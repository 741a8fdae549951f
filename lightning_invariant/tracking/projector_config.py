"""The list that TensorBoard's projector page shows, rebuilt from our folders at every write, the newest step first.

Each folder `<run>/invariant_projector/<tag>/<step>/` holds its own entry, so what another writer overwrote comes back.

The page opens with the first tensor of an order of its own: those with labels, then those of more points, then by name.
So names tell the age before the step, and where an older step has more points than the newest one of its tag, the page
gets a view of as many: a thinned copy beside the whole, for as long as it is needed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from tensorboard.plugins.projector.projector_config_pb2 import (  # the names are made at import
    EmbeddingInfo,  # pyright: ignore[reportAttributeAccessIssue]
    ProjectorConfig,  # pyright: ignore[reportAttributeAccessIssue]
)

from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking.projector_files import VIEW, write_view

if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG = "projector_config.pbtxt"
ROOT = "invariant_projector"
ENTRY = "entry.pbtxt"


def shown_name(tag: str, step: int, age: int, steps: int = 1) -> str:
    """Return the name of a tensor on the page: by name the newest of its tag comes first, then the one before it.

    Args:
        tag: Tag of the points.
        step: At which they were written.
        age: How many steps of the tag were written later.
        steps: How many are kept.

    Example:
        >>> [shown_name("raw", step, age, 3) for age, step in enumerate((30, 20, 10))]
        ['raw, newest: step 30', 'raw, older 1: step 20', 'raw, older 2: step 10']
    """
    return f"{tag}, older {age:0{len(str(steps))}}: step {step}" if age else f"{tag}, newest: step {step}"


def foreign_config(run: Path) -> ProjectorConfig:
    """Return the config without our entries.

    Raises:
        InvariantError: It cannot be read.
    """
    path = run / CONFIG
    config = _parse(path, ProjectorConfig()) if path.exists() else ProjectorConfig()
    kept = [entry for entry in config.embeddings if not entry.tensor_path.startswith(f"{ROOT}/")]
    del config.embeddings[:]
    config.embeddings.extend(kept)
    return config


def write_config(run: Path, foreign: ProjectorConfig, without: Sequence[Path]) -> None:
    """Replace the config by the entries of another writer and those of our folders.

    Args:
        run: Folder of the run.
        foreign: What `foreign_config` gave.
        without: Folders that are about to go.

    Raises:
        InvariantError: An entry cannot be read.
    """
    config = ProjectorConfig()
    config.CopyFrom(foreign)
    for tag in sorted({entry.parent.parent for entry in (run / ROOT).glob(f"*/[0-9]*/{ENTRY}")}):
        kept = [folder for folder in _by_age(tag) if folder not in without]
        entries = [_parse(folder / ENTRY, EmbeddingInfo()) for folder in kept]
        for age, (folder, entry) in enumerate(zip(kept, entries, strict=True)):
            limit = entries[0].tensor_shape[0]
            shown = write_view(run, folder, entry, limit) if entry.tensor_shape[0] > limit else entry
            shown.tensor_name = shown_name(entry.tensor_name.rpartition(":")[0], int(folder.name), age, len(kept))
            config.embeddings.append(shown)
    path = run / CONFIG
    draft = path.with_name(f".{CONFIG}.{os.getpid()}")
    draft.write_text(text_format.MessageToString(config), encoding="utf-8")
    os.replace(draft, path)


def outdated(written: Path, keep_last: int) -> list[Path]:
    """Return folders of the same tag beyond the last ones, in the order of writing.

    Not in the order of steps: a run resumed at step 100 would lose it to the steps 200 and 300 of the life before.
    """
    return [folder for folder in _by_age(written.parent) if folder != written][keep_last - 1 :]


def remove_views(run: Path) -> None:
    """Remove the views that the config does not name."""
    named = {run / Path(entry.tensor_path).parent for entry in _parse(run / CONFIG, ProjectorConfig()).embeddings}
    for view in (run / ROOT).glob(f"*/[0-9]*/{VIEW}*"):
        if view not in named:
            shutil.rmtree(view, ignore_errors=True)


def _by_age(tag: Path) -> list[Path]:
    """The whole folders of a tag, the last written first."""
    folders = [entry.parent for entry in tag.glob(f"[0-9]*/{ENTRY}")]
    return sorted(folders, key=lambda folder: ((folder / ENTRY).stat().st_mtime_ns, folder.name), reverse=True)


def _parse(path: Path, message: Any) -> Any:
    try:
        return text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InvariantError(
            f"Expected a projector config in {path} but it cannot be read ({error}); move it away and run again."
        ) from error
