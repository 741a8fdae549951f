"""The command `embed`: invariant features of a file or a folder of images, as a file."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from lightning_invariant.cli.source import add_source, load
from lightning_invariant.cli.terminal import show

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `embed` command."""
    parser = subparsers.add_parser(
        "embed",
        help="invariant features of a file or a folder of images",
        description="Write invariant features, batch by batch, and labels and names of files where there are any.",
    )
    add_source(parser)
    parser.add_argument("input", metavar="INPUT", help="a folder of images, .npz, .npy, .safetensors or .parquet")
    parser.add_argument(
        "-o", "--output", required=True, help="a file ending in .parquet, .npy, .npz or .safetensors, which is replaced"
    )
    parser.add_argument("--latents", action="store_true", help="raw latents in place of invariant features")
    parser.add_argument("--normalize", action="store_true", help="divide each row by its length")
    parser.add_argument("--processes", type=int, default=1, help="processes that compute (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images (default: %(default)s)")
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
