"""A folder becomes one commit: all files of an encoder together, on the commit that was looked at."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.artifact.card import measured_value
from lightning_invariant.artifact.config import CARD, CERTIFICATE, CONFIG, is_own
from lightning_invariant.artifact.files import JSON_LIMIT, parse_json, read_bytes, require_hash
from lightning_invariant.artifact.folder import read_certificate, read_config
from lightning_invariant.artifact.readme import for_repository, merged
from lightning_invariant.errors import ArtifactError, HubError
from lightning_invariant.hub.access import ensure_repository
from lightning_invariant.hub.client import step
from lightning_invariant.hub.retries import status_of

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import CommitOperationAdd, CommitOperationDelete

    from lightning_invariant.hub.target import Target

OTHERS_FIRST = 5
"""How often a commit of somebody else may come between."""
COMPARED = ("knn", "linear")
"""Scores of the features that two encoders are compared by, the first that both have; larger is better."""


class WorseError(HubError):
    """An encoder that measured worse than the one that it would replace."""


@dataclass(frozen=True)
class Commit:
    """Address and hash of a commit; address and branch ("refs/pr/3") of the pull request where one was opened."""

    url: str
    oid: str
    pull: str | None = None


def commit_folder(client: HfApi, folder: Path, target: Target, *, message: str, own: str | None = None) -> Commit:
    """Publish a folder that was exported, atomically, on the branch of the target, which is made where it is missing.

    Files of an earlier encoder that this one does not have are deleted in the same commit; files that are not ours
    stay, and so does what an author wrote into the card. The commit names its parent: if somebody committed since, the
    repository is looked at again. Nothing is committed if nothing changed. A commit `own` of the same training run may
    be replaced whatever was measured.

    Raises:
        ArtifactError: The folder is none of ours, or changed meanwhile.
        WorseError: The encoder there measured better, and the target does not say that it may be replaced.
        huggingface_hub.errors.HfHubHTTPError: The Hub refuses.
    """
    config = read_config(folder)
    size = sum(path.stat().st_size for path in folder.iterdir() if is_own(path.name))
    ensure_repository(client, target)
    for again in reversed(range(OTHERS_FIRST)):
        with step():
            info = client.model_info(target.repo_id, revision=target.revision)
        present = {sibling.rfilename for sibling in info.siblings or ()}
        on_main = target.revision in (None, "main") and not target.create_pr
        if on_main and not target.replace and (own is None or info.sha != own):
            _require_better(client, folder, config, target, info.sha, present)
        operations = _operations(folder, config, target, _text(client, target, info.sha, CARD, present), present)
        try:
            with step(size):
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
        if name in config["files"]:  # which may have been replaced meanwhile
            require_hash(folder / name, operation.upload_info.sha256.hex(), config["files"])
        operations.append(operation)
    stale = sorted(name for name in present if is_own(name) and name not in names)
    return [*operations, *(CommitOperationDelete(path_in_repo=name) for name in stale)]


def _require_better(
    client: HfApi, folder: Path, config: dict[str, Any], target: Target, commit: str | None, present: set[str]
) -> None:
    """Refuse to replace an encoder for the same task that measured better."""
    if not {CONFIG, CERTIFICATE} <= present:
        return
    try:
        texts = [_text(client, target, commit, name, present) or "" for name in (CONFIG, CERTIFICATE)]
        there, certified = (parse_json(text, target.repo_id) for text in texts)
        measured = certified.get("measured")
        old = {name: measured_value(measured, name) for name in COMPARED} if isinstance(measured, dict) else {}
    except (ArtifactError, TypeError, ValueError):
        return  # what cannot be read cannot be better
    measured = read_certificate(folder, config).get("measured") or {}
    new = {name: measured_value(measured, name) for name in COMPARED}
    name = next(
        (name for name in COMPARED if math.isfinite(old.get(name, math.nan)) and math.isfinite(new[name])), None
    )
    if name is None or there.get("targets") != config.get("targets") or new[name] >= old[name]:
        return
    raise WorseError(
        f"Expected an encoder at least as good as the one that {target} holds, which measured {old[name]:.4g} "
        f"({name}), but this one measured {new[name]:.4g}; publish it to another branch (revision), or allow it with "
        "replace=True (push --replace)."
    )


def _text(client: HfApi, target: Target, commit: str | None, name: str, present: set[str]) -> str | None:
    """What a small file of the repository holds; None where there is none."""
    if name not in present:
        return None
    with tempfile.TemporaryDirectory() as scratch, step():
        path = client.hf_hub_download(target.repo_id, name, revision=commit, local_dir=scratch)
        return read_bytes(Path(path), JSON_LIMIT).decode("utf-8", "replace")
