"""What the callback adds to a training run: a small convolutional network with it and without, in turn.

Run: python -m benchmarks.overhead [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant import InvariantCallback
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

ROUNDS, EPOCHS, ROWS, VALIDATION, BATCH = 5, 10, 2_000, 1_000, 64
CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "once": {"every_n_validations": 10**6},
    "whole": {"max_overhead": None},
}
"""Default settings; one report in the whole run; all samples at every validation."""
HOOKS = ("on_validation_batch_start", "on_validation_batch_end")
COLUMNS = [
    "training",
    "bare, s",
    "with the callback, s",
    "added, %",
    "rounds, %",
    "added processor time, %",
    "of its own count, %",
    "reports",
    "queries",
]


class Network(pl.LightningModule):
    """Quarter-turn convolutions on images of 28 x 28, ten classes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = QuarterTurnEncoder(1, 16)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).flatten(1))

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        self.log("loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), 1e-3)


class Timed(InvariantCallback):
    """Notes how long each call of a batch's hooks takes."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("encoder", "C4: 16 regular", **settings)
        self.seconds: dict[str, list[float]] = {name: [] for name in HOOKS}
        self.reports = 0
        for name in HOOKS:
            setattr(self, name, self._timing(name, getattr(self, name)))

    def _timing(self, name: str, hook: Any) -> Any:
        def timed(*args: Any, **kwargs: Any) -> None:
            started = time.perf_counter()
            hook(*args, **kwargs)
            self.seconds[name].append(time.perf_counter() - started)

        return timed

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.reports += self.report is not None and self.report.step == trainer.global_step


class Epochs(pl.Callback):
    """Wall time of every epoch, its validation included."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def data(rows: int, seed: int) -> TensorDataset:
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (rows,), generator=generator)
    patterns = torch.randn(10, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return TensorDataset(patterns[y] + torch.randn(rows, 1, 28, 28, generator=generator), y)


def train(callbacks: list[pl.Callback], epochs: int, rows: int, folder: str) -> tuple[float, float, list[float]]:
    """Seconds of `fit` on the wall and of the processor, and on the wall of each epoch."""
    pl.seed_everything(0, verbose=False)
    network, clock = Network(), Epochs()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[*callbacks, clock],
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    training = DataLoader(data(rows, 1), BATCH, shuffle=True)
    validation = DataLoader(data(min(VALIDATION, rows), 2), BATCH)
    started, busy = time.perf_counter(), time.process_time()
    trainer.fit(network, training, validation)
    return time.perf_counter() - started, time.process_time() - busy, clock.seconds


def compare(cases: dict[str, dict[str, Any]], rounds: int, epochs: int, rows: int, folder: str) -> list[dict[str, Any]]:
    """Bare and watched runs in turn; each round has one bare run, and its order changes from round to round."""
    names: list[str | None] = [None, *cases]
    wall: dict[str | None, list[float]] = {name: [] for name in names}
    busy: dict[str | None, list[float]] = {name: [] for name in names}
    quiet: dict[str, list[float]] = {name: [] for name in cases}
    seen: dict[str, Timed] = {}
    for number in range(rounds):
        epochs_of: dict[str | None, list[float]] = {}
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            if name is not None:
                seen[name] = Timed(**cases[name])
            seconds, processor, epochs_of[name] = train([] if name is None else [seen[name]], epochs, rows, folder)
            wall[name].append(seconds)
            busy[name].append(processor)
        middle = slice(1, -1)  # neither the first report nor the last
        for name in cases:
            pairs = list(zip(epochs_of[name][middle], epochs_of[None][middle], strict=True))
            if pairs:
                quiet[name].append(100 * (statistics.median(w / b for w, b in pairs) - 1))
    return [_result(name, wall, busy, quiet[name], seen[name], epochs) for name in cases]


def _result(
    name: str,
    wall: dict[str | None, list[float]],
    busy: dict[str | None, list[float]],
    quiet: list[float],
    seen: Timed,
    epochs: int,
) -> dict[str, Any]:
    report = seen.report
    assert report is not None
    hooks = {hook: [1e6 * s for s in seconds] for hook, seconds in seen.seconds.items()}
    ratios = _added(wall[None], wall[name])
    return {
        "training": name,
        "bare_s": statistics.median(wall[None]),
        "watched_s": statistics.median(wall[name]),
        "added_percent": statistics.median(ratios),
        "rounds_percent": ratios,
        "processor_percent": statistics.median(_added(busy[None], busy[name])),
        "quiet_epochs_percent": statistics.median(quiet) if quiet else float("nan"),
        "own_percent": 100 * report.scalars["invariance/overhead"],
        "queries": int(report.scalars["invariance/queries"]),
        "reports": f"{seen.reports} of {epochs}",
        "hooks_us": {hook: [statistics.mean(us), statistics.median(us), max(us)] for hook, us in hooks.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="one short round, to see that it runs; writes no table")
    parser.add_argument("--rounds", type=int, help=f"bare and watched trainings of each case (default: {ROUNDS})")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, help="all if left out")
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    command = " ".join(["python -m benchmarks.overhead", *given])
    rounds, epochs, rows = (1, 3, 256) if options.quick else (ROUNDS, EPOCHS, ROWS)
    rounds = options.rounds or rounds
    cases = {name: CASES[name] for name in options.cases}
    with tempfile.TemporaryDirectory() as folder, silence():
        train([Timed()], 1, 256, folder)  # imports and first calls
        results = compare(cases, rounds, epochs, rows, folder)
    print(report(results, command, rounds, epochs, rows, save=not options.quick))
    if options.json:
        write_json(options.json, {"overhead": results}, command)


@contextmanager
def silence() -> Iterator[None]:
    """Neither Lightning's messages nor warnings, for the time being."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def report(results: list[dict[str, Any]], command: str, rounds: int, epochs: int, rows: int, *, save: bool) -> str:
    """The tables as text, written to the results folder if asked."""
    keys = ["training", "bare_s", "watched_s", "added_percent", "rounds_percent", "processor_percent"]
    keys += ["own_percent", "reports", "queries"]
    cells = [[_cell(result[key]) for key in keys] for result in results]
    once = [result for result in results if result["training"] == "once"]
    notes = [
        f"{rounds} rounds of {epochs} epochs on {rows:,} images of 28 x 28, bare and watched in turn; medians.",
        "default: default settings; once: one report in the whole run; whole: max_overhead=None, all samples at every "
        "validation.",
        *(f"Epochs without a report (the middle ones of 'once'): {r['quiet_epochs_percent']:+.2f}%." for r in once),
        *(
            f"`{hook}`: mean {us[0]:.0f} µs a batch, median {us[1]:.0f} µs, most {us[2]:.0f} µs."
            for hook, us in results[0]["hooks_us"].items()
        ),
        "All of a report counts, points and figures for TensorBoard included. No hook of ours runs in training steps.",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = RESULTS if save else Path(scratch)
        path = write_table(folder / "overhead.md", "Time that monitoring adds", COLUMNS, cells, command, notes)
        return path.read_text(encoding="utf-8")


def _added(bare: list[float], watched: list[float]) -> list[float]:
    """What the callback adds to the time of each round, in percent."""
    return [100 * (with_it / without - 1) for without, with_it in zip(bare, watched, strict=True)]


def _cell(value: Any) -> Any:
    return ", ".join(f"{part:+.1f}" for part in value) if isinstance(value, list) else value


if __name__ == "__main__":
    main()
