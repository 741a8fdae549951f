"""A few crafted artefacts of every kind, and that the judge sees each failure that it is there to see."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_invariant.errors import ArtifactError

judge = pytest.importorskip("benchmarks.mutations.judge", reason="needs fork and /proc")
mutations = pytest.importorskip("benchmarks.resilience_mutations")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")


def test_a_few_of_every_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutations, "QUICK", 24)
    threads = torch.get_num_threads()
    try:
        section = mutations.measure(tmp_path, quick=True)
    finally:
        torch.set_num_threads(threads)
    assert section.holds, section.notes
    assert section.numbers["artefacts"] > 50
    assert section.numbers["refused"] > 30


def test_a_full_run_has_a_thousand() -> None:
    assert sum(kind.count for kind in mutations.KINDS) >= 1000


def runs(folder: Path, **settings: Any) -> Any:
    os.mkdir("ran")


def hides(folder: Path, **settings: Any) -> Any:
    os.system("true")
    raise ArtifactError("Expected")


def hangs(folder: Path, **settings: Any) -> Any:
    while True:
        pass


def sleeps(folder: Path, **settings: Any) -> Any:
    time.sleep(60)


def crashes(folder: Path, **settings: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def fills(folder: Path, **settings: Any) -> Any:
    return bytearray(2**32)


def stumbles(folder: Path, **settings: Any) -> Any:
    raise KeyError("x")


@pytest.mark.parametrize(
    ("load", "outcome"),
    [
        (runs, "executed"),
        (hides, "executed"),
        (hangs, "hung"),
        (sleeps, "hung"),
        (crashes, "crashed"),
        (fills, "memory"),
        (stumbles, "unclear"),
    ],
)
def test_the_judge_sees(load: Any, outcome: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setattr(judge.InvariantEncoder, "from_pretrained", load)
    monkeypatch.setattr(judge, "LIMIT_SECONDS", 1 if load in (hangs, sleeps) else 10)
    monkeypatch.setattr(judge, "PATIENCE", 3)
    context = multiprocessing.get_context("fork")
    assert context is not None
    assert judge.judge(tmp_path / "folder", torch.zeros(1)).outcome == outcome
