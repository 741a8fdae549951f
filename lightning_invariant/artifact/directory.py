"""A directory that is replaced as a whole: whoever looks sees the old one or the new one, never half of either."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Callable

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
STALE = ".lightning-invariant-"
"""Prefix of the staging directories beside a target."""
STALE_AFTER = 3600.0
"""Age in seconds after which a staging directory must be a killed writer's, and is removed by the next one."""


def check_replaceable(folder: str | os.PathLike[str]) -> list[str]:
    """Refuse what `replace_directory` could not replace, and leave nothing behind; return the sorted entries.

    Permission bits say too little (a superuser, a read-only file system), so a directory is made and removed.
    """
    try:
        target = Path(os.path.realpath(folder))
        if target.exists() and not target.is_dir():
            raise ArtifactError(f"Expected a folder but {target} is something else; choose another path.")
        if target.is_mount() or Path.cwd().is_relative_to(target):
            raise ArtifactError(
                f"Expected a folder that can be exchanged but {target} is a mount point or holds the working "
                "directory; choose a folder inside it."
            )
        nearest = next(path for path in target.parents if path.exists())
        os.rmdir(_stage(nearest / target.name))
        return sorted(os.listdir(target)) if target.exists() else []
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"Expected a folder that can be written but got {folder}: {error}; choose another folder."
        ) from error


def replace_directory(
    folder: str | os.PathLike[str], fill: Callable[[Path], None], *, keep: Callable[[str], bool]
) -> None:
    """Fill a fresh directory and put it in the place of the folder in one step; if `fill` raises, that stays as it was.

    On Linux and macOS the two are exchanged by one system call. On a file system that cannot, there is a moment between
    two renames without the folder; a writer that is killed then leaves the old one beside it, and the next writer
    brings it back. A symbolic link to a directory stays one. Entries that `keep` names are taken over unless `fill`
    wrote one of that name; files are linked, so that a program that is appending to one goes on doing so.
    """
    target = Path(os.path.realpath(folder))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_up(target)
        staging = _stage(target)
    except OSError as error:
        raise ArtifactError(f"Expected a folder that can be written but got {target}: {error}.") from error
    fresh, aside = staging / "new", staging / "old"
    try:
        fresh.mkdir()
        fill(fresh)
        _flush(fresh)
        if target.is_dir():
            shutil.copymode(target, fresh)
            _take_over(target, fresh, keep)
        _put(fresh, target, aside)
        _flush_entries(target.parent)
    except OSError as error:
        raise ArtifactError(f"Expected to write {target} but got: {error}; the old content is unchanged.") from error
    finally:
        if target.exists() or not aside.exists():
            shutil.rmtree(staging, ignore_errors=True)


def _stage(target: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix=f"{STALE}{target.name}-", dir=target.parent))


def _put(fresh: Path, target: Path, aside: Path) -> None:
    if not target.exists():
        try:
            os.rename(fresh, target)
            return
        except OSError:
            if not target.exists():
                raise
    if not _exchange(fresh, target):
        os.rename(target, aside)
        try:
            os.rename(fresh, target)
        except OSError:
            os.rename(aside, target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform in ("linux", "darwin") else None
    a, b = os.fsencode(one), os.fsencode(other)
    if libc is not None and hasattr(libc, "renameat2"):
        return libc.renameat2(_AT_FDCWD, a, _AT_FDCWD, b, _RENAME_EXCHANGE) == 0
    if libc is not None and hasattr(libc, "renamex_np"):
        return libc.renamex_np(a, b, _RENAME_SWAP) == 0
    return False


def _take_over(old: Path, fresh: Path, keep: Callable[[str], bool]) -> None:
    for entry in old.iterdir():
        if keep(entry.name) and not (fresh / entry.name).exists():
            if entry.is_dir() and not entry.is_symlink():
                shutil.copytree(entry, fresh / entry.name, symlinks=True, copy_function=_link)
            else:
                _link(entry, fresh / entry.name)


def _link(source: str | Path, destination: str | Path) -> None:
    try:
        os.link(source, destination, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, destination, follow_symlinks=False)


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
    _flush_entries(folder)


def _flush_entries(folder: Path) -> None:
    with suppress(OSError):  # not every system and file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _clean_up(target: Path) -> None:
    ours = re.compile(re.escape(f"{STALE}{target.name}-") + r"[a-z0-9_]{8}")
    with suppress(OSError):
        for path in target.parent.iterdir():
            if not ours.fullmatch(path.name):
                continue
            if (path / "old").is_dir() and not target.exists():
                os.rename(path / "old", target)
            if time.time() - path.stat().st_mtime > STALE_AFTER:
                shutil.rmtree(path, ignore_errors=True)
