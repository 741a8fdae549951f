"""Every fault of a Hub at every step of an upload from a training, and of a download."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
import types
import warnings
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytorch_lightning as pl
import torch
from huggingface_hub import constants, file_download
from huggingface_hub.utils import _http

from benchmarks.tables import Section
from lightning_invariant import HubExport, InvariantCallback, InvariantEncoder
from lightning_invariant.encoder.parity_check import check_parity
from lightning_invariant.errors import HubError
from lightning_invariant.hub.queue import Queue
from lightning_invariant.hub.worker import Worker, empty_queue
from tests.callback.loops import REPRESENTATION, Classifier, data, fit
from tests.hub.loopback import Fault, Hub
from tests.hub.loopback_faults import CONNECTION, CONTENT, STATUSES, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import Tensor

NAME = "tester/digits"
CHECKS = ("whoami", "create", "access")
"""Steps that come before the first training step alone."""
UPLOAD = ("refs", "info", "head", "get", "validate", "preupload", "batch", "store", "commit")
DOWNLOAD = ("paths", "head", "get")
KINDS: tuple[Kind, ...] = (*STATUSES, *CONNECTION, *CONTENT)
TIMES = {1: "once", 1000: "for ever"}
ALWAYS = {"config.json", "graph.json", "certificate.json", "model.safetensors", "README.md"}


def measure(scratch: Path, *, quick: bool = False) -> Section:
    """Train, upload and download beside a Hub that fails.

    Args:
        scratch: An empty folder.
        quick: A few kinds of fault.
    """
    logging.disable(logging.ERROR)
    kinds, times = (("403", "500", "drop"), (1000,)) if quick else (KINDS, tuple(TIMES))
    with warnings.catch_warnings(), _hub(scratch) as hub:
        warnings.simplefilter("ignore")
        rows = [_uploads(hub, scratch, step, kinds, times) for step in (*CHECKS, *UPLOAD)]
        rows += [_downloads(hub, scratch, step, kinds, times) for step in DOWNLOAD]
    logging.disable(logging.NOTSET)
    holds = all(row["faults"] == row["well"] for row in rows)
    return Section(
        "Every fault of a Hub at every step",
        [
            "what",
            "step",
            "faults",
            "happened",
            "refused before step 1",
            "kept, or loaded all the same",
            "next one succeeds",
            "well",
        ],
        [list(row.values()) for row in rows],
        [
            f"Kinds of fault: {', '.join(kinds)}; each {' and '.join(TIMES[number] for number in times)}.",
            "An upload is well if the training made all its steps, or was refused before the first one by a Hub that "
            "says no; if its export was published or stayed in the queue, whole; if no commit held a part of an "
            "encoder; and if the next push succeeded once the fault was gone.",
            "A download is well if it gave the features of the published encoder or an error, if the cache held "
            "nothing but whole files afterwards, and if the next download succeeded.",
            "The genuine client over HTTP, LFS profile; its waits between attempts are left out. Uploads run in a "
            "thread; training steps: 12.",
        ],
        {"rows": rows, "holds": holds},
        holds=holds,
    )


@contextlib.contextmanager
def _hub(scratch: Path) -> Iterator[Hub]:
    def at_once(self: Worker) -> None:
        for outcome in empty_queue(self.queue, check_parity, sleep=lambda seconds: None, only=self.repo_id):
            self._outcomes.append(outcome)

    clock = types.SimpleNamespace(sleep=lambda seconds: None, time=time.time, monotonic=time.monotonic)
    with (
        Hub() as hub,
        mock.patch.dict(os.environ, hub.environment(scratch / "home")),
        mock.patch.object(constants, "HF_HUB_DISABLE_XET", True),
        mock.patch.object(_http, "time", clock),
        mock.patch.object(file_download, "time", clock),
        mock.patch.object(Worker, "_run", at_once),
    ):
        hub.slow = 0.2
        yield hub


class _Begins(pl.Callback):
    """Lets faults happen from the first step on."""

    def __init__(self, hub: Hub, fault: Fault) -> None:
        self.hub, self.fault = hub, fault

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 0:
            self.hub.faults.plan(self.fault)


def _uploads(hub: Hub, scratch: Path, step: str, kinds: Sequence[Kind], times: Sequence[int]) -> dict[str, Any]:
    found = {"what": "training and upload", "step": step, "faults": 0, "happened": 0, "refused": 0, "kept": 0}
    found |= {"next": 0, "well": 0}
    for kind in kinds:
        for count in times:
            one = _upload(hub, scratch / "upload", Fault(step, kind, count))
            found["faults"] += 1
            for name, value in one.items():
                found[name] += int(value)
    return found


def _upload(hub: Hub, folder: Path, fault: Fault) -> dict[str, bool]:
    """One training beside one fault."""
    shutil.rmtree(folder, ignore_errors=True)
    hub.repositories.clear()
    hub.objects.clear()
    hub.faults.clear()
    queue = Queue(folder / "queue")
    export = HubExport(NAME, "end", queue=str(queue.folder), timeout=60)
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None, export=export)
    if fault.step in CHECKS:
        callbacks: list[Any] = [seen]
        hub.faults.plan(fault)
    else:
        if fault.step in ("head", "get"):  # the card that stands there is only read if there is one
            hub.python(_EMPTY, folder / "home")
        callbacks = [_Begins(hub, fault), seen]
    pl.seed_everything(0, verbose=False)
    module, refused = Classifier(), False
    try:
        fit(callbacks, folder, module)
    except HubError:
        refused = True
    happened = bool(hub.faults.happened)
    hub.faults.clear()
    kept = len(queue.entries())
    outcomes = [outcome.state for outcome in empty_queue(queue, check_parity)]
    whole = all(
        not tree.keys() & {"config.json"} or tree.keys() >= ALWAYS
        for repository in hub.repositories.values()
        for tree in repository.commits.values()
    )
    there = NAME in hub.repositories and "config.json" in hub.repositories[NAME].commits[_head(hub)]
    succeeded = there and set(outcomes) <= {"published"} and not queue.entries()
    trained = module.steps == (0 if refused else 12)
    early = refused and fault.step in CHECKS
    well = trained and whole and (early or (succeeded and not refused))
    return {"happened": happened, "refused": refused, "kept": kept > 0, "next": succeeded, "well": well}


_EMPTY = """
from huggingface_hub import HfApi
api = HfApi()
api.create_repo("tester/digits")
api.upload_file(path_or_fileobj=b"# Mine", path_in_repo="README.md", repo_id="tester/digits")
"""


def _head(hub: Hub) -> str:
    return hub.repositories[NAME].branches["main"]


def _downloads(hub: Hub, scratch: Path, step: str, kinds: Sequence[Kind], times: Sequence[int]) -> dict[str, Any]:
    _upload(hub, scratch / "upload", Fault("nothing", "500"))
    found = {"what": "download", "step": step, "faults": 0, "happened": 0, "refused": "", "kept": 0}
    found |= {"next": 0, "well": 0}
    x = data(5, seed=3).tensors[0]
    expected = InvariantEncoder.from_pretrained(NAME, cache_dir=scratch / "good")(x).detach()
    for kind in kinds:
        for count in times:
            for after in (0, 2):
                cache = scratch / "cache"
                shutil.rmtree(cache, ignore_errors=True)
                hub.faults.clear()
                hub.faults.plan(Fault(step, kind, count, after))
                first = _features(cache, x)
                happened, whole = bool(hub.faults.happened), _is_whole(cache)
                hub.faults.clear()
                second = _features(cache, x)
                honest = first is None or torch.equal(first, expected)
                succeeded = second is not None and torch.equal(second, expected)
                found["faults"] += 1
                found["happened"] += int(happened)
                found["kept"] += int(first is not None)
                found["next"] += int(succeeded)
                found["well"] += int(honest and succeeded and whole)
    return found


def _features(cache: Path, x: Tensor) -> Tensor | None:
    try:
        return InvariantEncoder.from_pretrained(NAME, cache_dir=cache)(x).detach()
    except Exception:  # any error is an answer; wrong numbers would not be
        return None


def _is_whole(cache: Path) -> bool:
    """Whether every file that a snapshot shows is the one that the Hub announced."""
    for path in cache.rglob("snapshots/*/*"):
        name, content = os.path.basename(os.path.realpath(path)), path.read_bytes()
        large = len(name) == 64
        digest = hashlib.sha256(content) if large else hashlib.sha1(b"blob %d\0" % len(content) + content)
        if digest.hexdigest() != name:
            return False
    return True
