"""What is tried again, and how long is waited."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lightning_invariant.hub.retries import LONGEST_ASKED, LONGEST_WAIT, attempt, in_words, is_transient


class AnswerError(Exception):
    def __init__(self, status: int, **headers: str) -> None:
        super().__init__(f"answer {status}")
        self.response = SimpleNamespace(
            status_code=status, headers={k.replace("_", "-"): v for k, v in headers.items()}
        )


class OfflineModeIsEnabled(ConnectionError):  # noqa: N818  (named as in huggingface_hub)
    pass


def waits(*failures: Exception, attempts: int = 9) -> list[float]:
    """Seconds slept before it worked."""
    coming, slept = list(failures), []

    def action() -> str:
        if coming:
            raise coming.pop(0)
        return "done"

    assert attempt(action, attempts=attempts, sleep=slept.append) == "done"
    return slept


def test_waits_double_up_to_a_minute() -> None:
    assert waits(*[AnswerError(500)] * 8) == [1, 2, 4, 8, 16, 32, LONGEST_WAIT, LONGEST_WAIT]


def test_the_hub_is_asked_when_it_says() -> None:
    assert waits(AnswerError(429, Retry_After="17")) == [17]
    assert waits(AnswerError(503, Retry_After="0")) == [0]
    assert waits(AnswerError(429, RateLimit='"api";r=0;t=55')) == [55]
    assert waits(AnswerError(429, Retry_After="999999")) == [LONGEST_ASKED]
    assert waits(AnswerError(429, Retry_After="soon")) == [1]
    assert waits(AnswerError(500, Retry_After="17")) == [1]


@pytest.mark.parametrize("error", [AnswerError(401), AnswerError(403), AnswerError(404), ValueError("no"), TypeError()])
def test_what_would_be_the_same_again_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(type(error)):
        waits(error)


@pytest.mark.parametrize("error", [ConnectionError("x"), TimeoutError(), AnswerError(412), AnswerError(502)])
def test_what_may_work_later_is_tried_again(error: Exception) -> None:
    assert waits(error) == [1]
    with pytest.raises(type(error)):
        waits(error, error, attempts=2)


def test_offline_mode_is_not_waited_for() -> None:
    assert not is_transient(OfflineModeIsEnabled())
    assert "HF_HUB_OFFLINE" in in_words(OfflineModeIsEnabled())


def test_a_client_that_broke_off_is_transient_whatever_its_transport() -> None:
    httpx2 = pytest.importorskip("httpx2")
    assert is_transient(httpx2.ConnectError("no route"))
    assert is_transient(httpx2.ReadTimeout("slow"))
    assert "cannot be reached" in in_words(httpx2.ConnectError("no route"))
