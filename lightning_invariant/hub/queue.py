"""What is to be uploaded, as folders on the local disk: it survives an error, a kill, a Hub that is away."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from lightning_invariant.artifact.directory import STALE, STALE_AFTER, check_replaceable, replace_directory
from lightning_invariant.artifact.files import JSON_LIMIT, parse_json, read_bytes, write_json
from lightning_invariant.errors import ArtifactError, HubError
from lightning_invariant.hub.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable

ENTRY, ENCODER, PARITY = "entry.json", "encoder", "parity.safetensors"
_DONE = ".done-"
_RUN = ".run-"
RUN_AFTER = 90 * 24 * 3600.0
"""Age in seconds at which it is forgotten what a run published."""


def default_queue() -> Path:
    """The folder of LIGHTNING_INVARIANT_QUEUE, or one in the user's cache."""
    if named := os.environ.get("LIGHTNING_INVARIANT_QUEUE"):
        return Path(named)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "lightning-invariant" / "queue"


@dataclass(frozen=True)
class Entry:
    """One export on its way to the Hub.

    Args:
        folder: Of the entry.
        target: Where it goes.
        message: Of the commit.
        run: Of one training; a newer export of the same run and target takes the place of an older one.
        trouble: Why it was not uploaded when it was last tried; "" if it was not tried.
        refused: Whether it must not be uploaded, because it loads to other features than the live network's.
    """

    folder: Path
    target: Target
    message: str
    run: str
    trouble: str = ""
    refused: bool = False

    @property
    def encoder(self) -> Path:
        """The exported encoder."""
        return self.folder / ENCODER

    @property
    def parity(self) -> Path:
        """Live features beside it; the file is missing if the user exported by hand."""
        return self.folder / PARITY


class Queue:
    """Entries in a folder, the oldest first; each appears and vanishes as a whole.

    Args:
        folder: Made when something is added.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else default_queue()

    def check(self) -> None:
        """Refuse a folder that could not be written."""
        check_replaceable(self.folder / "entry")

    def add(self, target: Target, fill: Callable[[Path], None], *, message: str, run: str) -> Entry:
        """Add an entry; `fill` writes `ENCODER` and perhaps `PARITY` into an empty folder, or raises and adds none."""
        self._clean_up()
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"

        def complete(fresh: Path) -> None:
            fill(fresh)
            write_json(fresh / ENTRY, {"target": asdict(target), "message": message, "run": run})

        replace_directory(self.folder / name, complete, keep=lambda name: False)
        return Entry(self.folder / name, target, message, run)

    def entries(self) -> list[Entry]:
        """All that can be read, the oldest first."""
        if not self.folder.is_dir():
            return []
        found = (self._read(path) for path in sorted(self.folder.iterdir()) if not path.name.startswith("."))
        return [entry for entry in found if entry is not None]

    def same_run(self, entry: Entry) -> list[Entry]:
        """Exports of one run to one place, the oldest first; each newer one takes the place of those before it."""
        return [other for other in self.entries() if (other.run, other.target) == (entry.run, entry.target)]

    def remove(self, entry: Entry) -> None:
        """Take an entry out."""
        gone = self.folder / f"{_DONE}{entry.folder.name}"
        with suppress(FileNotFoundError):
            os.rename(entry.folder, gone)
        shutil.rmtree(gone, ignore_errors=True)

    def note(self, entry: Entry, trouble: str, *, refused: bool = False) -> None:
        """Keep with an entry why it was not uploaded."""
        data = asdict(replace(entry, trouble=trouble, refused=refused))
        del data["folder"]
        fresh = entry.folder / f".{ENTRY}"
        write_json(fresh, data)
        os.replace(fresh, entry.folder / ENTRY)

    def lock(self, target: Target) -> FileLock:
        """Held by whoever uploads to a repository; it is free again when its process ends."""
        self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(target.repo_id.encode()).hexdigest()[:16]
        return FileLock(self.folder / f".lock-{digest}")

    def remembered(self, run: str) -> dict[str, str]:
        """What a run published: "commit", its last one, and "pull", the pull request that it opened."""
        path = self.folder / f"{_RUN}{run}"
        try:
            return parse_json(read_bytes(path, JSON_LIMIT), str(path)) if path.is_file() else {}
        except ArtifactError:
            return {}

    def remember(self, run: str, what: dict[str, str]) -> None:
        """Let later exports of a run know what it published."""
        write_json(fresh := self.folder / f"{_RUN}{run}.new", what)
        os.replace(fresh, self.folder / f"{_RUN}{run}")

    def _read(self, folder: Path) -> Entry | None:
        try:
            data: dict[str, Any] = parse_json(read_bytes(folder / ENTRY, JSON_LIMIT), str(folder / ENTRY))
            data = {key: data[key] for key in data if key in Entry.__dataclass_fields__}
            return Entry(folder, **{**data, "target": Target(**data["target"])})
        except (ArtifactError, HubError, KeyError, TypeError, json.JSONDecodeError):
            return None

    def _clean_up(self) -> None:
        """Remove what killed processes left half written, and what runs long gone published."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                age = time.time() - path.stat().st_mtime
                if path.name.startswith(_RUN) and age > RUN_AFTER:
                    path.unlink()
                if path.name.startswith((STALE, _DONE)) and age > STALE_AFTER:
                    shutil.rmtree(path, ignore_errors=True)
