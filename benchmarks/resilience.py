"""What survives: every fault of a Hub, a process killed at any moment, artefacts that somebody crafted, a busy machine.

Run: python -m benchmarks.resilience [--json FILE] [--quick] [--only SECTION]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.tables import RESULTS, write_json, write_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.tables import Section

SECTIONS = {
    "faults": "benchmarks.resilience_faults",
    "kills": "benchmarks.resilience_kills",
    "mutations": "benchmarks.resilience_mutations",
    "operators": "benchmarks.resilience_operators",
    "honest": "benchmarks.resilience_honest",
}
"""Name of each section and its module, which has `measure(scratch, *, quick) -> Section`."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="a few trials of each kind: does it run at all")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="this section alone; results are not kept")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    command = " ".join(["python -m benchmarks.resilience", *(sys.argv[1:] if arguments is None else arguments)])
    sections = {name: _measure(name, quick=options.quick) for name in options.only or SECTIONS}
    with tempfile.TemporaryDirectory() as scratch:
        complete = not options.quick and not options.only
        path = (RESULTS if complete else Path(scratch)) / "resilience.md"
        write_report(path, "Resilience", list(sections.values()), command)
        print(path.read_text(encoding="utf-8"))
    if options.json:
        write_json(options.json, {name: section.numbers for name, section in sections.items()}, command)
    return 0 if all(section.holds for section in sections.values()) else 1


def _measure(name: str, *, quick: bool) -> Section:
    print(f"{name} ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        return import_module(SECTIONS[name]).measure(Path(scratch), quick=quick)


if __name__ == "__main__":
    sys.exit(main())
