"""Projections beside the plain loop over group elements: cost, cost curves, and how much of the quotient they keep.

Run: python -m benchmarks.projections [--json FILE] [--quick] [--only loop curves quality choice]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.choice import BEST, choices
from benchmarks.choice import COLUMNS as COLUMNS_OF_CHOICE
from benchmarks.choice import NOTES as NOTES_ON_CHOICE
from benchmarks.quality import COLUMNS, NOTES, quality
from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant import projections as P
from lightning_invariant.groups import Cyclic, FiniteGroup, Representation
from lightning_invariant.projections.finite.coorbits import sort_slices

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

THREADS = 2
DOCS = RESULTS.parents[1] / "docs"
ROUNDS, QUICK_ROUNDS = 9, 2
QUICK_ROWS = 512
LOOPS = (
    ("C8: 64 regular", 10_000),
    ("C16: 64 regular", 2_000),
    ("C32: 64 regular", 500),
    ("C64: 64 regular", 125),
    ("D4: 64 regular", 10_000),
    ("D8: 64 regular", 2_000),
    ("D16: 64 regular", 500),
)
"""Latents and rows of the comparison with the plain loop; the work of the loop grows with the cube of |G|."""
CURVES = {
    "|G| of C_n, 16 regular fields, K = 2 D": [f"C{n}: 16 regular" for n in (4, 8, 16, 32, 64)],
    "|G| of D_n, 8 regular fields, K = 2 D": [f"D{n}: 8 regular" for n in (2, 4, 8, 16, 32)],
    "regular fields of C8, K = 2 D": [f"C8: {m} regular" for m in (4, 16, 64, 256)],
    "points of S_n, one number each": [f"S{n}: {n} points" for n in (4, 16, 64, 250, 1000)],
    "pairs of S_n, one number each": [f"S{n}: 1 pairs" for n in (4, 8, 16, 32)],
    "points of S_n, 8 numbers each": [f"S{n}: {n} points x 8" for n in (4, 16, 64, 250, 1000)],
}
CHOSEN = {
    "regular fields of C8, what choose takes": [f"C8: {m} regular" for m in (4, 32, 128, 512)],
    "vectors of O3, what choose takes": [f"O3: {m} vectors" for m in (4, 85, 341, 1365)],
    "irreps of SO2, what choose takes": [f"SO2: {m}x1 + {m}x2" for m in (4, 64, 256, 1024)],
    "irreps of SO3, what choose takes": [f"SO3: {4 * m}x0 + {2 * m}x1 + {m}x2" for m in (2, 17, 68, 273)],
    "points of S_n x SO3, what choose takes": [f"S{n} x SO3: 5 points*0 + 1 points*vectors" for n in (4, 8, 16, 32)],
}
"""Latents up to 4,096 numbers whose map `choose` picks."""
BATCHES = (1, 10, 100, 1_000, 10_000)
CURVE_ROWS = 256
Curves = dict[str, list[tuple[str, float]]]


def least_seconds(functions: Sequence[Callable[[], Any]], rounds: int) -> list[float]:
    """Least seconds of each function over several rounds, taken in turn."""
    best = [math.inf] * len(functions)
    with torch.no_grad():
        for _ in range(rounds):
            for i, function in enumerate(functions):
                start = time.perf_counter()
                function()
                best[i] = min(best[i], time.perf_counter() - start)
    return best


def move_and_multiply(
    z: Tensor, moves: Sequence[Callable[[Tensor], Tensor]], templates: Tensor, *, sort: bool
) -> Tensor:
    """The plain loop for regular fields: move the latents, multiply, keep the maximum or sort in the end."""
    found: list[Tensor] = []
    for move in moves:
        values = move(z).flatten(1) @ templates.mT
        found = [*found, values] if sort or not found else [torch.maximum(found[0], values)]
    return torch.stack(found, dim=-1).sort(dim=-1, descending=True).values.flatten(1) if sort else found[0]


def moves_of(group: FiniteGroup) -> list[Callable[[Tensor], Tensor]]:
    """How each element moves regular fields, in the fastest plain way: a roll for C_n, otherwise a gather."""
    if isinstance(group, Cyclic):
        return [lambda z, g=g: z.roll(g, dims=-1) for g in range(group.n)]
    return [lambda z, order=order: z[..., order] for order in group.translation(group.elements())]


def bare(projection: P.MaxFilter | P.SortedCoorbits, z: Tensor) -> Callable[[], None]:
    """The reduced products, their inverse transform, and the maxima or sorts alone, on inputs that are ready."""
    products = projection.products
    rows = products.rows("cpu")
    shares = [products.coordinates(part) for part in z.split(rows)]
    ready, bases = products.products(z[:rows]), products.bases(z.dtype)
    sort = isinstance(projection, P.SortedCoorbits)

    def run() -> None:
        for block in shares:
            for share, templates in zip(block, bases, strict=True):
                for f in range(len(share)):
                    share[f] @ templates[f]
            if products.table_synthesis is not None:
                products.table_synthesis.to(z.dtype) @ ready.flatten(1)
            sort_slices(ready) if sort else ready.amax(dim=0)

    return run


def against_the_loop(text: str, rows: int, rounds: int) -> list[list[Any]]:
    """Seconds of the plain loop, ours, and the bare operations, for max filter and sorted coorbits at K = 2 D."""
    representation, table = Representation.parse(text), []
    m, n = representation.shape
    size = 2 * representation.size
    z = representation.random(rows, torch.Generator().manual_seed(0)).reshape(rows, m, n)
    moves = moves_of(representation.group)  # type: ignore[arg-type]  # regular fields have a listed group
    for projection in (P.MaxFilter(text, size), P.SortedCoorbits(text, size)):
        sort = isinstance(projection, P.SortedCoorbits)
        templates = torch.randn(size // n if sort else size, n * m, generator=torch.Generator().manual_seed(1))
        run = (
            lambda t=templates, s=sort: move_and_multiply(z, moves, t, sort=s),
            lambda p=projection: p(z),
            bare(projection, z.flatten(1)),
            lambda k=projection.out_features: torch.empty(rows, k).zero_(),
        )
        loop, ours, least, writing = least_seconds(run, rounds)
        ratios = [loop / ours, ours / least, ours / (least + writing)]
        table.append([type(projection).__name__, text, size, rows, loop, ours, least, writing, *ratios])
    return table


def cost_curves(rounds: int, *, quick: bool) -> Curves:
    """Microseconds a latent along each axis."""
    curves: Curves = {}
    generator = torch.Generator().manual_seed(0)
    for axis, texts in CURVES.items():
        for text in texts[: 2 if quick else None]:
            z = Representation.parse(text).random(CURVE_ROWS, generator)
            kinds = [P.MaxFilter, P.SortedCoorbits]
            if text.startswith("S"):
                kinds = [P.PairSort] if "pairs" in text else [P.PointSort] if " x " in text else [P.Sort]
            built = [kind(text) for kind in kinds]
            _add(curves, axis, text, built, z, rounds)
    for axis, texts in CHOSEN.items():
        for text in texts[: 2 if quick else None]:
            z = Representation.parse(text).random(CURVE_ROWS, generator)
            _add(curves, axis, text, [P.choose(text)], z, rounds)
    built = [P.MaxFilter("C8: 16 regular"), P.SortedCoorbits("C8: 16 regular")]
    for batch in BATCHES[: 2 if quick else None]:
        z = built[0].representation.random(batch, generator)
        _add(curves, "rows of a batch, C8: 16 regular", str(batch), built, z, rounds)
    return curves


def _add(curves: Curves, axis: str, at: str, built: Sequence[P.Projection], z: Tensor, rounds: int) -> None:
    seconds = least_seconds([lambda p=projection: p(z) for projection in built], rounds)
    for projection, second in zip(built, seconds, strict=True):
        points = curves.setdefault(f"{type(projection).__name__}: {axis}", [])
        points.append((at, 1e6 * second / len(z)))


def draw(curves: Curves, path: Path) -> None:
    """One panel an axis, microseconds a latent on a logarithmic scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    axes = list(dict.fromkeys(name.split(": ", 1)[1] for name in curves))
    figure, panels = pyplot.subplots(2, math.ceil(len(axes) / 2), figsize=(13, 7), constrained_layout=True)
    for axis, panel in zip(axes, panels.flat, strict=False):
        for name, points in curves.items():
            kind, along = name.split(": ", 1)
            if along == axis:
                labels = [_label(text, axis) for text, _ in points]
                panel.plot(labels, [cost for _, cost in points], marker="o", label=kind)
        panel.set(title=axis, yscale="log", ylabel="µs a latent")
        panel.title.set_fontsize(9)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _label(text: str, axis: str) -> str:
    if "choose" in axis:
        return str(Representation.parse(text).size)
    return text.split()[1] if "fields of" in axis else text.split(":")[0]


PARTS = ("loop", "curves", "quality", "choice")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS, help="parts to measure; all if left out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the tables")
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the table of choices")
    options = parser.parse_args(argv)
    torch.set_num_threads(THREADS)
    command = "python -m benchmarks.projections" + (" --quick" if options.quick else "")
    if len(options.only) < len(PARTS):
        command += f" --only {' '.join(options.only)}"
    options.out.mkdir(parents=True, exist_ok=True)
    measures = {"loop": loop_table, "curves": curve_table, "quality": quality_table, "choice": choice_table}
    folders = dict.fromkeys(PARTS, options.out) | {"choice": options.docs}
    found = {part: measures[part](folders[part], command, quick=options.quick) for part in options.only}
    if options.json:
        write_json(options.json, found, command)
    return 0


def loop_table(out: Path, command: str, *, quick: bool) -> list[list[Any]]:
    rounds, most, cases = (QUICK_ROUNDS, QUICK_ROWS, LOOPS[:1]) if quick else (ROUNDS, LOOPS[0][1], LOOPS)
    rows = [row for text, rows in cases for row in against_the_loop(text, min(rows, most), rounds)]
    write_table(
        out / "projections.md",
        "Max filter and sorted coorbits beside the plain loop over group elements",
        [
            *("projection", "latents", "size", "rows", "loop, s", "ours, s", "bare, s", "writing, s"),
            *("times faster", "ours over bare", "ours over bare and writing"),
        ],
        rows,
        command,
        [
            "Loop: roll, multiply, maximum or sort. Bare: reduced products, inverse transform, maxima or sorts alone, "
            "in memory that is used again. "
            "Writing: filling fresh memory of the result's size, which loop and ours do too.",
        ],
    )
    return rows


def curve_table(out: Path, command: str, *, quick: bool) -> Curves:
    curves = cost_curves(QUICK_ROUNDS if quick else ROUNDS, quick=quick)
    write_table(
        out / "projections_curves.md",
        "Cost of projections along the sizes",
        ["projection", "axis", "latents", "µs a latent"],
        [[*name.split(": ", 1), text, cost] for name, points in curves.items() for text, cost in points],
        command,
        [f"Batches of {CURVE_ROWS} unless the axis is the batch. Drawn in projections_curves.png."],
    )
    draw(curves, out / "projections_curves.png")
    return curves


def quality_table(out: Path, command: str, *, quick: bool) -> list[list[Any]]:
    rows = quality(quick=quick)
    write_table(out / "projections_quality.md", "What projections keep of the quotient", COLUMNS, rows, command, NOTES)
    return rows


def choice_table(out: Path, command: str, *, quick: bool) -> list[list[Any]]:
    rows = choices(quick=quick)
    title = f"What `choose` takes, for {len(BEST)} representations"
    write_table(out / "projections.md", title, COLUMNS_OF_CHOICE, rows, command, NOTES_ON_CHOICE)
    return rows


if __name__ == "__main__":
    sys.exit(main())
