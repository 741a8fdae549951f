"""A folder becomes one commit: all files of an encoder together, on the commit that was looked at."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.access import ensure_repository
from lightning_invariant.hub.artifact import CARD, is_own
from lightning_invariant.hub.attempts import status_of
from lightning_invariant.hub.reader import read_config
from lightning_invariant.hub.readme import for_repository, merged

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import CommitOperationAdd, CommitOperationDelete

    from lightning_invariant.hub.target import Target

OTHERS_FIRST = 5
"""How often a commit of somebody else may come between."""


@dataclass(frozen=True)
class Commit:
    """What came of it.

    Args:
        url: Of the commit, or of the pull request.
        oid: Of the commit.
        pull: Name of the pull request's branch, "refs/pr/3"; None if none was opened.
    """

    url: str
    oid: str
    pull: str | None = None


def commit_folder(client: HfApi, folder: Path, target: Target, *, message: str) -> Commit:
    """Publish a folder that was exported, atomically.

    Files of an earlier encoder that this one does not have are deleted in the same commit; files that are not ours
    stay, and so does what an author wrote into the card. The commit names its parent: if somebody committed since, the
    repository is looked at again. Nothing is committed if nothing changed.

    Args:
        client: Of the Hub.
        folder: An exported encoder.
        target: Where to; a repository or branch that is missing is made.
        message: Of the commit, one line.

    Raises:
        ArtifactError: The folder is none of ours, or changed meanwhile.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
    """
    config = read_config(folder)
    ensure_repository(client, target)
    for again in reversed(range(OTHERS_FIRST)):
        info = client.model_info(target.repo_id, revision=target.revision)
        present = {sibling.rfilename for sibling in info.siblings or ()}
        operations = _operations(folder, config, target, _card_there(client, target, info.sha, present), present)
        try:
            done = client.create_commit(
                target.repo_id,
                operations,
                commit_message=message,
                revision=target.revision,
                create_pr=target.create_pr,
                parent_commit=info.sha,
            )
        except Exception as error:
            if status_of(error) != 412 or not again:
                raise
            continue
        return Commit(done.pr_url or done.commit_url, done.oid, done.pr_revision)
    raise AssertionError("the last attempt returns or raises")


def _operations(
    folder: Path, config: dict[str, Any], target: Target, existing: str | None, present: set[str]
) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    names = sorted(path.name for path in folder.iterdir() if is_own(path.name) and path.is_file())
    card = for_repository(merged((folder / CARD).read_text(encoding="utf-8"), existing), target.repo_id)
    operations: list[Any] = []
    for name in names:
        content = card.encode() if name == CARD else folder / name
        operation = CommitOperationAdd(path_in_repo=name, path_or_fileobj=content)
        _require_unchanged(name, operation, config)
        operations.append(operation)
    stale = sorted(name for name in present if is_own(name) and name not in names)
    return [*operations, *(CommitOperationDelete(path_in_repo=name) for name in stale)]


def _require_unchanged(name: str, operation: CommitOperationAdd, config: dict[str, Any]) -> None:
    expected = config["files"].get(name)
    if expected is not None and operation.upload_info.sha256.hex() != expected:
        raise ArtifactError(
            f"Expected {name} as config.json describes it but its hash differs: damaged, or replaced while it was "
            "read; export again."
        )


def _card_there(client: HfApi, target: Target, commit: str | None, present: set[str]) -> str | None:
    if CARD not in present:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        path = client.hf_hub_download(target.repo_id, CARD, revision=commit, local_dir=scratch)
        return Path(path).read_text(encoding="utf-8", errors="replace")
