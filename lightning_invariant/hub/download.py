"""From a name to a local folder: a path, a bundled encoder, or a repository of the Hugging Face Hub at one commit."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from lightning_invariant.artifact.config import CARD, CERTIFICATE, CONFIG, GRAPH, INDEX, is_own, needed_files
from lightning_invariant.artifact.files import JSON_LIMIT, file_hash
from lightning_invariant.artifact.folder import GRAPH_LIMIT, read_artifact, read_config
from lightning_invariant.artifact.tensors import INDEX_LIMIT
from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.client import hub_client, step
from lightning_invariant.hub.retries import is_unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Unpack

    from lightning_invariant.artifact import Artifact

EXPORT = "encoder"
"""Name of the export inside a folder of hub_configs."""
CARD_LIMIT = 2**20
"""Largest card that is downloaded to be shown, in bytes."""
LIMITS = {CONFIG: JSON_LIMIT, CERTIFICATE: JSON_LIMIT, GRAPH: GRAPH_LIMIT, INDEX: INDEX_LIMIT, CARD: CARD_LIMIT}
_GIT = 40
"""Characters of git's hash."""
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_ADDRESS = re.compile(r"(?:https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf://)(?:models/)?", re.IGNORECASE)
_FOLDER = re.compile(r"(?!.*(^|/)\.{1,2}(/|$))[^\\\0/][^\\\0]{0,200}")


class Where(TypedDict, total=False):
    """Fields of `Source` beside name and revision."""

    subfolder: str
    cache_dir: str | os.PathLike[str] | None
    local_dir: str | os.PathLike[str] | None
    token: str | bool | None


class Download(Where, total=False):
    """Options of loading that mean what they mean in the Hub's client."""

    force_download: bool
    local_files_only: bool


@dataclass(frozen=True)
class Source:
    """Where an encoder comes from.

    Args:
        name: A folder, the name of a bundled encoder, or a repository as "user/name", "user/name@revision" or its
            address on the Hub; a folder of that name comes first.
        revision: Branch, tag or commit; the main branch if None.
        subfolder: Folder of the encoder inside the repository or folder.
        cache_dir: Folder of the cache of the Hub's client.
        local_dir: Folder to download to in place of the cache.
        token: Token for the Hub's client.
    """

    name: str | os.PathLike[str]
    revision: str | None = None
    subfolder: str = ""
    cache_dir: str | os.PathLike[str] | None = None
    local_dir: str | os.PathLike[str] | None = None
    token: str | bool | None = None

    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return Path(self.name).is_dir()

    def repository(self) -> tuple[str, str | None, str]:
        """Return the repository, its revision and the subfolder that a name or an address says.

        Raises:
            ArtifactError: It is neither, or revision and subfolder are said twice.
        """
        text, revision, subfolder = os.fspath(self.name), self.revision, self.subfolder.strip("/")
        if address := _ADDRESS.match(text):
            parts = text[address.end() :].partition("?")[0].strip("/").split("/")
            text, rest = "/".join(parts[:2]), parts[2:]
            if rest[:1] in (["tree"], ["resolve"], ["blob"]) and len(rest) > 1:
                revision, subfolder = revision or rest[1], subfolder or "/".join(rest[2:])
            elif rest:
                text = ""
        name, _, named = text.partition("@")
        if name.count("/") != 1 or name.startswith((".", "/", "~")) or name.endswith("/"):
            raise ArtifactError(
                f"Expected a folder or a repository 'user/name' but got {os.fspath(self.name)!r}: no such folder."
            )
        if named and revision not in (None, named):
            raise ArtifactError(f"Expected one revision but got {named!r} and {revision!r}; leave one out.")
        if subfolder and not _FOLDER.fullmatch(subfolder):
            raise ArtifactError(f"Expected a subfolder such as 'encoders/small' but got {subfolder!r}.")
        return name, named or revision, subfolder


def read_pretrained(
    name: str | os.PathLike[str],
    revision: str | None = None,
    *,
    force_download: bool = False,
    local_files_only: bool = False,
    **where: Unpack[Where],
) -> Artifact:
    """Read the artefact of a folder or repository.

    What was damaged on its way is thrown out of the client's cache and downloaded again, once. `local_files_only` asks
    nobody; `where` holds the other fields of `Source`.
    """
    source = Source(name, revision, **where)
    for again in (True, False):
        folder = local_folder(source, force_download=force_download, local_files_only=local_files_only)
        try:
            return read_artifact(folder)
        except ArtifactError:
            if local_files_only or source.is_local() or not drop_damaged(folder) or not again:
                raise
    raise AssertionError("the second attempt returns or raises")


def local_folder(
    source: Source,
    *,
    wanted: Callable[[Mapping[str, Any]], list[str]] = needed_files,
    force_download: bool = False,
    local_files_only: bool = False,
) -> Path:
    """Return the folder of an artefact, downloaded if it is not a path.

    The configuration comes first, and of the other files only those that `wanted` names from what it says; those that
    nobody needs to load may be missing. The revision becomes one commit with it, so that configuration and weights
    cannot come from two; the Hub's client remembers it for `local_files_only`.

    Raises:
        ArtifactError: There is no such folder, the name is not one of the Hub's, or a file is larger than it may be.
        HubError: The Hub does not answer in time.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses; the message is the Hub's.
        huggingface_hub.errors.LocalEntryNotFoundError: It was not downloaded before and the Hub cannot be asked.
    """
    name = source.name
    if source.is_local():
        return Path(name) / source.subfolder
    if isinstance(name, str) and "/" not in name and not name.startswith((".", "~")):
        if source.revision or source.subfolder:
            raise ArtifactError(
                f"Expected no revision and no subfolder for the bundled encoder {name[:200]!r}, which is a part of the "
                "installed package; leave them out."
            )
        return bundled_folder(name)
    if not isinstance(name, str):
        raise ArtifactError(f"Expected a folder or a repository 'user/name' but got {str(name)!r}: no such folder.")
    return _Download(source, force_download=force_download, local_files_only=local_files_only).run(wanted)


class _Download:
    """Files of one commit of a repository."""

    def __init__(self, source: Source, *, force_download: bool, local_files_only: bool) -> None:
        self.repo_id, self.revision, self.subfolder = source.repository()
        self.client = hub_client(source.token)
        self.local_dir = None if source.local_dir is None else Path(source.local_dir)
        self.settings: dict[str, Any] = {
            "cache_dir": None if source.cache_dir is None else Path(source.cache_dir),
            "token": source.token,
            "subfolder": self.subfolder or None,
            "local_files_only": local_files_only,
        }
        self.force = force_download

    def run(self, wanted: Callable[[Mapping[str, Any]], list[str]]) -> Path:
        if not self.settings["local_files_only"]:
            self._require_small(CONFIG, self._announced_size())
        folder, config = self._config()
        commit = folder.parents[len(Path(self.subfolder).parts) - 1].name if self.subfolder else folder.name
        names = wanted(config)
        sizes = self._sizes(folder, names, commit)
        for name in names:
            self._require_small(name, sizes.get(name, 0))
            if name in sizes:
                self._fetch(name, sizes[name], commit)
        if self.local_dir is not None:
            for name in (CONFIG, *(name for name in names if name in sizes)):
                self._fetch(name, sizes.get(name, 0), commit, local_dir=self.local_dir)
            return self.local_dir / self.subfolder
        return folder

    def _config(self) -> tuple[Path, dict[str, Any]]:
        for again in (True, True, False):
            folder = self._fetch(CONFIG, JSON_LIMIT, self.revision).parent
            try:
                return folder, read_config(folder)
            except ArtifactError:
                if self.settings["local_files_only"] or not drop_damaged(folder) or not again:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _announced_size(self) -> int:
        from huggingface_hub import hf_hub_url

        path = f"{self.subfolder}/{CONFIG}".lstrip("/")
        url = hf_hub_url(
            self.repo_id,
            CONFIG,
            subfolder=self.settings["subfolder"],
            revision=self.revision,
            endpoint=self.client.endpoint,
        )
        try:
            with step():
                return self.client.get_hf_file_metadata(url=url, token=self.settings["token"]).size or 0
        except Exception as error:  # the client's errors have several bases
            # What was downloaded before serves where the Hub cannot be reached; the client says so where nothing was.
            if is_unreachable(error):
                return 0
            if type(error).__name__ == "RemoteEntryNotFoundError":
                raise ArtifactError(
                    f"Expected an encoder in {self.repo_id} but it has no {path}; give subfolder= if it stands in one."
                ) from error
            raise

    def _sizes(self, folder: Path, names: list[str], commit: str) -> dict[str, int]:
        """Sizes of the files that there are: those of the cache where it has all."""
        here = {name: (folder / name).stat().st_size for name in names if (folder / name).is_file()}
        if self.settings["local_files_only"] or (len(here) == len(names) and not self.force):
            return here | dict.fromkeys((name for name in names if name != CARD and name not in here), 0)
        paths = {f"{self.subfolder}/{name}".lstrip("/"): name for name in names}
        with step():
            found = self.client.get_paths_info(self.repo_id, list(paths), revision=commit, token=self.settings["token"])
        return {paths[entry.path]: getattr(entry, "size", 0) for entry in found if entry.path in paths}

    def _fetch(self, name: str, size: int, revision: str | None, local_dir: Path | None = None) -> Path:
        with step(size):
            return Path(
                self.client.hf_hub_download(
                    self.repo_id,
                    name,
                    revision=revision,
                    local_dir=local_dir,
                    force_download=self.force and local_dir is None,
                    **self.settings,
                )
            )

    def _require_small(self, name: str, size: int) -> None:
        if size > LIMITS.get(name, size):
            raise ArtifactError(
                f"Expected {name} of {self.repo_id} of at most {LIMITS[name]} bytes but it has {size}; it is not "
                "downloaded."
            )


def drop_damaged(folder: Path) -> list[str]:
    """Throw away downloaded files that are not what the Hub announced, so that the next download brings them anew.

    The client keeps each file under the hash of its content, which it does not check. Only links of a snapshot into the
    blobs beside it are followed, and of those only the files of an artefact; their names are returned.
    """
    snapshot = next((path for path in (folder, *folder.parents) if path.parent.name == "snapshots"), None)
    if snapshot is None:
        return []
    blobs, damaged = Path(os.path.realpath(snapshot.parent.parent / "blobs")), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        kept = _kept(path, blobs) if is_own(path.name) else None
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
    return file_hash(path, hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False))


def recipes_folder() -> Path:
    """Return hub_configs, inside the installed package or beside it in a clone."""
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
    """Return the folder of a bundled encoder."""
    if name not in (names := bundled_names()):
        raise ArtifactError(
            f"Expected a folder, a repository 'user/name', or one of the bundled encoders {', '.join(names)} but got "
            f"{name[:200]!r}: no such folder."
        )
    return recipes_folder() / name / EXPORT
