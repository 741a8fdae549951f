"""Geometry modulo the group: time of alignments, how far bounds are apart, and cost along the sizes.

Run: python -m benchmarks.quotient [--json FILE] [--quick] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.tables import RESULTS, Section, write_json, write_report
from lightning_invariant import quotient
from lightning_invariant.groups import Representation
from lightning_invariant.quotient.solver import solver_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THREADS = 1
ROUNDS = 7
CASES: tuple[tuple[str, int], ...] = (
    ("C8: 64 regular", 1000),
    ("S9: 9 points x 8", 1000),
    ("D8: 16 regular", 1000),
    ("S40: 40 points x 8", 1000),
    ("Z2^32: 4 signs", 1000),
    ("O3: 16 vectors", 1000),
    ("SO2: 4x1 + 4x2 + 4x3", 1000),
    ("S4 x O3: 2 points*vectors + 3 points*0e", 200),
    ("S9: 9 points x 4 + 1 pairs", 40),
    ("S12: 12 points x 4 + 1 pairs", 8),
    ("SO3: 4x1 + 2x2", 20),
    ("SO3: 2x1 + 2x2 + 1x4", 20),
    ("S9 x SO3: 1 points*vectors + 2 points*0", 20),
)
"""Latents and pairs; the first two have times asked for: 20 ms and 200 ms."""
CURVES: dict[str, Sequence[str]] = {
    "|G| of C_n, 16 regular fields": [f"C{n}: 16 regular" for n in (4, 16, 64, 256)],
    "|G| of D_n, 4 regular fields": [f"D{n}: 4 regular" for n in (4, 16, 64)],
    "D of C8": [f"C8: {m} regular" for m in (4, 32, 128, 512)],
    "n of S_n, 8 numbers a point": [f"S{n}: {n} points x 8" for n in (4, 16, 64, 256, 512)],
    "n of S_n, pairs": [f"S{n}: 1 pairs" for n in (4, 6, 8, 9)],
    "frequencies of SO2": ["SO2: " + " + ".join(f"1x{k}" for k in range(1, n + 1)) for n in (2, 8, 32)],
}
CURVE_PAIRS = 20


def least_seconds(function: Callable[[], Any], rounds: int) -> float:
    """Return the least processor time over several rounds; on one thread, that of a quiet machine."""
    best = math.inf
    for _ in range(rounds):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best


def two(representation: Representation, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return representation.random(count, generator), representation.random(count, generator)


def alignments(*, quick: bool) -> Section:
    """Time of one call, and lower over upper bound with and without a certificate."""
    rows = []
    for text, count in CASES[:2] if quick else CASES:
        representation = Representation.parse(text)
        solver = solver_for(representation)
        z, w = two(representation, count)
        seconds = least_seconds(lambda z=z, w=w, r=representation: quotient.align(z, w, r), 1 if quick else ROUNDS)
        lower, upper = quotient.bounds(z, w, representation, certify=False)
        cells = [
            text,
            solver.name,
            "yes" if solver.exact else "no",
            count,
            1e3 * seconds,
            (lower / upper).mean().item(),
        ]
        if solver.exact or "by turns" in solver.name:
            rows.append([*cells, "", ""])
            continue
        start = time.process_time()
        certified = quotient.bounds(z, w, representation)
        each = 1e3 * (time.process_time() - start) / count
        rows.append([*cells, (certified.lower / certified.upper).mean().item(), each])
    columns = [
        *("latents", "method", "exact", "pairs", "align all, ms", "lower over upper bound"),
        *("the same certified", "certificate, ms a pair"),
    ]
    return Section(
        "Alignments of random latents",
        columns,
        rows,
        [
            "Processor times of one thread, the least of several rounds. Exact methods need no certificate; for clouds "
            "none is searched for."
        ],
    )


def curves(*, quick: bool) -> Section:
    """Microseconds a pair along each axis."""
    rows = []
    for axis, texts in CURVES.items():
        for text in texts[: 2 if quick else None]:
            representation = Representation.parse(text)
            z, w = two(representation, CURVE_PAIRS)
            seconds = least_seconds(lambda z=z, w=w, r=representation: quotient.align(z, w, r), 1 if quick else 3)
            name = text if len(text) < 40 else f"{text[:36]}..."
            rows.append([axis, name, representation.size, 1e6 * seconds / CURVE_PAIRS])
    return Section("Cost along the sizes", ["axis", "latents", "D", "µs a pair"], rows, [f"Batches of {CURVE_PAIRS}."])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args(argv)
    torch.set_num_threads(THREADS)
    command = "python -m benchmarks.quotient" + (" --quick" if options.quick else "")
    sections = [alignments(quick=options.quick), curves(quick=options.quick)]
    options.out.mkdir(parents=True, exist_ok=True)
    write_report(options.out / "quotient.md", "Geometry of latents modulo a group", sections, command)
    if options.json:
        write_json(options.json, {section.title: section.rows for section in sections}, command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
