"""The report on resilience: its verdict follows what was found."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest


@pytest.fixture
def resilience(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    return importlib.import_module("benchmarks.resilience")


@pytest.mark.parametrize("holds", [True, False])
def test_the_exit_status_says_whether_all_holds(resilience, monkeypatch, tmp_path: Path, capsys, holds: bool) -> None:
    from benchmarks.tables import Section

    section = Section("Title", ["a"], [[1]], ["note"], {"a": 1}, holds=holds)
    monkeypatch.setattr(resilience, "_measure", lambda name, *, quick: section)
    path = tmp_path / "numbers.json"
    assert resilience.main(["--quick", "--json", str(path)]) == int(not holds)
    assert json.loads(path.read_text())["kills"] == {"a": 1}
    assert ("This does not hold" in capsys.readouterr().out) == (not holds)


def test_every_section_can_be_measured(resilience) -> None:
    for module in resilience.SECTIONS.values():
        assert callable(importlib.import_module(module).measure)


def test_a_cache_that_is_half_written_is_seen(resilience, tmp_path: Path) -> None:
    faults = importlib.import_module("benchmarks.resilience_faults")
    blob = tmp_path / "blobs" / "ce013625030ba8dba906f756967f9e9ca394464a"
    snapshot = tmp_path / "snapshots" / "commit" / "file"
    for path in (blob, snapshot):
        path.parent.mkdir(parents=True, exist_ok=True)
    snapshot.symlink_to(blob)
    blob.write_bytes(b"hello\n")
    assert faults._is_whole(tmp_path)
    blob.write_bytes(b"hel")
    assert not faults._is_whole(tmp_path)


@pytest.mark.slow
def test_one_training_beside_each_of_some_faults(resilience, tmp_path: Path) -> None:
    faults = importlib.import_module("benchmarks.resilience_faults")
    with faults._hub(tmp_path) as hub:
        for step, kind in [("commit", "drop after"), ("store", "cut"), ("whoami", "401")]:
            found = faults._upload(hub, tmp_path / "upload", faults.Fault(step, kind, 1000))
            assert found["well"], (step, kind)
            assert found["happened"]


def test_what_is_killed_is_whole_where_nobody_kills_it(resilience, tmp_path: Path) -> None:
    from lightning_invariant.hub.queue import Queue

    kills = importlib.import_module("benchmarks.resilience_kills")
    kills._add(tmp_path / "queue", 0)
    (entry,) = Queue(tmp_path / "queue").entries()
    assert kills._is_proved(entry.parity, entry.encoder)
    kills._export(tmp_path / "other", 1)
    assert not kills._is_proved(entry.parity, tmp_path / "other")
