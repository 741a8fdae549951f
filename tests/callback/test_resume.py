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
from lightning_invariant.callback.names import ERRORS, SCORES
from tests.callback.loops import REPRESENTATION, Classifier, fit, loaders, trainer

ROOT = Path(__file__).parents[2]


def run(folder: Path, state: str, watched: str) -> int:
    command = [sys.executable, "-m", "tests.callback.killed", str(folder), state, watched]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=False, timeout=300).returncode


def steps(folder: Path, state: str) -> dict[int, float]:
    with (folder / "log" / state / "metrics.csv").open() as file:
        return {int(row["step"]): float(row["invariant/knn"]) for row in csv.DictReader(file) if row["invariant/knn"]}


def test_a_killed_training_goes_on_from_its_checkpoint(tmp_path):
    folders = {watched: tmp_path / watched for watched in ("yes", "no")}
    for watched, folder in folders.items():
        folder.mkdir()
        assert run(folder, "killed", watched) == -signal.SIGKILL
        assert not (folder / "weights.json").exists()
        assert run(folder, "resumed", watched) == 0
    weights = [json.loads((folder / "weights.json").read_text()) for folder in folders.values()]
    assert weights[0] == weights[1]
    # Six steps an epoch; validation comes after the last of them, and is logged with the step that was done.
    assert set(steps(folders["yes"], "killed")) <= {5, 11, 17}
    assert set(steps(folders["yes"], "resumed")) == {23, 29, 35}
    assert all(value > 0 for value in steps(folders["yes"], "resumed").values())
    checkpoint = torch.load(folders["yes"] / "last.ckpt", weights_only=True)
    bare = torch.load(folders["no"] / "last.ckpt", weights_only=True)
    assert checkpoint["state_dict"].keys() == bare["state_dict"].keys()


@pytest.mark.parametrize("other", [True, False], ids=["without the callback", "with it"])
def test_a_checkpoint_of_a_watched_training_loads(tmp_path, other):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    _, first = fit([seen], tmp_path, max_epochs=1)
    first.save_checkpoint(tmp_path / "kept.ckpt")
    again = trainer([] if other else [InvariantCallback("encoder", REPRESENTATION)], tmp_path, max_epochs=2)
    pl.seed_everything(0, verbose=False)
    again.fit(Classifier(), *loaders(), ckpt_path=tmp_path / "kept.ckpt")
    assert again.global_step == 12


def test_a_training_that_starts_in_the_midst_of_an_epoch_fills_its_bank_in_the_next(tmp_path):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)

    class Late(pl.Callback):
        """As when resumed: the first batch that is seen has the number 4."""

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 0 and batch_idx < 4:
                seen._collector.bank.clear()
                seen._from_start = False

    _, run = fit([seen, Late()], tmp_path, max_epochs=3)
    assert len(seen._collector.bank) == 32 + 96
    assert set(SCORES) | set(ERRORS) <= run.callback_metrics.keys()


def test_one_callback_serves_several_trainings(tmp_path):
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None)
    first = dict(fit([seen], tmp_path)[1].callback_metrics)
    again = dict(fit([seen], tmp_path)[1].callback_metrics)
    for name in ("raw/knn", "invariant/linear", "raw/error"):
        assert first[name] == again[name]
