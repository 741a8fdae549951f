"""What a Hub answers becomes names of files in the cache of its client: names that would leave it are refused before.

The client (huggingface_hub 2.4 and before) joins commit hashes and ETags to paths as they come, so that a Hub, or
whatever HF_ENDPOINT names, could write anywhere. Each answer is looked at before the client makes a path of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.pace import refuse_expired, see_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LISTING_LIMIT = 64 * 2**20
"""Longest listing of a repository's files that is read, in bytes."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,199}")
_PATH = re.compile(r"(?!.*(^|/)\.{0,2}(/|$))[^\\\0]{1,1000}", re.DOTALL)
_HEADERS = {"x-repo-commit": _NAME, "x-linked-etag": _NAME, "x-xet-hash": _NAME}
_ENTRIES = {"oid": _NAME, "xetHash": _NAME, "path": _PATH, "rfilename": _PATH}


def guard_client() -> None:
    """Let every answer that the client of this process gets pass `check_answer`, whoever asks."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import _http

    factory = getattr(_http, "_GLOBAL_CLIENT_FACTORY", _http.default_client_factory)
    if not isinstance(factory, _Guarded):
        set_client_factory(_Guarded(factory))


def check_answer(response: Any) -> None:
    """Refuse an answer whose commit, ETags or paths are no plain names.

    Args:
        response: Of httpx, not read yet.

    Raises:
        ArtifactError: With the first such name.
    """
    wanted = _HEADERS | ({"etag": _NAME} if response.request.method == "HEAD" else {})
    for header, pattern in wanted.items():
        if header in response.headers:
            value = response.headers[header].strip().removeprefix("W/").strip('"')
            _require(value, pattern, header)
    if response.request.method == "GET" and response.url.path.startswith("/api/models/") and response.is_success:
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
    """Read a listing, which the client would do without a bound."""
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


class _Guarded:
    """Makes clients as another factory does, with a look at their answers, and at how long those take."""

    def __init__(self, factory: Callable[[], Any]) -> None:
        self.factory = factory

    def __call__(self) -> Any:
        client = self.factory()
        hooks = client.event_hooks
        client.event_hooks = {
            **hooks,
            "request": [*hooks.get("request", []), refuse_expired],
            "response": [*hooks.get("response", []), see_answer, check_answer],
        }
        return client


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
