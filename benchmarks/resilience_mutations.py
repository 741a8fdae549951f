"""Crafted artefacts: each is refused with a clear error or loads; none executes, hangs or fills the memory.

Where a mutation may recompute hashes, it does, so that what lies behind them is reached. Whoever can rewrite all files
can of course publish another encoder; such a one is counted apart, and is still what its configuration says.
"""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

import torch

from benchmarks.mutations.judge import FAILURES, Verdict, judge, warm
from benchmarks.mutations.kinds import KINDS
from benchmarks.mutations.originals import ORIGINALS, export_originals
from benchmarks.tables import Section

if TYPE_CHECKING:
    from pathlib import Path

QUICK = 8
"""By how much a quick run is shorter."""
SECONDS, MEGABYTES = 5.0, 1024.0


def measure(scratch: Path, *, quick: bool = False) -> Section:
    """Mutate, load in a process of its own, and see what happened.

    Args:
        scratch: An empty folder.
        quick: An eighth of the artefacts.
    """
    torch.set_num_threads(1)
    originals = export_originals(scratch / "originals")
    warm(scratch / "originals" / "plain")
    rows, failures = [], []
    for kind in KINDS:
        count = max(2, kind.count // QUICK) if quick else kind.count
        verdicts = [_one(kind, i, scratch, originals) for i in range(count)]
        rows.append([kind.name, count, *_counts(verdicts), max(v.seconds for v in verdicts), _most(verdicts)])
        failures += [f"{kind.name}: {v.outcome}: {v.message}" for v in verdicts if v.outcome in FAILURES]
        if not kind.rewrites:
            failures += [f"{kind.name}: other numbers" for v in verdicts if v.outcome == "another"]
    total = ["all", *(sum(row[i] for row in rows) for i in range(1, 6)), *(max(row[i] for row in rows) for i in (6, 7))]
    holds = not failures and total[6] <= SECONDS and total[7] <= MEGABYTES
    return Section(
        "Crafted artefacts",
        [
            "mutation",
            "artefacts",
            "refused",
            "same numbers",
            "another encoder",
            "failures",
            "slowest (s)",
            "most memory (MB)",
        ],
        [*rows, total],
        [
            "Refused: an error of this package that says what was expected and got. Another encoder: all files were "
            "rewritten consistently, and what loads is valid by itself.",
            "Failures would be: something ran, a crash, more than 5 s of processor time, more than 1 GB where the "
            "caller allows values of 512 MB, an error of another kind, or other numbers "
            "where hashes were not rewritten.",
            *failures[:20],
        ],
        {
            "artefacts": total[1],
            "refused": total[2],
            "same": total[3],
            "another": total[4],
            "failures": len(failures),
            "slowest_seconds": total[6],
            "most_megabytes": total[7],
            "first_failures": failures[:20],
        },
        holds=holds,
    )


def _one(kind, number: int, scratch: Path, originals: dict[str, torch.Tensor]) -> Verdict:
    name = kind.original or list(ORIGINALS)[number % 2]
    folder = scratch / "mutated" / "encoder"
    shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.copytree(scratch / "originals" / name, folder)
    kind.mutate(folder, random.Random(f"{kind.name} {number}"), number)
    return judge(folder, originals[name])


def _counts(verdicts: list[Verdict]) -> list[int]:
    outcomes = [verdict.outcome for verdict in verdicts]
    return [*map(outcomes.count, ("refused", "same", "another")), sum(outcome in FAILURES for outcome in outcomes)]


def _most(verdicts: list[Verdict]) -> float:
    return max(verdict.megabytes for verdict in verdicts)
