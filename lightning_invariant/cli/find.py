"""The command `find`: how a group acts on latents that somebody already has."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.cli.source import at_least

if TYPE_CHECKING:
    import argparse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `find` command."""
    parser = subparsers.add_parser(
        "find",
        help="find the representation by which a group acts on your latents",
        description="Find how a group acts on latents, given latents of inputs and of the transformed inputs.",
    )
    parser.add_argument(
        "latents",
        metavar="LATENTS",
        help=".npz or .safetensors file with latents, transformed (of the same inputs, row by row) and elements",
    )
    parser.add_argument("--group", required=True, help="group that transformed the inputs, such as C4, D4 or SO3")
    parser.add_argument("--json", metavar="FILE", help="write the representation, errors, and order or basis as JSON")
    parser.add_argument(
        "--tolerance", type=float, help="error that counts as found, as a share of that of random pairs (default: 0.06)"
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed (default: %(default)s)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if a representation was found, 1 if none was."""
    from lightning_invariant.cli.latents import load_pairs
    from lightning_invariant.evaluation import find_representation

    z, w, g = load_pairs(args.latents)
    found = find_representation(z, w, args.group, g, tolerance=args.tolerance, seed=args.seed)
    print(found)
    if args.json:
        said = {
            "group": str(found.group),
            "representation": None if found.representation is None else str(found.representation),
            "errors": found.errors._asdict(),
            "keeps_distances": found.keeps_distances,
            "order": None if found.order is None else found.order.tolist(),
            "basis": found.basis.tolist(),
            "offset": found.offset.tolist(),
        }
        if found.errors.found == float("inf"):
            said["errors"]["found"] = None
        Path(args.json).write_text(json.dumps(said, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return 0 if found.representation is not None else 1
