"""What is known before a training begins: names, tokens, rights, branches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lightning_invariant.errors import HubError
from lightning_invariant.hub.access import check_access
from lightning_invariant.hub.target import Target
from tests.hub.loopback import Fault, Hub, Repository

if TYPE_CHECKING:
    from pathlib import Path

NAME = "tester/digits"


@pytest.mark.parametrize(
    "repo_id",
    [
        *("digits", "a/b/c", "", "tester/", "/digits", "tester/a b", "tester/-x", "tester/a--b", "tester/a..b"),
        *("t/x.git", "tester/" + "x" * 97, "tester/é", None),
    ],
)
def test_what_is_no_name_of_a_repository(repo_id: str) -> None:
    with pytest.raises(HubError, match="Expected a repository 'user/name' but got"):
        Target(repo_id)


def test_what_cannot_be_committed_to() -> None:
    with pytest.raises(HubError, match="a commit cannot be added to"):
        Target(NAME, "0" * 40)
    with pytest.raises(HubError, match="leave out either create_pr or revision"):
        Target(NAME, "v2", create_pr=True)
    assert Target(NAME, "main", create_pr=True).create_pr


def test_what_may_be_written_is_made_and_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path)
        assert check_access(Target(NAME, "v2", private=True)) is None
        assert hub.repositories[NAME].private
        assert set(hub.repositories[NAME].branches) == {"main", "v2"}
        assert check_access(Target("lab/other")) is None
        before = dict(hub.repositories[NAME].branches)
        assert check_access(Target(NAME, "v2", private=True)) is None
        assert hub.repositories[NAME].branches == before


@pytest.mark.parametrize(
    ("token", "target", "words"),
    [
        ("", Target(NAME), "there is no token: run `hf auth login`"),
        ("hf_unknown", Target(NAME), "does not know this token"),
        ("hf_reader", Target(NAME), "a token with write rights .* of 'tester' may only read"),
        ("hf_stranger", Target("tester/theirs"), "may not write there.*that of 'stranger', who writes to stranger/"),
        ("hf_loopback", Target("stranger/new"), "may not write there.*writes to tester/... or lab/..."),
        ("hf_loopback", Target("tester/theirs", "v1"), "'v1' is a tag"),
        ("hf_loopback", Target("tester/theirs", private=True), "exists and is public"),
    ],
)
def test_what_may_not_be_written_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str, target: Target, words: str
) -> None:
    with Hub() as hub:
        hub.repositories["tester/theirs"] = Repository()
        hub.repositories["tester/theirs"].tags["v1"] = hub.repositories["tester/theirs"].commit({})
        hub.serve(monkeypatch, tmp_path, token)
        with pytest.raises(HubError, match=f"(?s){words}"):
            check_access(target)
        assert set(hub.repositories) == {"tester/theirs"}


def test_a_pull_request_needs_no_right_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        hub.repositories["tester/theirs"] = Repository()
        hub.repositories["tester/theirs"].commit({})
        hub.serve(monkeypatch, tmp_path, "hf_stranger")
        assert check_access(Target("tester/theirs", create_pr=True)) is None


def test_a_hub_that_cannot_answer_is_said_and_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path)
        hub.faults.plan(Fault("whoami", "500"), Fault("refs", "429"))
        assert "500" in str(check_access(Target(NAME)))
        assert "asks to wait" in str(check_access(Target(NAME)))
        assert check_access(Target(NAME)) is None
        hub.faults.plan(Fault("access", "drop"))
        assert "cannot be reached" in str(check_access(Target(NAME)))
    assert "cannot be reached" in str(check_access(Target(NAME)))
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in str(check_access(Target(NAME)))
