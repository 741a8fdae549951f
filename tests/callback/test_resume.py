"""Killed and resumed: numbers go on at the right step, checkpoints hold nothing of ours, weights are those without."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from lightning_invariant import InvariantCallback
from tests.callback.loops import REPRESENTATION, Classifier, fit, loaders, trainer

ROOT = Path(__file__).parents[2]
TIMED = {"invariance_details/seconds", "invariance/overhead"}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def start(folder: Path, state: str, watched: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tests.callback.killed", str(folder), state, watched]
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)


def steps(folder: Path, state: str) -> dict[int, float]:
    with (folder / "log" / state / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["invariance/knn"]) for row in csv.DictReader(file) if row["invariance/knn"]}


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path):
    folders = {watched: tmp_path / watched for watched in ("yes", "no")}
    for folder in folders.values():
        folder.mkdir()
    for state, expected in (("killed", -signal.SIGKILL), ("resumed", 0)):
        both = [start(folder, state, watched) for watched, folder in folders.items()]
        said = [process.communicate(timeout=300)[1].decode() for process in both]
        assert [process.returncode for process in both] == [expected] * 2, said
        assert all((folder / "weights.json").exists() == (state == "resumed") for folder in folders.values())
    weights = [json.loads((folder / "weights.json").read_text()) for folder in folders.values()]
    assert weights[0] == weights[1]
    # Six steps an epoch; validation comes after the last of them, and is logged with the step that was done.
    assert set(steps(folders["yes"], "killed")) <= {5, 11, 17}
    assert set(steps(folders["yes"], "resumed")) == {23, 29, 35}
    assert all(value > 0 for value in steps(folders["yes"], "resumed").values())
    checkpoint = torch.load(folders["yes"] / "last.ckpt", weights_only=True)
    bare = torch.load(folders["no"] / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == bare["state_dict"].keys()


@pytest.mark.parametrize("watched", [False, True], ids=["without the callback", "with it"])
def test_a_checkpoint_of_a_watched_training_loads(tmp_path, watched):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    _, first = fit([seen], tmp_path, max_epochs=1)
    first.save_checkpoint(tmp_path / "kept.ckpt")
    other = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    again = trainer([other] if watched else [], tmp_path, max_epochs=2)
    pl.seed_everything(0, verbose=False)
    again.fit(Classifier(), *loaders(), ckpt_path=tmp_path / "kept.ckpt")
    assert again.global_step == 12
    assert not watched or other.report.step == 12


def test_validating_a_checkpoint_gives_the_numbers_of_the_training(tmp_path):
    in_fit, alone = (InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None) for _ in range(2))
    _, run = fit([in_fit], tmp_path)
    run.save_checkpoint(tmp_path / "kept.ckpt")
    again = trainer([alone], tmp_path)
    again.validate(Classifier(), loaders()[1], ckpt_path=tmp_path / "kept.ckpt", verbose=False)
    expected = {name: value for name, value in in_fit.report.scalars.items() if name not in TIMED}
    assert "invariance/knn" in expected
    assert {name: alone.report.scalars[name] for name in expected} == expected


def test_one_callback_serves_several_trainings(tmp_path):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    first, again = (
        {name: float(value) for name, value in fit([seen], tmp_path)[1].callback_metrics.items() if name not in TIMED}
        for _ in range(2)
    )
    assert "invariance/knn_raw" in first
    assert first == again
