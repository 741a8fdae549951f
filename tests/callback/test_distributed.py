"""Two gloo processes: the same numbers on both, untouched weights, no hang."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch import distributed

from lightning_invariant.callback.names import METRICS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not distributed.is_available(), reason="this build of torch has no torch.distributed")


def run(folder: Path, watched: str) -> list[dict]:
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.callback.two_processes", str(folder), watched]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


def test_two_processes_log_the_same_and_train_as_without(tmp_path):
    watched, bare = run(tmp_path / "watched", "yes"), run(tmp_path / "bare", "no")
    logged = [{name: rank["logged"][name] for name in METRICS} for rank in watched]
    assert logged[0] == logged[1]
    assert all(math.isfinite(value) for value in logged[0].values())
    assert logged[0]["invariant/error"] < 1e-5 < logged[0]["raw/error"]
    assert logged[0]["invariant/problems"] == 0
    assert [rank["weights"] for rank in watched] == [rank["weights"] for rank in bare]
    assert (tmp_path / "watched" / "hub" / "config.json").is_file()
