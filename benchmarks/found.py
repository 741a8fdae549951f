"""How long it takes to find a representation, and how well what is found holds.

Run it with python -m benchmarks.found [--quick].
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.tables import RESULTS, write_table
from lightning_invariant.evaluation import find_representation, generators
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import equivariance_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

THREADS, ROUNDS, SAMPLES, FRESH = 1, 3, 2000, 500
COLUMNS = ("latents", "numbers", "behind", "found", "error", "error of random elements", "seconds")
NOTES = (
    f"{SAMPLES} samples of each generator; process time of one thread, least of {ROUNDS} rounds, without the encoder.",
    "Behind: channels in random order, a random orthogonal basis, or a random basis that is not orthogonal.",
    f"Errors: share of the mean distance between different samples, on held-out samples of the generators and on "
    f"{FRESH} fresh samples with random elements.",
)
LATENTS = (
    "C4: 16 regular",
    "C4: 128 regular",
    "C8: 64 regular",
    "D4: 64 regular",
    "Cube: 8 trivial + 21 regular",
    "SO2: 128x0 + 96x1 + 96x2",
    "O2: 128x0 + 96x1 + 96x2",
    "SO3: 32x0 + 16x1 + 8x2",
    "SO3: 180x0 + 64x1 + 28x2",
)


def measured(text: str, behind: str, samples: int, rounds: int) -> list[Any]:
    """A row of the table."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    change = _change(behind, representation.size, generator)
    z = torch.randn(samples, representation.size, generator=generator).relu()
    steps = generators(representation.group)
    w = torch.cat([representation.transform(z, g) for g in steps])
    elements = torch.cat([g.expand(samples, *g.shape) for g in steps])
    pairs = z.repeat(len(steps), 1) @ change, w @ change
    seconds = []
    found = find_representation(*pairs, representation.group, elements)
    for _ in range(rounds):
        start = time.process_time()
        find_representation(*pairs, representation.group, elements)
        seconds.append(time.process_time() - start)
    fresh = torch.randn(FRESH, representation.size, generator=generator)
    g = representation.group.sample(FRESH, generator)
    kind, error = "nothing", float("nan")
    if found.representation is not None:
        kind = "order" if found.order is not None else "orthogonal basis" if found.keeps_distances else "basis"
        same = sorted(str(found.representation)[len(text.split(":")[0]) + 2 :].split(" + ")) == sorted(
            text.split(": ")[1].split(" + ")
        )
        kind += "" if same else f", {found.representation}"
        one, other = (found.to_standard(part @ change) for part in (fresh, representation.transform(fresh, g)))
        error = equivariance_error(other, one, found.representation, g)
    return [text, representation.size, behind, kind, f"{found.errors.found:.1g}", f"{error:.1g}", f"{min(seconds):.2f}"]


def _change(behind: str, size: int, generator: torch.Generator) -> Tensor:
    if behind == "order":
        return torch.eye(size)[torch.randperm(size, generator=generator)]
    mix = torch.randn(size, size, generator=generator)
    return torch.linalg.qr(mix)[0] if behind == "orthogonal basis" else torch.eye(size) + 0.5 * mix / size**0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table unless it is a quick run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the smallest latents once, and no file")
    quick = parser.parse_args(arguments).quick
    torch.set_num_threads(THREADS)
    texts = LATENTS[:1] if quick else LATENTS
    kinds = ("order", "orthogonal basis", "basis")
    rows = [measured(text, kind, 400 if quick else SAMPLES, 1 if quick else ROUNDS) for text in texts for kind in kinds]
    for row in rows:
        print(*row, sep=" | ")
    if not quick:
        title = "Representations found from latents"
        write_table(RESULTS / "found.md", title, COLUMNS, rows, "python -m benchmarks.found", NOTES)


if __name__ == "__main__":
    main()
