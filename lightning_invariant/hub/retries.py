"""Trying again: what the Hub refuses stays refused, what it cannot do now it may do later."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")
ATTEMPTS = 8
"""With doubling waits, about two minutes."""
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt, and at most before any."""
LONGEST_ASKED = 3600.0
"""Longest wait in seconds that a Hub may ask for and get; its limit counts commits of an hour."""
REFUSED = frozenset({400, 401, 403, 404, 405, 409, 410, 413, 422, 451})
"""Answers that are the same the next time."""


def attempt(
    action: Callable[[], Result],
    *,
    attempts: int = ATTEMPTS,
    sleep: Callable[[float], None] = time.sleep,
    say: Callable[[str], None] = lambda text: None,
) -> Result:
    """Call until it works, waiting longer each time or as long as the Hub asks; raise what would be the same again."""
    for number in range(attempts):
        try:
            return action()
        except Exception as error:
            if number + 1 == attempts or not is_transient(error):
                raise
            wait = waiting_time(error, number)
            say(f"{in_words(error)}; trying again in {wait:.0f} s")
            sleep(wait)
    raise ValueError(f"Expected at least 1 attempt but got {attempts}.")


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an error carries."""
    return getattr(getattr(error, "response", None), "status_code", None)


def is_transient(error: BaseException) -> bool:
    """Whether the same request may work later."""
    if (status := status_of(error)) is not None:
        return status not in REFUSED
    return is_unreachable(error) and type(error).__name__ != "OfflineModeIsEnabled"


def is_unreachable(error: BaseException) -> bool:
    """Whether no answer came at all: no network, no server, a connection that broke, offline mode."""
    # The client's transport changed twice in a year, so its classes are known by where they come from.
    module = type(error).__module__.split(".")[0]
    return status_of(error) is None and (
        isinstance(error, (ConnectionError, TimeoutError)) or module in ("httpx", "httpx2", "httpcore", "requests")
    )


def waiting_time(error: BaseException, number: int) -> float:
    """Seconds to wait after a failure, numbered from 0; its Retry-After or rate-limit header is kept to."""
    headers = getattr(getattr(error, "response", None), "headers", {})
    asked = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*", headers.get("Retry-After", "") or "")
    reset = re.search(r";\s*t\s*=\s*(\d+)", headers.get("RateLimit", "") or "")
    seconds = [float(found[1]) for found in (asked, reset) if found]
    if seconds and status_of(error) in (429, 503):
        return min(max(seconds), LONGEST_ASKED)
    return min(FIRST_WAIT * 2**number, LONGEST_WAIT)


def in_words(error: BaseException) -> str:
    """One line that a user can act on."""
    status, name = status_of(error), type(error).__name__
    if status == 401:
        return "the Hub does not know this token (401): run `hf auth login`, or set HF_TOKEN"
    if status == 403:
        return "the token may not write there (403): use one with write rights for this repository"
    if status == 429:
        return "the Hub asks to wait (429): too many requests, or more than 128 commits in an hour"
    if name == "OfflineModeIsEnabled":
        return "HF_HUB_OFFLINE is set, so nothing is sent"
    if name == "LocalTokenNotFoundError":
        return "there is no token: run `hf auth login`, or set HF_TOKEN"
    text = " ".join(str(error).split())[:300]
    if is_unreachable(error):
        return f"the Hub cannot be reached ({name}: {text})"
    return f"{name}: {text}"
