"""The command `verify`: does the certificate hold on inputs of your own?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_invariant.cli.source import add_source, at_least, load
from lightning_invariant.cli.terminal import show_table

if TYPE_CHECKING:
    import argparse

    from lightning_invariant.encoder.verify import Check


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `verify` command."""
    parser = subparsers.add_parser(
        "verify",
        help="check the certificate of an encoder on your data",
        description="Transform your inputs by random group elements and measure again what the certificate states. "
        "Exit status: 0 if it holds, 1 if it does not, 2 if it could not be measured.",
    )
    add_source(parser)
    parser.add_argument(
        "--data", required=True, help=".npz, .npy, .safetensors or .parquet file of inputs, with or without labels"
    )
    parser.add_argument(
        "--limit", type=at_least(2), default=2000, help="number of inputs to use (default: %(default)s)"
    )
    parser.add_argument(
        "--seed", type=at_least(0), default=0, help="seed of the random group elements (default: %(default)s)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status says whether the certificate holds."""
    from lightning_invariant.artifact.config import MASK, weights_digest
    from lightning_invariant.encoder.input_files import read_inputs
    from lightning_invariant.encoder.verify import verify

    encoder = load(args)
    inputs, labels = read_inputs(Path(args.data), len(encoder.config["inputs"]), encoder.config.get(MASK))
    inputs, labels = [x[: args.limit] for x in inputs], None if labels is None else labels[: args.limit]
    checks = verify(encoder, inputs, labels, seed=args.seed, batch_size=args.batch_size, progress=not args.json)
    holds = all(check.holds for check in checks)
    same = encoder.config["certified"] == weights_digest(encoder.config["files"])
    if args.json:
        rows = [{key: _finite(value) for key, value in check._asdict().items()} for check in checks]
        print(json.dumps({"holds": holds, "inputs": len(inputs[0]), "weights_as_measured": same, "checks": rows}))
    else:
        _show(checks, holds, len(inputs[0]))
        if not same:
            print("The weights were changed after the certificate was measured.")
    return 0 if holds else 1


def _show(checks: list[Check], holds: bool, count: int) -> None:
    rows = [
        (c.name, _number(c.certified), _number(c.measured), _number(c.limit), "yes" if c.holds else "NO")
        for c in checks
    ]
    show_table(("", "certified", "measured", "limit", "holds"), rows)
    print(f"\nThe certificate {'holds' if holds else 'does not hold'} on {count} inputs transformed at random.")


def _number(value: float | None) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.4g}"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
