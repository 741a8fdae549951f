"""What one epoch of all 60,000 MNIST images takes: each image recipe's networks, trained as its recipe says.

Run: python -m benchmarks.epochs [--quick] [--data-dir FOLDER]

Without a folder MNIST is downloaded.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm.auto import tqdm

from benchmarks.paper.recipes import configuration
from benchmarks.tables import RESULTS, write_table
from lightning_invariant.cli.recipes import lightning_cli
from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGES, QUICK_IMAGES, HELD, THREADS = 60_000, 640, 1, 2
NETWORKS = (
    ("rotated-mnist-c8", "equivariant under C8", {}),
    ("rotated-mnist-c8", "C8, invariant by itself", {"model.invariant": True}),
    ("rotated-mnist-d4", "equivariant under D4", {}),
    ("augmented-cnn", "CNN, turned digits", {}),
    ("augmented-cnn", "ViT, turned digits", {"model.backbone": "vit"}),
)
COLUMNS = ("recipe", "network", "images", "an epoch, s", "images a second")
NOTES = (
    "One epoch by the clock, in batches of 64, with the loop, the data and the optimiser of the recipe; without the "
    "callback and without validation.",
    f"{HELD} of the {IMAGES:,} images is held for validation, and the last batch is left out where it is not full.",
)


def epoch(recipe: str, changes: dict[str, Any], data_dir: str | None, images: int, folder: Path) -> tuple[int, float]:
    """How many images an epoch had and how many seconds it took."""
    own = {
        "data.data_dir": data_dir,
        "data.train_size": images - HELD,
        "data.validation_size": HELD,
        "trainer.max_epochs": 1,
        "trainer.callbacks": [],
        "trainer.num_sanity_val_steps": 0,
        "trainer.limit_val_batches": 0,
        "trainer.enable_progress_bar": False,
    }
    cli = lightning_cli(configuration(recipe, folder, 0, {**own, **changes}), run=False)
    started = time.perf_counter()
    cli.trainer.fit(cli.model, datamodule=cli.datamodule)
    seconds = time.perf_counter() - started
    return cli.trainer.global_step * cli.datamodule.batch_size, seconds


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_IMAGES} images, no table")
    parser.add_argument("--data-dir", metavar="FOLDER", help="folder with MNIST; downloaded if left out")
    parser.add_argument("--threads", type=int, default=THREADS, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    images, rows = QUICK_IMAGES if options.quick else IMAGES, []
    with tempfile.TemporaryDirectory() as folder:
        for recipe, network, changes in tqdm(NETWORKS, unit="network"):
            try:
                count, seconds = epoch(recipe, changes, options.data_dir, images, Path(folder))
            except (InvariantError, ImportError, ValueError) as error:  # ValueError: fewer images
                print(f"benchmarks.epochs: {error}", file=sys.stderr)
                return 2
            rows.append([recipe, network, f"{count:,}", f"{seconds:.1f}", f"{count / seconds:,.0f}"])
            tqdm.write(" | ".join(rows[-1]))
    if not options.quick:
        title = "An epoch of the image recipes on MNIST"
        print(write_table(options.out / "epochs.md", title, COLUMNS, rows, "python -m benchmarks.epochs", NOTES))
    return 0


if __name__ == "__main__":
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    sys.exit(main())
