"""The command `compare`: which invariant projection suits latents that somebody already has."""

from __future__ import annotations

import csv
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_invariant.cli.source import at_least

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable

    import torch

    from lightning_invariant.evaluation import Comparison
    from lightning_invariant.projections import Projection


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `compare` command."""
    parser = subparsers.add_parser(
        "compare",
        help="compare all invariant projections on your latents",
        description="Measure every projection that exists for a representation on latents from a file.",
    )
    parser.add_argument(
        "latents", metavar="LATENTS", help=".npz, .npy or .safetensors file of latents, with or without labels"
    )
    parser.add_argument("--representation", required=True, help="how the group acts, such as 'C8: 16 regular'")
    parser.add_argument("--labels", help="file with one label for each latent, if the file of latents has none")
    parser.add_argument("--size", type=at_least(1), help="desired number of features of the chosen projection")
    parser.add_argument(
        "--samples",
        type=int,
        help="number of latents to measure distances on (default: 300, or 60 where each distance needs a search)",
    )
    parser.add_argument("--seed", type=at_least(0), default=0, help="random seed (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="also write the table as JSON")
    parser.add_argument("--csv", metavar="FILE", help="also write the table as CSV")
    parser.add_argument("--figure", metavar="PNG", help="also draw the raw latents beside the chosen projection")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if the table was made."""
    from lightning_invariant.cli.latents import load_labels, load_latents
    from lightning_invariant.evaluation import compare

    z, labels = load_latents(args.latents)
    if args.labels:
        labels = load_labels(args.labels, len(z))
    settings = {"size": args.size, "samples": args.samples, "seed": args.seed, "progress": _progress}
    table = compare(z, args.representation, labels, **settings)
    if args.figure:
        _draw(z, labels, args.size, table, Path(args.figure))
    _print(table)
    if args.json:
        Path(args.json).write_text(json.dumps(table.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if args.csv:
        _write_csv(table, Path(args.csv))
    return 0


def _print(table: Comparison) -> None:
    if not sys.stdout.isatty() or not find_spec("rich"):
        print(table)
        return
    from rich.console import Console
    from rich.table import Table

    from lightning_invariant.evaluation.comparison import HEADINGS

    drawn = Table(title=table.representation)
    for heading in HEADINGS.values():
        drawn.add_column(heading, justify="left" if heading in ("projection", "guarantee") else "right")
    for row in table.rows:
        drawn.add_row(*row.cells(), style="bold green" if row.chosen else None)
    console = Console()
    console.print(drawn)
    console.print(table.footer(), markup=False, highlight=False)


def _write_csv(table: Comparison, path: Path) -> None:
    rows = table.to_dict()["rows"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _progress(projections: list[Projection]) -> Iterable[Projection]:
    if not sys.stderr.isatty() or not find_spec("rich"):
        return projections
    from rich.console import Console
    from rich.progress import track

    return track(projections, description="Measuring", console=Console(stderr=True), transient=True)


def _draw(z: torch.Tensor, labels: torch.Tensor | None, size: int | None, table: Comparison, path: Path) -> None:
    import torch

    from lightning_invariant.projections import choose
    from lightning_invariant.tracking.figures import scatter_pair

    projection = choose(table.representation, size).to(z.dtype)
    flat = projection.representation.flatten(z)
    with torch.no_grad():
        features = torch.cat([projection(rows) for rows in flat.split(512)])
    name = next(row.name for row in table.rows if row.chosen)
    scatter_pair(flat, features, labels, title=table.representation, names=("raw latents", name)).savefig(
        path, format="png"
    )
