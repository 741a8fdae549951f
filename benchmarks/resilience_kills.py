"""Exports and uploads that are killed at random moments: what is found is old or new, and always whole."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import torch
from huggingface_hub import constants
from torch import nn

from benchmarks.tables import Section
from lightning_invariant.encoder import InvariantEncoder, export_encoder
from lightning_invariant.encoder.parity_check import check_parity, write_parity
from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.queue import ENCODER, PARITY, Queue
from lightning_invariant.hub.target import Target
from lightning_invariant.hub.worker import empty_queue
from lightning_invariant.projections import MaxFilter
from tests.hub.loopback import Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TRIALS = 100
VERSIONS = 4
NAME = "tester/digits"
ALWAYS = {"config.json", "graph.json", "certificate.json", "model.safetensors", "README.md"}


def measure(scratch: Path, *, quick: bool = False) -> Section:
    """Kill processes that export and upload again and again; look at what they left.

    Args:
        scratch: An empty folder.
        quick: A tenth of the trials.
    """
    trials = TRIALS // 10 if quick else TRIALS
    torch.set_num_threads(1)
    rows = [
        _exports(scratch / "encoder", trials),
        _queued(scratch / "queue", trials),
        _uploads(scratch / "uploads", trials),
    ]
    holds = all(row["torn"] == row["absent"] == 0 and row["new"] > 0 for row in rows)
    return Section(
        "Killed (SIGKILL) at random moments",
        ["what was killed", "times", "old", "new", "torn", "absent"],
        [list(row.values()) for row in rows],
        [
            "Old and new: every file and every feature are those of one export. Torn or absent would be a failure.",
            "Queue: every entry that can be seen loads and equals its network; new counts those that had appeared.",
            "Upload: no commit holds a part of an encoder, and the next push brings what was not there yet; new counts "
            "uploads that were done when the process was killed.",
        ],
        {"trials": trials, "rows": rows, "holds": holds},
        holds=holds,
    )


def _exports(folder: Path, trials: int) -> dict[str, Any]:
    features = [_features(_network(version)) for version in range(VERSIONS)]
    seconds = min(_export(folder, version) for version in (1, 0))
    found = {"what": "export over an earlier one", "times": trials, "old": 0, "new": 0, "torn": 0, "absent": 0}
    moments = random.Random(0)
    for trial in range(trials):
        before = _version(folder, features)
        _kill(_export_for_ever, (str(folder), trial), moments.uniform(0.0, 2.0) * seconds)
        after = _version(folder, features)
        found[after if isinstance(after, str) else "old" if after == before else "new"] += 1
    return found


def _queued(folder: Path, trials: int) -> dict[str, Any]:
    started = time.perf_counter()
    _add(folder, 0)
    seconds = time.perf_counter() - started
    found = {"what": "export into the queue", "times": trials, "old": 0, "new": 0, "torn": 0, "absent": 0}
    moments = random.Random(1)
    for trial in range(trials):
        shutil.rmtree(folder, ignore_errors=True)
        _add(folder, 0)
        _kill(_add_for_ever, (str(folder), trial), moments.uniform(0.0, 2.0) * seconds)
        seen = [path for path in folder.iterdir() if not path.name.startswith(".")]
        entries = Queue(folder).entries()
        whole = len(entries) == len(seen) and all(_is_proved(entry.parity, entry.encoder) for entry in entries)
        found["absent" if not seen else "torn" if not whole else "new" if len(seen) > 1 else "old"] += 1
    return found


def _uploads(folder: Path, trials: int) -> dict[str, Any]:
    found = {"what": "upload", "times": trials, "old": 0, "new": 0, "torn": 0, "absent": 0}
    moments = random.Random(2)
    with (
        Hub() as hub,
        mock.patch.dict(os.environ, hub.environment(folder / "home")),
        mock.patch.object(constants, "HF_HUB_DISABLE_XET", True),
    ):
        started = time.perf_counter()
        _add(folder / "queue", 0)
        list(empty_queue(Queue(folder / "queue"), check_parity))
        seconds = time.perf_counter() - started
        for trial in range(trials):
            _add(folder / "queue", 1 + trial % (VERSIONS - 1))
            repository = hub.repositories[NAME]
            before = repository.branches["main"]
            _kill(_deliver, (str(folder / "queue"),), moments.uniform(0.0, 1.0) * seconds)
            new = repository.branches["main"] != before
            whole = all(tree.keys() >= ALWAYS for tree in list(repository.commits.values())[1:])
            list(empty_queue(Queue(folder / "queue"), check_parity))
            there = not Queue(folder / "queue").entries() and repository.branches["main"] != before
            found["torn" if not whole else "absent" if not there else "new" if new else "old"] += 1
    return found


def _kill(target: Callable[..., None], arguments: tuple[Any, ...], after: float) -> None:
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)
    process.start()  # a fork starts at once, everything imported
    time.sleep(after)
    process.kill()
    process.join()


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
    turn = trial
    while True:
        turn += 1
        _export(Path(folder), turn % VERSIONS)


def _add_for_ever(folder: str, trial: int) -> None:
    turn = trial
    while True:
        turn += 1
        _add(Path(folder), turn % VERSIONS)


def _deliver(folder: str) -> None:
    list(empty_queue(Queue(folder), check_parity))


def _export(folder: Path, version: int) -> float:
    """Seconds that it took."""
    started = time.perf_counter()
    export_encoder(folder, _network(version), MaxFilter("C4: 2 regular"), _images())
    return time.perf_counter() - started


def _add(folder: Path, version: int) -> None:
    def fill(fresh: Path) -> None:
        network, projection = _network(version), MaxFilter("C4: 2 regular")
        export_encoder(fresh / ENCODER, network, projection, _images())
        write_parity(fresh / PARITY, network, projection, [_images()])

    Queue(folder).add(Target(NAME), fill, message=f"Export {version}", run=str(time.time_ns()))


def _is_proved(proof: Path, encoder: Path) -> bool:
    with suppress(ArtifactError, OSError):
        check_parity(proof, encoder)
        return True
    return False


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
