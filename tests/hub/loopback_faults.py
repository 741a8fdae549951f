"""Faults of the loopback Hub, on demand: at a step, of a kind, so many times."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "401", "403", "404", "409", "412", "429", "500", "503", "slow", "drop", "drop after", "cut", "wrong hash", "short"
]
STATUSES: tuple[Kind, ...] = ("401", "403", "404", "409", "412", "429", "500", "503")
CODES = {"401": "", "403": "", "404": "RepoNotFound", "409": "", "412": "", "429": "", "500": "", "503": ""}
CONNECTION: tuple[Kind, ...] = ("slow", "drop", "drop after")
"""Answered late; closed before anything was done; closed after it was done, without an answer."""
CONTENT: tuple[Kind, ...] = ("cut", "wrong hash", "short")
"""Of a download: half of the announced bytes; one flipped byte; half of the bytes, announced as all.
Of an upload, `cut`: closed while the body is read. The other two: the stored object is not what was sent."""


@dataclass
class Fault:
    """What goes wrong.

    Args:
        step: Name of a route, or "" for any.
        kind: What happens instead.
        times: How often; then the step works.
        after: How many requests of the step work before.
        retry_after: Seconds that a 429 or 503 asks the client to wait.
    """

    step: str
    kind: Kind
    times: int = 1
    after: int = 0
    retry_after: float | None = 0


class Faults:
    """Faults that are still to come, and those that happened."""

    def __init__(self) -> None:
        self.happened: list[Fault] = []
        self._planned: list[Fault] = []
        self._lock = threading.Lock()

    def plan(self, *faults: Fault) -> None:
        """Let these happen."""
        with self._lock:
            self._planned += faults

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        with self._lock:
            self._planned.clear()
            self.happened = []

    def next(self, step: str) -> Fault | None:
        """The fault of this request, counted."""
        with self._lock:
            for fault in self._planned:
                if fault.step not in ("", step):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._planned.remove(fault)
                self.happened.append(fault)
                return fault
        return None
