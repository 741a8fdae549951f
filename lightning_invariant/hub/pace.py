"""Gives up on a Hub that keeps connections open but sends next to nothing.

Timeouts of the Hub's client are those of single reads: one byte every few seconds, in a body, a header or the framing
of chunks, satisfies them for ever. Here a thread looks at how much arrived in each window of time, and closes the
client's connections where that is too little, so that whoever waits for them wakes up.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import HubError

if TYPE_CHECKING:
    from collections.abc import Iterator

WINDOW = 120.0
"""Seconds that are looked at together."""
LEAST_BYTES = 60_000
"""What a Hub must send in a window, where it takes that long."""
RATE_LIMITED = 300.0
"""Seconds for which the Hub may tell its client to wait, which are none of its slowness."""
_WATCHES: list[_Watch] = []


class SlowHubError(HubError):
    """A Hub that was given up."""


@contextmanager
def paced() -> Iterator[type[Any]]:
    """A context for calls of the Hub's client, `answers.guard_client` having been called.

    Yields:
        Class of progress bars for `snapshot_download`, which also sees what does not come by HTTP.

    Raises:
        SlowHubError: Less than `LEAST_BYTES` arrived within `WINDOW` seconds; the client's connections were closed.
    """
    watch = _Watch()
    thread = threading.Thread(target=watch.run, daemon=True)
    _WATCHES.append(watch)
    thread.start()
    try:
        yield watch.bar()
    except Exception as error:
        if not watch.expired:
            raise
        raise SlowHubError(
            f"Expected a Hub that sends at least {LEAST_BYTES} bytes in {WINDOW:.0f} s but got fewer, so it was given "
            "up; check HF_ENDPOINT, or try again later: files that are complete were kept."
        ) from error
    finally:
        watch.done.set()
        _WATCHES.remove(watch)


def refuse_expired(request: Any) -> None:
    """Before a request: a client that tries again after its connections were closed must not start anew.

    Raises:
        SlowHubError: Everybody who waits for the Hub in this process gave it up.
    """
    if _WATCHES and all(watch.expired for watch in _WATCHES):
        raise SlowHubError("Expected a Hub that sends something but it was given up.")


def see_answer(response: Any) -> None:
    """After the headers of an answer, of which the body is still to come."""
    for watch in _WATCHES:
        watch.responses.append(response)
        if response.status_code == 429:
            watch.begin = time.monotonic() + RATE_LIMITED


class _Watch:
    """Counts what arrives."""

    def __init__(self) -> None:
        self.responses: list[Any] = []
        self.other, self.expired = 0.0, False
        self.begin, self.done = time.monotonic(), threading.Event()

    def run(self) -> None:
        """Until the download is done, or given up."""
        before = 0.0
        while not self.done.wait(WINDOW / 60):
            if time.monotonic() - self.begin < WINDOW:
                continue
            arrived = self.other + sum(response.num_bytes_downloaded for response in self.responses)
            if arrived - before < LEAST_BYTES:
                self.expired = True
                _close()
                return
            before, self.begin = arrived, time.monotonic()

    def bar(self) -> type[Any]:
        """The client's progress bar, which counts for this watch."""
        from huggingface_hub.utils import tqdm

        watch = self

        class Counted(tqdm):
            def update(self, n: float | None = 1) -> bool | None:
                watch.other += n or 0
                return super().update(n)

        return Counted


def _close() -> None:
    from huggingface_hub import close_session

    close_session()
    with suppress(ImportError):  # the other way that files come, where it is installed
        from huggingface_hub.utils._xet import abort_xet_session

        abort_xet_session()
