"""Loads one artefact in a process of its own and says what happened."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import traceback
from typing import TYPE_CHECKING, NamedTuple

import torch

from benchmarks.mutations.originals import given_to, inputs
from lightning_invariant.artifact.readme import BEGIN, END, merged, read_card
from lightning_invariant.encoder import InvariantEncoder
from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

LIMIT_SECONDS = 12
"""Of processor time."""
PATIENCE = 10
"""As many times as long by the clock: the machine may be busy."""
LIMIT_BYTES = 2**30
CANARY = "ran"
"""A folder of this name beside the artefact says that a payload was executed."""
FAILURES = ("executed", "crashed", "hung", "unclear", "memory")
_FORBIDDEN = (
    "os.system",
    "subprocess.Popen",
    "os.exec",
    "os.posix_spawn",
    "os.mkdir",
    "pickle.find_class",
    "socket.connect",
)


class Verdict(NamedTuple):
    """Outcome ("refused", "same", "another" or one of FAILURES), message, processor time, memory beyond the start."""

    outcome: str
    message: str
    seconds: float
    megabytes: float


def warm(folder: Path) -> None:
    """Load and run an original here first, so that what imports start is not held against an artefact."""
    with torch.no_grad():
        InvariantEncoder.from_pretrained(folder)(inputs())
    _merge(read_card(folder))


def judge(folder: Path, expected: Tensor) -> Verdict:
    """Load an artefact, run it on three inputs, and read its card, in a forked process."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            os.write(write, json.dumps(_run(folder, expected)).encode())
        finally:
            os._exit(0)
    os.close(write)
    ready, _, _ = select.select([read], [], [], PATIENCE * LIMIT_SECONDS)
    content = b""
    if ready:
        while part := os.read(read, 65536):
            content += part
    else:
        os.kill(child, signal.SIGKILL)
    os.close(read)
    _, status, used = os.wait4(child, 0)
    seconds = used.ru_utime + used.ru_stime
    if (folder.parent / CANARY).exists():
        return Verdict("executed", "a payload ran", seconds, 0.0)
    if not content:
        hung = not ready or os.WTERMSIG(status) == signal.SIGXCPU
        return Verdict("hung" if hung else "crashed", "no answer", seconds, 0.0)
    outcome, message, megabytes = json.loads(content)
    return Verdict(outcome, message, seconds, megabytes)


def _run(folder: Path, expected: Tensor) -> tuple[str, str, float]:
    """In the child: outcome, message and megabytes beyond the start."""
    before = _resident()
    try:
        os.chdir(folder.parent)
        limit = _virtual() + LIMIT_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_SECONDS, LIMIT_SECONDS + 1))
        executed: list[str] = []
        sys.addaudithook(lambda event, args: executed.append(event) if event in _FORBIDDEN else None)
        outcome, message = _outcome(folder, expected)
        if executed:
            outcome, message = "executed", ", ".join(executed)
    except MemoryError:
        outcome, message = "memory", "MemoryError"
    peak = max(0, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20
    return outcome, message[:500], peak


def _outcome(folder: Path, expected: Tensor) -> tuple[str, str]:
    try:
        with torch.no_grad():
            encoder = InvariantEncoder.from_pretrained(folder, max_bytes=LIMIT_BYTES // 2)
            _merge(read_card(folder))
            kind = encoder.dtype or torch.float32
            features = encoder(*(x.to(kind) if x.is_floating_point() else x for x in given_to(folder)))
    except InvariantError as error:
        return "refused", str(error)
    except MemoryError:
        return "memory", traceback.format_exc()[-300:]
    except Exception as error:
        if "allocate memory" in str(error):
            return "memory", str(error)
        return "unclear", f"{type(error).__name__}: {error} {traceback.format_exc()[-400:]}"
    return ("same" if torch.equal(features, expected) else "another"), ""


def _merge(card: str | None) -> None:
    """What an export into this folder makes of its card."""
    merged(f"---\ntags: [new]\n---\n{BEGIN}\nnew\n{END}\n", card)


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _virtual() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
