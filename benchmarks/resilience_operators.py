"""Every allowed operator under poisoned memory: nothing that a process held before comes out of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.mutations.operators import FILLS, fuzz
from benchmarks.tables import Section

if TYPE_CHECKING:
    from pathlib import Path


def measure(scratch: Path, *, quick: bool = False) -> Section:
    """Run random calls in two processes whose fresh memory holds different bytes.

    Args:
        scratch: Not used.
        quick: Two calls of each operator in place of forty.
    """
    found = fuzz(2) if quick else fuzz()
    foreign, never = found.pop("foreign"), found.pop("never computed")
    rows = [[*found.values(), len(foreign)]]
    return Section(
        "Operators under poisoned memory",
        ["operators", "calls", "computed", "refused", "failed with an error", "other results, or the process ended"],
        rows,
        [
            f"Fresh memory holds {' or '.join(map(hex, FILLS))} (MALLOC_PERTURB_); results are compared bit for bit.",
            f"Never computed with these arguments: {', '.join(never) or 'none'}.",
            *(f"call {case['index']}: {case['said']}, {case['node'][:200]}" for case in foreign[:20]),
        ],
        {**found, "foreign": len(foreign), "first": foreign[:20]},
        holds=not foreign,
    )
