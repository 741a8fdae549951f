"""An export that is killed at random moments: whoever looks finds the old encoder or the new one, whole."""

from __future__ import annotations

import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from benchmarks.tables import Section
from lightning_invariant.hub import InvariantEncoder, export_encoder
from lightning_invariant.projections import MaxFilter

if TYPE_CHECKING:
    from torch import Tensor

TRIALS = 100
VERSIONS = 4


def measure(scratch: Path, *, quick: bool = False) -> Section:
    """Kill a process that exports again and again; load what it left.

    Args:
        scratch: An empty folder.
        quick: A tenth of the trials.
    """
    trials, folder = TRIALS // 10 if quick else TRIALS, scratch / "encoder"
    features = [_features(_network(version)) for version in range(VERSIONS)]
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")  # a child starts at once, everything imported
    seconds = min(_export(folder, version) for version in (1, 0))
    moments, found = random.Random(0), {"old": 0, "new": 0, "torn": 0, "absent": 0}
    for trial in range(trials):
        before = _version(folder, features)
        process = context.Process(target=_export_for_ever, args=(str(folder), trial), daemon=True)
        process.start()
        time.sleep(moments.uniform(0.0, 2.0) * seconds)
        process.kill()
        process.join()
        after = _version(folder, features)
        kind = after if isinstance(after, str) else "old" if after == before else "new"
        found[kind] += 1
    shutil.rmtree(folder)
    rows = [["export into the folder of an earlier one", trials, *found.values()]]
    return Section(
        "Killed (SIGKILL) at random moments of an export",
        ["what was killed", "times", *found],
        rows,
        ["Old and new are equal in every file and in their features; torn or absent would be a failure."],
        {"trials": trials, **found},
        holds=found["torn"] == found["absent"] == 0 and found["new"] > 0,
    )


def _network(version: int) -> nn.Module:
    torch.manual_seed(version)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8)]
    return nn.Sequential(*layers).eval()


def _images() -> Tensor:
    return torch.randn(3, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _features(network: nn.Module) -> Tensor:
    return MaxFilter("C4: 2 regular")(network(_images()))


def _export_for_ever(folder: str, trial: int) -> None:
    torch.set_num_threads(1)
    turn = trial
    while True:
        turn += 1
        _export(Path(folder), turn % VERSIONS)


def _export(folder: Path, version: int) -> float:
    """Seconds that it took."""
    started = time.perf_counter()
    export_encoder(folder, _network(version), MaxFilter("C4: 2 regular"), _images())
    return time.perf_counter() - started


@torch.no_grad()
def _version(folder: Path, features: list[Tensor]) -> int | str:
    """Which version the folder holds whole, or what is wrong with it."""
    if not folder.is_dir():
        return "absent"
    try:
        loaded = InvariantEncoder.from_pretrained(folder)(_images())
    except Exception:  # whatever it is, the folder was torn
        return "torn"
    return next((version for version, known in enumerate(features) if torch.equal(loaded, known)), "torn")
