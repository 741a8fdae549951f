"""The zoo's group convolution beside escnn's at the same width: one layer, forward and backward.

Run it in an environment that has escnn and torch: python -m benchmarks.convolutions [--quick]
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.tables import RESULTS, write_table
from lightning_invariant.groups import Cyclic, Dihedral
from lightning_invariant.zoo.planar_conv import PlanarConv

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

THREADS, ROUNDS, QUICK_ROUNDS, BATCH, WIDTH = 2, 40, 4, 32, 5
COLUMNS = ("group", "fields in", "fields out", "pixels", "pass", "ours, ms", "escnn, ms", "ours over escnn")
NOTES = (
    f"Regular fields, filters of {WIDTH} x {WIDTH}, batches of {BATCH}; least time of {ROUNDS} rounds in a process, in "
    "which either goes first in turn.",
    "Training: forward and backward, filters built from their weights each time. Inference: both in eval mode without "
    "gradients; escnn keeps its filters there, ours are built each time, so that weights that change in eval mode are "
    "never missed.",
)


class Layer(NamedTuple):
    """One layer to compare."""

    group: Cyclic | Dihedral
    fields_in: int
    fields_out: int
    pixels: int


LAYERS = (
    Layer(Cyclic(8), 8, 16, 14),
    Layer(Cyclic(8), 16, 32, 14),
    Layer(Cyclic(4), 16, 16, 28),
    Layer(Dihedral(4), 8, 16, 14),
)


def compared(layer: Layer, rounds: int) -> list[list[Any]]:
    """A row for training and one for inference."""
    ours, theirs = _ours(layer), _escnn(layer)
    rows = []
    for name, training in (("training", True), ("inference", False)):
        best = [math.inf, math.inf]
        for turn in range(rounds):
            # Either goes first as often as the other: the first finds colder caches.
            for number in (0, 1) if turn % 2 else (1, 0):
                best[number] = min(best[number], _seconds((ours, theirs)[number], training=training))
        a, b = best
        rows.append([str(layer.group), layer.fields_in, layer.fields_out, layer.pixels, name, 1e3 * a, 1e3 * b, a / b])
    return rows


def _seconds(run: Callable[[bool], None], *, training: bool) -> float:
    started = time.perf_counter()
    run(training)
    return time.perf_counter() - started


def _ours(layer: Layer) -> Callable[[bool], None]:
    torch.manual_seed(0)
    network = PlanarConv(layer.group, layer.fields_in, layer.fields_out, WIDTH)
    x = torch.randn(BATCH, layer.fields_in, layer.group.order, layer.pixels, layer.pixels)
    return lambda training: _step(network, lambda: network(x), training=training)


def _escnn(layer: Layer) -> Callable[[bool], None]:
    from escnn import gspaces, nn  # pyright: ignore[reportMissingImports]  # lives in an environment of its own

    turns = layer.group.n
    space = gspaces.flipRot2dOnR2(turns) if isinstance(layer.group, Dihedral) else gspaces.rot2dOnR2(turns)
    fields = [nn.FieldType(space, [space.regular_repr] * count) for count in (layer.fields_in, layer.fields_out)]
    network = nn.R2Conv(*fields, kernel_size=WIDTH, padding=WIDTH // 2, bias=False)
    x = nn.GeometricTensor(torch.randn(BATCH, fields[0].size, layer.pixels, layer.pixels), fields[0])
    return lambda training: _step(network, lambda: network(x).tensor, training=training)


def _step(network: torch.nn.Module, forward: Callable[[], torch.Tensor], *, training: bool) -> None:
    if network.training != training:
        network.train(training)
    with torch.set_grad_enabled(training):
        out = forward()
        if training:
            out.sum().backward()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, one layer, no table")
    parser.add_argument("--threads", type=int, default=THREADS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args(argv)
    torch.set_num_threads(min(options.threads, os.cpu_count() or 1))
    try:
        layers = LAYERS[:1] if options.quick else LAYERS
        rows = [row for layer in layers for row in compared(layer, QUICK_ROUNDS if options.quick else ROUNDS)]
    except ImportError as error:
        parser.error(f"Expected an environment with escnn but got: {error}; see benchmarks.peers for how to make one.")
    for row in rows:
        print(" | ".join(f"{cell:.3g}" if isinstance(cell, float) else str(cell) for cell in row))
    if not options.quick:
        notes = [*NOTES, f"escnn {version('escnn')}, torch {torch.__version__}."]
        command = "python -m benchmarks.convolutions"
        write_table(options.out / "convolutions.md", "Group convolutions beside escnn's", COLUMNS, rows, command, notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
