"""Honest encoders on a machine that is busy: none is refused, however slow it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from benchmarks.tables import Section
from lightning_invariant.hub.download import bundled_folder, bundled_names

if TYPE_CHECKING:
    from pathlib import Path

PROCESSES, LOAD, SLEEP = 25, 12, 3
"""Forks that load at once, busy processes beside them, and seconds that one import takes longer."""
LOADS = """
import os, sys, time
import torch
class Slow:
    slept = False
    def find_spec(self, name, path=None, target=None):
        if name.startswith(("torch._meta", "torch._refs", "torch._decomp", "sympy")) and not Slow.slept:
            Slow.slept = True
            time.sleep(float(sys.argv[3]))
sys.meta_path.insert(0, Slow())
from lightning_invariant import InvariantEncoder
children = []
for _ in range(int(sys.argv[2])):
    child = os.fork()
    if child == 0:
        try:
            InvariantEncoder.from_pretrained(sys.argv[1])
        except BaseException as error:
            print(type(error).__name__, str(error)[:200], file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children].count(0))
"""


def measure(scratch: Path, *, quick: bool = False) -> Section:
    """Load every bundled encoder in forked processes beside busy ones.

    Args:
        scratch: Not used.
        quick: Two processes for each encoder.
    """
    count = 2 if quick else PROCESSES
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(LOAD)]
    rows, refused = [], 0
    try:
        time.sleep(1)
        for name in bundled_names():
            started = time.perf_counter()
            command = [sys.executable, "-c", LOADS, str(bundled_folder(name)), str(count), str(SLEEP)]
            done = subprocess.run(
                command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
            )
            loaded = int(done.stdout or 0)
            refused += count - loaded
            rows.append([name, count, loaded, time.perf_counter() - started])
    finally:
        for process in busy:
            process.kill()
            process.wait()
    return Section(
        "Honest encoders on a busy machine",
        ["encoder", "processes", "loaded", "seconds for all"],
        rows,
        [f"{LOAD} busy processes beside them, and an import that takes {SLEEP} s longer in each."],
        {"processes": count * len(rows), "refused": refused},
        holds=refused == 0,
    )
