"""Empties a queue: each entry is loaded in this process, compared with its live network, and uploaded.

Run as `python -m lightning_invariant.hub.delivery QUEUE REPOSITORY` beside a training: prints one JSON object a line.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TextIO

from filelock import Timeout

from lightning_invariant.hub.access import hub_client
from lightning_invariant.hub.attempts import ATTEMPTS, attempt, in_words, is_transient, status_of
from lightning_invariant.hub.commit import commit_folder
from lightning_invariant.hub.proof import check_proof
from lightning_invariant.hub.queue import Entry, Queue
from lightning_invariant.hub.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning_invariant.hub.commit import Commit

State = Literal["published", "superseded", "kept", "refused"]


@dataclass(frozen=True)
class Outcome:
    """What became of an entry.

    Args:
        state: "published"; "superseded" by a newer export of its run; "kept" in the queue because the Hub could not
            take it; "refused" because it must not be uploaded, and kept too.
        repo_id: Where it was to go.
        entry: Its folder.
        url: Of the commit or pull request, if it was published.
        trouble: Why it was not, in words.
    """

    state: State
    repo_id: str
    entry: str
    url: str = ""
    trouble: str = ""


def deliver(
    queue: Queue,
    *,
    only: str | None = None,
    attempts: int = ATTEMPTS,
    wait_for_others: float = 0,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Outcome]:
    """Upload what is in a queue, the oldest entry first; what cannot be uploaded stays.

    Of the exports of one run to one place the newest that loads to the live network's features is uploaded. An entry
    that the Hub cannot take does not hold up those for other repositories.

    Args:
        queue: The queue.
        only: A repository, "user/name"; None for all.
        attempts: How often each is tried.
        wait_for_others: Seconds to wait for another process that uploads to the same repository.
        sleep: Waits some seconds.
        say: Told of what takes long.
    """
    repositories = dict.fromkeys(entry.target.repo_id for entry in queue.entries())
    for repo_id in repositories:
        if only not in (None, repo_id):
            continue
        try:
            with queue.lock(Target(repo_id)).acquire(timeout=wait_for_others):
                yield from _to_one(queue, repo_id, attempts, sleep, say)
        except Timeout:
            yield Outcome("kept", repo_id, "", trouble="another process is uploading to it")


def _to_one(
    queue: Queue, repo_id: str, attempts: int, sleep: Callable[[float], None], say: Callable[[str], None]
) -> Iterator[Outcome]:
    tried: set[str] = set()

    def untried(entries: list[Entry]) -> list[Entry]:
        return [e for e in entries if e.target.repo_id == repo_id and e.folder.name not in tried]

    while waiting := untried(queue.entries()):
        entry = untried(queue.same_run(waiting[0]))[-1]
        tried.add(entry.folder.name)
        if trouble := _refusal(entry, say):
            queue.note(entry, trouble, refused=True)
            yield Outcome("refused", repo_id, str(entry.folder), trouble=trouble)
            continue
        for older in queue.same_run(entry):
            if older.folder.name < entry.folder.name and not older.refused:
                queue.remove(older)
                yield Outcome("superseded", repo_id, str(older.folder))
        say(f"uploading to {entry.target}")
        try:
            done = attempt(partial(_commit, queue, entry), attempts=attempts, sleep=sleep, say=say)
        except Exception as error:  # the client's errors have several bases
            queue.note(entry, trouble := in_words(error))
            yield Outcome("kept", repo_id, str(entry.folder), trouble=trouble)
            if is_transient(error) or status_of(error) in (401, 403):
                return
        else:
            queue.remove(entry)
            yield Outcome("published", repo_id, str(entry.folder), url=done.url)


def _refusal(entry: Entry, say: Callable[[str], None]) -> str:
    """Why an export must not be uploaded; "" if it loads to the features of its live network."""
    if not entry.proof.is_file():
        return ""
    say(f"comparing {entry.encoder} with the live network")
    try:
        check_proof(entry.proof, entry.encoder)
    except Exception as error:  # whatever it is, the export cannot be trusted
        return in_words(error)
    return ""


def _commit(queue: Queue, entry: Entry) -> Commit:
    target = entry.target
    if target.create_pr and (pull := queue.pull_of(entry.run)):
        target = Target(target.repo_id, pull)
    done = commit_folder(hub_client(), entry.encoder, target, message=entry.message)
    if done.pull is not None:
        queue.remember_pull(entry.run, done.pull)
    return done


def main(folder: str, repo_id: str) -> int:
    """Deliver what goes to one repository; the exit status is 0 if nothing of it stays in the queue."""
    queue = Queue(folder)
    for outcome in deliver(queue, only=repo_id, wait_for_others=ATTEMPTS * 60, say=partial(_print, sys.stderr)):
        _print(sys.stdout, json.dumps(asdict(outcome)))
    return int(any(entry.target.repo_id == repo_id for entry in queue.entries()))


def _print(stream: TextIO, text: str) -> None:
    with suppress(OSError):  # the training that listened may be gone: that is no reason to stop
        print(text, file=stream, flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
