"""A Hub that answers with paths where names belong cannot make the genuine client write outside its cache."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lightning_invariant import InvariantEncoder
from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub import client as answers
from tests.hub.loopback import Handler, Hub
from tests.hub.small_encoder import images
from tests.hub.test_transport import NAME, live, publish

if TYPE_CHECKING:
    from pathlib import Path

UP = "../../../victim"


def spoof(monkeypatch: pytest.MonkeyPatch, header: str, value: str, old: bytes = b"", new: bytes = b"") -> None:
    """Let the Hub answer with another header, where it has it, and another body."""
    send = Handler._send

    def spoofed(self: Handler, status: int, answer: Any, kind: str = "") -> None:
        headers = {k: value if k == header else v for k, v in answer.headers.items()}
        body = answer.body.replace(old, new) if old and self.path.startswith("/api/models") else answer.body
        send(self, status, dataclasses.replace(answer, headers=headers, body=body), kind)

    monkeypatch.setattr(Handler, "_send", spoofed)


@pytest.mark.parametrize(
    ("header", "value", "old", "new"),
    [
        ("ETag", f'"{UP}/evil.py"', "", ""),
        ("ETag", '"{home}/victim/evil.py"', "", ""),
        ("X-Linked-Etag", f'"{UP}/evil.py"', "", ""),
        ("X-Repo-Commit", UP, "", ""),
        ("", "", '"oid": "', f'"oid": "{UP}/'),
        ("", "", '"path": "graph', f'"path": "{UP}/graph'),
    ],
)
def test_names_that_leave_the_cache_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, header: str, value: str, old: str, new: str
) -> None:
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        spoof(monkeypatch, header, value.format(home=tmp_path), old.encode(), new.encode())
        before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        with pytest.raises(ArtifactError, match="Expected a Hub that names files plainly"):
            InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")
        assert {path for path in tmp_path.rglob("*") if "cache" not in path.parts} == before
        assert not (tmp_path / "cache" / UP).exists()


def test_without_the_guard_the_client_writes_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails, the client looks at names itself, and the guard can go."""
    monkeypatch.setattr(answers, "_require", lambda *arguments: None)
    (tmp_path / "victim").mkdir()
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        spoof(monkeypatch, "ETag", f'"{tmp_path}/victim/evil.py"')
        with suppress(ArtifactError):  # all files became one
            InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")
    assert (tmp_path / "victim" / "evil.py").exists()


def test_plain_answers_pass_and_the_guard_stands_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import get_session

    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        encoder, _ = (InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache") for _ in range(2))
        with torch.no_grad():
            assert torch.equal(encoder(images(5)), live())
    assert get_session().event_hooks["response"].count(answers.check_answer) == 1


def test_an_endless_listing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setattr(answers, "LISTING_LIMIT", 100)
        with pytest.raises(ArtifactError, match="lists files in at most 100 bytes"):
            InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")
        monkeypatch.setattr(answers, "LISTING_LIMIT", 10_000)
        InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")
