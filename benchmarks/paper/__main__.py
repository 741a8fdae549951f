"""Trains every recipe on real data with several seeds and writes the tables, pictures and encoders behind them.

Run: python -m benchmarks.paper [--quick] [--data-dir FOLDER] [--recipes NAME ...] [--seeds 0 1 2 3 4]

An interrupted run goes on where it stopped. Without --data-dir the data is downloaded. What is written of recipes that
are not named stays.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm.auto import tqdm

from benchmarks.paper.publishing import write_paper, write_recipe
from benchmarks.paper.quoting import quoted, write_quotes
from benchmarks.paper.sections import SECTIONS, available, section
from benchmarks.paper.store import Store
from benchmarks.tables import conditions
from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.paper.sections import Row

ROOT = Path(__file__).parents[2]
SEEDS, QUICK_SEEDS = (0, 1, 2, 3, 4), (0,)
PACKAGES = ("pytorch-lightning", "scikit-learn", "numpy")


def main(argv: Sequence[str] | None = None) -> int:
    """Run; the exit status is 2 for what the user can mend."""
    argv = sys.argv[1:] if argv is None else list(argv)
    options = _parser().parse_args(argv)
    if options.data_dir is not None and not Path(options.data_dir).is_dir():
        print(
            f"Expected a folder with the data but got {options.data_dir}; without one it is downloaded.",
            file=sys.stderr,
        )
        return 2
    seeds = options.seeds or (QUICK_SEEDS if options.quick else SEEDS)
    out = options.out or (options.work / "quick" if options.quick else ROOT)
    options.command = _command(options, argv)
    store = Store(options.work, quick=options.quick)
    stopped = {} if options.pages else _measured(options, seeds, store, out)
    print(write_paper(out, options.command, quoted(out)), *write_quotes(out), sep="\n")
    for recipe, error in stopped.items():
        print(f"benchmarks.paper: {recipe} was not measured. {error}", file=sys.stderr)
    return 2 if stopped else 0


def _measured(options: argparse.Namespace, seeds: Sequence[int], store: Store, out: Path) -> dict[str, Exception]:
    """Measure and write each recipe; what the user has to mend, by recipe, does not keep the others from it."""
    stopped: dict[str, Exception] = {}
    with tqdm(total=len(options.recipes) * len(seeds), unit="run") as bar:
        for recipe in options.recipes:
            try:
                found = {seed: _rows(options, recipe, seed, store, bar) for seed in seeds}
            except (InvariantError, ImportError) as error:
                stopped[recipe] = error
                continue
            about = {"command": options.command, **store.conditions(recipe, seeds)}
            about |= {"run": "quick" if options.quick else "full", "seeds": " ".join(map(str, seeds))}
            write_recipe(out, recipe, found, store.folder(recipe, seeds[0]), about)
    return stopped


def _rows(options: argparse.Namespace, recipe: str, seed: int, store: Store, bar: tqdm) -> list[Row]:
    """What one seed gave, now or before."""
    bar.set_description(f"{recipe}, seed {seed}")
    if options.fresh:
        store.forget(recipe, seed)
    rows = store.load(recipe, seed)
    if rows is None:
        rows = section(recipe).run(options.data_dir, seed, options.quick, store.folder(recipe, seed))
        here = conditions(options.command)
        here.pop("command")  # it names one machine's folders; the tables name what was run last
        store.save(recipe, seed, rows, here | _versions())
    bar.update()
    return rows


def _command(options: argparse.Namespace, argv: Sequence[str]) -> str:
    """As it was typed, but for the place of the data, which says nothing to others."""
    place = options.data_dir
    hidden = {place: "FOLDER", f"--data-dir={place}": "--data-dir=FOLDER"}
    given = [hidden.get(word, word) for word in argv]
    return shlex.join(["python", "-m", "benchmarks.paper", *given])


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.paper",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="subsampled, one seed: minutes instead of hours")
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder with the data; downloaded if left out")
    parser.add_argument(
        "--recipes",
        nargs="+",
        choices=available(),
        default=available(),
        metavar="NAME",
        help=f"{', '.join(SECTIONS)}",
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: 0 1 2 3 4, with --quick 0")
    parser.add_argument("--pages", action="store_true", help="measure nothing; write the pages from what is there")
    parser.add_argument("--fresh", action="store_true", help="measure again what an earlier run has finished")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/paper"), help="what is kept to go on (default: %(default)s)"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where docs/results.md and hub_configs/ are written; default: this checkout, with --quick WORK/quick",
    )
    return parser


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    sys.exit(main())
