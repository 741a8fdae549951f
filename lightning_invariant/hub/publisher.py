"""Uploads beside a training: a thread that starts one delivery process at a time and listens to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.hub.delivery import Outcome
from lightning_invariant.hub.delivery import __name__ as _DELIVERY

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_invariant.hub.queue import Queue

_OF_THE_TRAINING = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK")


class Publisher:
    """Has what a queue holds for one repository uploaded, and never makes anybody wait but in `finish`.

    The work is done by a process of its own, which has neither the author's classes nor Lightning: it loads each export
    afresh, compares it with the live network, and shares neither locks, memory nor devices with the training. If the
    training is killed, it ends what it began.

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
                self._thread = threading.Thread(target=self._work, name="lightning-invariant publisher", daemon=True)
                self._thread.start()

    def news(self) -> tuple[list[Outcome], list[str]]:
        """What became of entries since the last call, and what went wrong with the process itself."""
        with self._lock:
            outcomes, self._outcomes = self._outcomes, []
            troubles, self._troubles = self._troubles, []
        return outcomes, troubles

    def finish(self, timeout: float, say: Callable[[str], None] = lambda text: None) -> bool:
        """Wait until nothing is under way, then leave.

        Args:
            timeout: Seconds to wait at most.
            say: Told now and then that it still runs.

        Returns:
            Whether it ended in time; otherwise the process goes on by itself, and what it cannot upload stays in the
            queue.
        """
        ends, step = time.monotonic() + timeout, 10.0
        while not self._idle.wait(max(0.0, min(step, ends - time.monotonic()))):
            left = ends - time.monotonic()
            if left <= 0:
                break
            say(f"still uploading to {self.repo_id}; waiting for up to {left:.0f} s more")
            step = min(2 * step, 60.0)
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
        command = [sys.executable, "-m", _DELIVERY, str(self.queue.folder), self.repo_id]
        with self._lock:
            if self._stopping:
                return
            self.process = process = subprocess.Popen(
                command,
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
