"""The command `embed`: invariant features of a file or a folder of images, as a file."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from lightning_invariant.cli.source import add_source, at_least, load
from lightning_invariant.cli.terminal import show

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `embed` command."""
    parser = subparsers.add_parser(
        "embed",
        help="compute invariant features of a file or a folder of images",
        description="Compute invariant features batch by batch and write them to a file, with labels and file names "
        "where there are any.",
    )
    add_source(parser)
    parser.add_argument(
        "input", metavar="INPUT", help="folder of images, or a .npz, .npy, .safetensors or .parquet file"
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        help="file to write: .parquet, .npy, .npz or .safetensors; an existing one is replaced",
    )
    parser.add_argument("--latents", action="store_true", help="write raw latents instead of invariant features")
    parser.add_argument("--normalize", action="store_true", help="scale each row to length 1")
    parser.add_argument(
        "--processes", type=at_least(1), default=1, help="number of processes that compute (default: %(default)s)"
    )
    parser.add_argument(
        "--workers", type=at_least(0), default=0, help="number of processes that read images (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    encoder = load(args)
    started = time.perf_counter()
    written = encoder.encode(
        args.input,
        batch_size=args.batch_size,
        output=args.output,
        latents=args.latents,
        normalize=args.normalize,
        num_workers=args.workers,
        num_processes=args.processes,
        progress=not args.json,
    )
    size = encoder.config["latent_size" if args.latents else "features"]
    made = {"output": str(written), "size": size, "seconds": round(time.perf_counter() - started, 3)}
    what = "raw latents" if args.latents else "invariant features"
    show(json.dumps(made) if args.json else f"{written}: {what}, {size} numbers an input, {made['seconds']} s")
    return 0
