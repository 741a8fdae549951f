"""Our projector writer beside torch's `SummaryWriter.add_embedding`: time and bytes of one step.

Run: python -m benchmarks.projector [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.tensorboard import SummaryWriter

from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant.tracking import write_projector

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = [(2_000, 256, 0), (10_000, 128, 0), (2_000, 256, 28)]
ROUNDS = 5
COLUMNS = [
    *("points", "numbers each", "thumbnails", "torch, s", "ours, s", "times faster"),
    *("torch, MB", "ours, MB", "times smaller"),
]


def measure(count: int, size: int, pixels: int, rounds: int) -> dict[str, float]:
    """Least seconds of several rounds, taken in turn, and the bytes on disk, for both writers."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(count, size, generator=generator)
    labels = torch.randint(0, 10, (count,), generator=generator).tolist()
    pictures = torch.rand(count, 1, pixels, pixels, generator=generator) if pixels else None

    def torch_writer(folder: Path) -> float:
        with SummaryWriter(str(folder)) as writer:
            start = time.perf_counter()
            writer.add_embedding(z, metadata=labels, label_img=pictures, global_step=1, tag="raw")
            return time.perf_counter() - start

    def ours(folder: Path) -> float:
        start = time.perf_counter()
        write_projector(folder, "raw", 1, z, labels=labels, thumbnails=pictures, max_points=count)
        return time.perf_counter() - start

    costs = [(*_cost(torch_writer), *_cost(ours)) for _ in range(rounds)]
    torch_s, torch_bytes, ours_s, ours_bytes = (min(column) for column in zip(*costs, strict=True))
    return {
        "points": count,
        "numbers": size,
        "pixels": pixels,
        "torch_s": torch_s,
        "ours_s": ours_s,
        "faster": torch_s / ours_s,
        "torch_mb": torch_bytes / 1e6,
        "ours_mb": ours_bytes / 1e6,
        "smaller": torch_bytes / ours_bytes,
    }


def _cost(write: Callable[[Path], float]) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seconds = write(folder)
        files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("events."))
        return seconds, sum(path.stat().st_size for path in files)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of each, the least counts")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    given = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python -m benchmarks.projector", *given])
    results = [measure(*size, rounds=options.rounds) for size in SIZES]
    rows = [[(f"{v} px" if v else "none") if k == "pixels" else v for k, v in result.items()] for result in results]
    notes = [
        f"Least of {options.rounds} rounds, both writers in turn in one process.",
        "Normal random points, ten classes as labels.",
        "Opening and closing torch's SummaryWriter is not counted, nor are its event files.",
        "Thumbnails are noise, which no PNG can shrink. `max_points` is lifted to the number of points.",
    ]
    path = write_table(RESULTS / "projector.md", "Projector writer", COLUMNS, rows, command, notes)
    print(path.read_text(encoding="utf-8"))
    if options.json:
        write_json(options.json, {"projector": results}, command)


if __name__ == "__main__":
    main()
