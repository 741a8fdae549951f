"""The command `compare`: which invariant projection suits latents that somebody already has."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Sequence

    import numpy as np
    import torch

    from lightning_invariant.cli.comparison import Comparison, Row
    from lightning_invariant.groups import Representation
    from lightning_invariant.projections import Projection

HEADINGS = {
    "name": "projection",
    "features": "size",
    "guarantee": "guarantee",
    "distortion": "distortion 1-99%",
    "spearman": "Spearman",
    "hard_negative": "hard neg.",
    "knn": "kNN",
    "ridge": "ridge",
    "seconds": "s / 10,000",
}


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the `compare` command."""
    parser = subparsers.add_parser(
        "compare",
        help="table of all invariant projections of your latents",
        description="Measure every projection that a representation admits on latents from a file.",
    )
    parser.add_argument("latents", metavar="LATENTS", help=".npz, .npy or .safetensors; labels may stand beside them")
    parser.add_argument("--representation", required=True, help="how the group acts, such as 'C8: 16 regular'")
    parser.add_argument("--labels", help="file with one label a latent, if the latents' file has none")
    parser.add_argument("--size", type=int, help="wished number of features of the chosen projection")
    parser.add_argument(
        "--samples", type=int, help="latents for distances (default: 300, or 60 where a distance takes a search)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of every random choice (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the table as JSON")
    parser.add_argument("--csv", metavar="FILE", help="write the table as CSV")
    parser.add_argument("--picture", metavar="PNG", help="draw raw latents beside the chosen projection")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command; the exit status is 0 if the table was made."""
    found = compare(
        args.latents,
        args.representation,
        args.labels,
        size=args.size,
        samples=args.samples,
        seed=args.seed,
        picture=args.picture,
    )
    _print(found)
    if args.json:
        Path(args.json).write_text(json.dumps(found.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
    if args.csv:
        _write_csv(found, Path(args.csv))
    return 0


def compare(
    path: str | Path,
    representation: Representation | str,
    labels: str | Path | np.ndarray | torch.Tensor | None = None,
    *,
    size: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    picture: str | Path | None = None,
) -> Comparison:
    """Measure every projection of the latents in a file.

    Args:
        path: .npz, .npy or .safetensors (see `lightning_invariant.cli.latents`).
        representation: How the group acts on the latents.
        labels: A file, or one label a latent; those of the latents' file if None.
        size: Wished number of features of the chosen projection.
        samples: How many latents distances are measured on.
        seed: Of every random choice.
        picture: A PNG to draw raw and chosen features into.

    Raises:
        LatentError: The file cannot be read or does not fit the representation.
        GroupError: No projection is known for the representation.
        ParseError: The representation cannot be read.
    """
    from lightning_invariant.cli.comparison import compare as measure
    from lightning_invariant.cli.latents import as_labels, load_labels, load_latents

    z, found = load_latents(path)
    if labels is not None:
        is_file = isinstance(labels, (str, Path))
        found = load_labels(labels, len(z)) if is_file else as_labels(labels, len(z))  # type: ignore[arg-type]
    comparison = measure(z, representation, found, size=size, samples=samples, seed=seed, progress=_progress)
    if picture is not None:
        _draw(z, representation, found, size, comparison, Path(picture))
    return comparison


def text_table(comparison: Comparison) -> str:
    """The table as plain text, the chosen projection marked by an asterisk."""
    lines = [list(HEADINGS.values()), *(_cells(row) for row in comparison.rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADINGS))]
    body = ["  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([body[0], "-" * len(body[0]), *body[1:], "", _footer(comparison)])


def _print(comparison: Comparison) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        print(text_table(comparison))
        return
    if not sys.stdout.isatty():
        print(text_table(comparison))
        return
    table = Table(title=comparison.representation)
    for heading in HEADINGS.values():
        table.add_column(heading, justify="left" if heading in ("projection", "guarantee") else "right")
    for row in comparison.rows:
        table.add_row(*_cells(row), style="bold green" if row.chosen else None)
    console = Console()
    console.print(table)
    console.print(_footer(comparison), markup=False, highlight=False)


def _cells(row: Row) -> list[str]:
    low, high = row.distortion_low, row.distortion_high
    spread = "-" if low is None or high is None else f"{high / low:.3g}" if low > 0 else "inf"
    numbers = [_number(row.spearman), _number(row.hard_negative), _number(row.knn), _number(row.ridge)]
    seconds = "-" if row.seconds is None else f"{row.seconds:.2g}"
    name = f"* {row.name}" if row.chosen else f"  {row.name}"
    return [name, str(row.features), row.guarantee, spread, *numbers, seconds]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _footer(comparison: Comparison) -> str:
    kind = "exact" if comparison.exact else "upper bounds from samples"
    return (
        f"* chosen: {comparison.reason}\nDistances on {comparison.samples} latents, orbit distances {kind}, seed "
        f"{comparison.seed}. Distortion: 99th over 1st percentile of feature distance over orbit distance (1 is "
        "isometric). Hard neg.: distance to the latent with its channels moved apart over that between different "
        "latents (0 is not told apart)."
    )


def _write_csv(comparison: Comparison, path: Path) -> None:
    from lightning_invariant.cli.comparison import Row

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in comparison.rows)


def _progress(projections: Sequence[Projection]) -> Iterable[Projection]:
    if not sys.stderr.isatty():
        return projections
    try:
        from rich.console import Console
        from rich.progress import track
    except ImportError:
        return projections
    return track(projections, description="Measuring", console=Console(stderr=True), transient=True)


def _draw(
    z: torch.Tensor,
    representation: Representation | str,
    labels: torch.Tensor | None,
    size: int | None,
    comparison: Comparison,
    path: Path,
) -> None:
    import torch

    from lightning_invariant.projections import choose
    from lightning_invariant.tracking.figures import scatter_pair

    projection = choose(representation, size).to(z.dtype)
    flat = projection.representation.flatten(z)
    with torch.no_grad():
        features = torch.cat([projection(rows) for rows in flat.split(512)])
    name = next(row.name for row in comparison.rows if row.chosen)
    scatter_pair(flat, features, labels, title=comparison.representation, names=("raw latents", name)).savefig(
        path, format="png"
    )
