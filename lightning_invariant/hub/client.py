"""The client of the Hub: what it is told becomes names of files and takes time, and both are bounded.

The client (huggingface_hub 2.4 and before) joins commit hashes and ETags to paths as they come, so that a Hub, or
whatever HF_ENDPOINT names, could write anywhere: each answer is looked at before the client makes a path of it. Its
timeouts are those of single reads, which one byte every few seconds satisfies for ever: every step has a total one.
"""

from __future__ import annotations

import os
import re
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError, HubError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from huggingface_hub import HfApi

STEP = 120.0
"""Seconds that a question to the Hub may take, its retries included."""
SLOWEST = 50_000
"""Bytes a second below which a file is given up."""
RATE_LIMITED = 300.0
"""Seconds for which the Hub may tell its client to wait."""
LISTING_LIMIT = 64 * 2**20
"""Longest listing of a repository's files that is read, in bytes."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")
_PATH = re.compile(r"(?!.*(^|/)\.{0,2}(/|$))[^\\\0]{1,1000}", re.DOTALL)
_HEADERS = {"x-repo-commit": _NAME, "x-linked-etag": _NAME, "x-xet-hash": _NAME}
_ENTRIES = {"oid": _NAME, "xetHash": _NAME, "path": _PATH, "rfilename": _PATH}
_STEPS: list[_Step] = []


class SlowHubError(HubError):
    """A Hub that was given up."""


def hub_client(token: str | bool | None = None) -> HfApi:
    """Return a client of the Hub that HF_ENDPOINT names, with the token of HF_TOKEN or `hf auth login` if None."""
    from huggingface_hub import HfApi, set_client_factory
    from huggingface_hub.utils import _http

    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    if not isinstance(factory, _Guarded):
        set_client_factory(_Guarded(factory))
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token, library_name="lightning-invariant")


@contextmanager
def step(size: int = 0) -> Iterator[None]:
    """Give up with a SlowHubError on what a client does inside, for so many bytes, after a total time."""
    seconds = STEP + size / SLOWEST
    current = _Step(seconds)
    _STEPS.append(current)
    try:
        yield
    except Exception as error:
        if not current.expired:
            raise
        raise SlowHubError(
            f"Expected a Hub that answers within {seconds:.0f} s but it did not, so it was given up; check "
            "HF_ENDPOINT, or try again later: files that are complete were kept."
        ) from error
    finally:
        current.timer.cancel()
        _STEPS.remove(current)


class _Step:
    """Something that waits for the Hub."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.expired = seconds, False
        self.start(seconds)

    def start(self, seconds: float) -> None:
        """Count from now."""
        self.timer = threading.Timer(seconds, self._expire)
        self.timer.daemon = True
        self.timer.start()

    def _expire(self) -> None:
        from huggingface_hub import close_session

        self.expired = True
        close_session()
        try:  # the other way that files come, where it is installed
            from huggingface_hub.utils._xet import abort_xet_session
        except ImportError:
            return
        abort_xet_session()


class _Guarded:
    """Makes clients as another factory does, with a look at their requests and answers."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory

    def __call__(self) -> Any:
        client = self.factory()
        hooks = client.event_hooks
        client.event_hooks = {
            **hooks,
            "request": [*hooks.get("request", []), _refuse_expired],
            "response": [*hooks.get("response", []), check_answer],
        }
        return client


def _refuse_expired(request: Any) -> None:
    """A client that tries again after its connections were closed must not start anew."""
    if _STEPS and all(known.expired for known in _STEPS):
        raise SlowHubError("Expected a Hub that answers but it was given up.")


def check_answer(response: Any) -> None:
    """Refuse an answer of httpx, not read yet, whose commit, ETags or paths are no plain names."""
    if response.status_code == 429:  # the client waits for as long as the Hub asks, which is none of its slowness
        for waiting in _STEPS:
            waiting.timer.cancel()
            waiting.start(waiting.seconds + RATE_LIMITED)
    wanted = _HEADERS | ({"etag": _NAME} if response.request.method == "HEAD" else {})
    for header, pattern in wanted.items():
        if header in response.headers:
            value = response.headers[header].strip().removeprefix("W/").strip('"')
            _require(value, pattern, header)
    if response.url.path.startswith("/api/models/") and response.is_success:
        _read(response)
        try:
            data = response.json()
        except (ValueError, RecursionError):  # the client says what it thinks of that
            return
        if isinstance(data, dict) and data.get("sha") is not None:
            _require(data["sha"], _NAME, "sha")
        for key, value in _names(data):
            _require(value, _ENTRIES[key], key)


def _read(response: Any) -> None:
    """Read an answer, which the client would do without a bound."""
    parts, size = [], 0
    for part in response.iter_bytes():
        parts.append(part)
        size += len(part)
        if size > LISTING_LIMIT:
            raise ArtifactError(
                f"Expected a Hub that lists files in at most {LISTING_LIMIT} bytes but it sends more; it is refused. "
                "Check HF_ENDPOINT."
            )
    response._content = b"".join(parts)


def _names(data: Any) -> Iterator[tuple[str, Any]]:
    """Names of a listing of files: a list of entries, or the "siblings" of a repository."""
    entries = data.get("siblings") if isinstance(data, dict) else data
    for entry in entries if isinstance(entries, list) else ():
        for part in (entry, entry.get("lfs")) if isinstance(entry, dict) else ():
            if isinstance(part, dict):
                yield from ((key, part[key]) for key in _ENTRIES if part.get(key) is not None)


def _require(value: Any, pattern: re.Pattern[str], what: str) -> None:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ArtifactError(
            f"Expected a Hub that names files plainly but its {what} is {ascii(value)[:100]}, which could leave the "
            "cache; nothing of it is downloaded. Check HF_ENDPOINT."
        )
