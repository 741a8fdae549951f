"""A Hub that drips is given up after a total time; one that is slow but done in time is waited for."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lightning_invariant import InvariantEncoder
from lightning_invariant.errors import HubError
from lightning_invariant.hub import client
from lightning_invariant.hub.access import check_access
from lightning_invariant.hub.target import Target
from tests.hub.loopback import Handler, Hub
from tests.hub.small_encoder import export, images
from tests.hub.test_transport import NAME, live, publish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DRIP = 0.1
"""Seconds between two bytes, far below the client's timeouts."""


def in_body(handler: Handler, answer: Any, stop: threading.Event) -> None:
    handler.send_response(200)
    for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    for byte in answer.body:
        handler.wfile.write(bytes([byte]))
        if stop.wait(DRIP):
            return


def in_headers(handler: Handler, answer: Any, stop: threading.Event) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Endless: ")
    while not stop.wait(DRIP):
        handler.wfile.write(b"a")


def in_framing(handler: Handler, answer: Any, stop: threading.Event) -> None:
    handler.send_response(200)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"1;")
    while not stop.wait(DRIP):
        handler.wfile.write(b"a")


@pytest.fixture
def dripping(monkeypatch: pytest.MonkeyPatch):
    """Lets answers to some requests drip, until the test is over."""
    stop, send = threading.Event(), Handler._send

    def plan(way: Callable[[Handler, Any, threading.Event], None], method: str, part: str) -> None:
        def dripped(self: Handler, status: int, answer: Any, kind: str = "") -> None:
            if self.command == method and part in self.path:
                self.close_connection = True
                way(self, answer, stop)
            else:
                send(self, status, answer, kind)

        monkeypatch.setattr(Handler, "_send", dripped)

    yield plan
    stop.set()


@pytest.mark.parametrize(
    ("way", "method", "part"),
    [
        (in_body, "GET", "/resolve/"),
        (in_headers, "GET", "/resolve/"),
        (in_headers, "HEAD", "/resolve/"),
        (in_framing, "GET", "/resolve/"),
        (in_body, "POST", "/paths-info/"),
        (in_headers, "POST", "/paths-info/"),
    ],
)
def test_a_hub_that_drips_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dripping: Any, way: Any, method: str, part: str
) -> None:
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(client, "STEP", 1.0)
        monkeypatch.setattr(client, "SLOWEST", 10**9)
        dripping(way, method, part)
        started = time.monotonic()
        with pytest.raises(HubError, match="answers within 1 s but it did not"):
            InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")
        assert time.monotonic() - started < 6
        assert client._STEPS == []
        monkeypatch.undo()  # the Hub sends again, and so does this process ask
        hub.serve(monkeypatch, tmp_path / "home")
        with torch.no_grad():
            assert torch.equal(InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")(images(5)), live())


def test_what_is_slow_but_in_time_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    send = Handler._send

    def slowly(self: Handler, status: int, answer: Any, kind: str = "") -> None:
        time.sleep(0.3 * ("/resolve/" in self.path))
        send(self, status, answer, kind)

    monkeypatch.setattr(Handler, "_send", slowly)
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(client, "STEP", 1.0)
        with torch.no_grad():
            assert torch.equal(InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")(images(5)), live())


def test_waiting_because_the_hub_asks_for_it_is_not_slowness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.hub.loopback import Fault

    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(client, "STEP", 1.0)
        hub.faults.plan(Fault("get", "429", retry_after=2))
        with torch.no_grad():
            assert torch.equal(InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")(images(5)), live())
        assert hub.faults.happened


def test_the_question_before_a_training_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dripping: Any
) -> None:
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(client, "STEP", 1.0)
        dripping(in_body, "GET", "/api/whoami")
        trouble = check_access(Target(NAME))
    assert trouble is not None
    assert "did not" in trouble


@pytest.mark.parametrize(("method", "part"), [("GET", "/api/models/"), ("POST", "/preupload/"), ("POST", "/commit/")])
def test_an_upload_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dripping: Any, method: str, part: str
) -> None:
    encoder = export(tmp_path / "folder")
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(client, "STEP", 1.0)
        monkeypatch.setattr(client, "SLOWEST", 10**9)
        dripping(in_headers, method, part)
        started = time.monotonic()
        with pytest.raises(HubError, match="answers within 1 s but it did not"):
            encoder.push_to_hub(NAME)
        assert time.monotonic() - started < 15
