"""Uploads beside a training: a thread that starts one process at a time, which empties the queue.

The process has neither the author's classes nor Lightning. It loads each export afresh, compares it with its live
network, and shares neither locks, memory nor devices with the training. If the training is killed, it ends what it
began.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from filelock import Timeout

from lightning_invariant.hub.client import hub_client
from lightning_invariant.hub.commit import WorseError, commit_folder
from lightning_invariant.hub.retries import ATTEMPTS, attempt, in_words, is_transient, status_of
from lightning_invariant.hub.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from lightning_invariant.hub.commit import Commit
    from lightning_invariant.hub.queue import Entry, Queue

State = Literal["published", "superseded", "kept", "refused"]
PROCESS = "lightning_invariant.encoder.publish"
"""The module that the process runs, which knows how to load an encoder."""
_OF_THE_TRAINING = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK")


@dataclass(frozen=True)
class Outcome:
    """What became of an entry.

    Args:
        state: "published"; "superseded" by a newer export of its run; "kept" in the queue because the Hub could not
            take it; "refused" because it must not be uploaded, and kept too.
        repo_id: Where it was to go.
        entry: Its folder.
        url: Of the commit or pull request, if it was published.
        trouble: Why it was not, or not where it was to go, in words.
    """

    state: State
    repo_id: str
    entry: str
    url: str = ""
    trouble: str = ""


def empty_queue(
    queue: Queue,
    check: Callable[[Path, Path], None],
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
        check: Raises if an export must not be uploaded, given the file with its live features and its folder.
        only: A repository, "user/name"; None for all.
        attempts: How often each is tried.
        wait_for_others: Seconds to wait for another process that uploads to the same repository.
        sleep: Waits some seconds.
        say: Told of what takes long.
    """

    def upload(entry: Entry) -> tuple[Commit, str]:
        return attempt(partial(_commit, queue, entry), attempts=attempts, sleep=sleep, say=say)

    for repo_id in dict.fromkeys(entry.target.repo_id for entry in queue.entries()):
        if only not in (None, repo_id):
            continue
        try:
            with queue.lock(Target(repo_id)).acquire(timeout=wait_for_others):
                yield from _to_one(queue, repo_id, check, upload, say)
        except Timeout:
            yield Outcome("kept", repo_id, "", trouble="another process is uploading to it")


def _to_one(
    queue: Queue,
    repo_id: str,
    check: Callable[[Path, Path], None],
    upload: Callable[[Entry], tuple[Commit, str]],
    say: Callable[[str], None],
) -> Iterator[Outcome]:
    tried: set[str] = set()

    def untried(entries: list[Entry]) -> list[Entry]:
        return [e for e in entries if e.target.repo_id == repo_id and e.folder.name not in tried]

    while waiting := untried(queue.entries()):
        entry = untried(queue.same_run(waiting[0]))[-1]
        tried.add(entry.folder.name)
        if entry.parity.is_file():
            say(f"comparing {entry.encoder} with the live network")
            try:
                check(entry.parity, entry.encoder)
            except Exception as error:  # whatever it is, the export cannot be trusted
                queue.note(entry, trouble := in_words(error), refused=True)
                yield Outcome("refused", repo_id, str(entry.folder), trouble=trouble)
                continue
        for older in queue.same_run(entry):
            if older.folder.name < entry.folder.name and not older.refused:
                queue.remove(older)
                yield Outcome("superseded", repo_id, str(older.folder))
        say(f"uploading to {entry.target}")
        try:
            done, trouble = upload(entry)
        except Exception as error:  # the client's errors have several bases
            queue.note(entry, trouble := in_words(error))
            yield Outcome("kept", repo_id, str(entry.folder), trouble=trouble)
            if is_transient(error) or status_of(error) in (401, 403):
                return
        else:
            queue.remove(entry)
            yield Outcome("published", repo_id, str(entry.folder), url=done.url, trouble=trouble)


def _commit(queue: Queue, entry: Entry) -> tuple[Commit, str]:
    """One commit; an encoder that measured worse than the published one goes to a branch of its run."""
    target, remembered, trouble = entry.target, queue.remembered(entry.run), ""
    if target.create_pr and (pull := remembered.get("pull")):
        target = Target(target.repo_id, pull)
    publish = partial(commit_folder, hub_client(), entry.encoder, message=entry.message, own=remembered.get("commit"))
    try:
        done = publish(target)
    except WorseError as error:
        branch = f"run-{entry.run[:8]}"
        done = publish(replace(target, revision=branch, replace=True))
        trouble = f"{error} It stands on the branch {branch!r}"
    queue.remember(entry.run, remembered | {"commit": done.oid} | ({"pull": done.pull} if done.pull else {}))
    return done, trouble


class Worker:
    """Has what a queue holds for one repository uploaded, and never makes anybody wait but in `finish`.

    Args:
        queue: Where exports are.
        repo_id: "user/name".
    """

    def __init__(self, queue: Queue, repo_id: str) -> None:
        self.queue, self.repo_id = queue, repo_id
        self._wanted, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._stopping = False
        self._outcomes: list[Outcome] = []
        self._troubles: list[str] = []
        self._lock = threading.Lock()
        self.process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Have the queue looked at; returns at once."""
        with self._lock:
            self._idle.clear()
            self._wanted.set()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="lightning-invariant worker", daemon=True)
                self._thread.start()

    def news(self) -> tuple[list[Outcome], list[str]]:
        """Return what became of entries since the last call, and what went wrong with the process itself."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
            troubles, self._troubles = self._troubles, []
        return outcomes, troubles

    def finish(self, timeout: float, say: Callable[[str], None] = lambda text: None) -> bool:
        """Wait for some seconds at most until nothing is under way, then leave; return whether it ended.

        Otherwise the process goes on by itself, and what it cannot upload stays in the queue.
        """
        ends, pause = time.monotonic() + timeout, 10.0
        while not self._idle.wait(max(0.0, min(pause, ends - time.monotonic()))):
            left = ends - time.monotonic()
            if left <= 0:
                break
            say(f"still uploading to {self.repo_id}; waiting for up to {left:.0f} s more")
            pause = min(2 * pause, 60.0)
        ended = self._idle.is_set()
        self.leave()
        return ended

    def leave(self) -> None:
        """Start nothing more; a process that is under way ends what it began."""
        with self._lock:
            self._stopping = True
            self._wanted.set()

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            with self._lock:
                self._wanted.clear()
                if self._stopping:
                    return
            try:
                self._run()
            except Exception as error:  # nothing may end the thread, which `finish` waits for
                self._tell(f"{type(error).__name__}: {error}")
            with self._lock:
                if not self._wanted.is_set():
                    self._idle.set()

    def _run(self) -> None:
        with self._lock:
            if self._stopping:
                return
            self.process = process = subprocess.Popen(
                [sys.executable, "-m", PROCESS, str(self.queue.folder), self.repo_id],
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,  # Ctrl-C is for the training, which then stops us in order
            )
        said, complaints = process.communicate()
        for line in filter(lambda line: line.startswith("{"), said.splitlines()):
            outcome = Outcome(**json.loads(line))
            with self._lock:
                self._outcomes.append(outcome)
        if process.returncode not in (0, 1) and not self._stopping:
            self._tell(f"the uploading process ended with status {process.returncode}: {complaints.strip()[-500:]}")

    def _tell(self, trouble: str) -> None:
        with self._lock:
            self._troubles.append(trouble)


def _environment() -> dict[str, str]:
    """That of this process, without its place among others, its devices and its threads."""
    package = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if name not in _OF_THE_TRAINING}
    paths = [package, *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "CUDA_VISIBLE_DEVICES": "",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
