"""Projections beside the plain loop over group elements: cost, cost curves, and how much of the quotient they keep.

Run: python -m benchmarks.projections [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant import projections as P
from lightning_invariant.groups import Representation
from lightning_invariant.groups.finite_blocks import Points

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

THREADS = 2
ROUNDS, QUICK_ROUNDS = 9, 2
ROWS, QUICK_ROWS = 10_000, 512
CURVES = {
    "|G| of C_n, 16 regular fields, K = 2 D": [f"C{n}: 16 regular" for n in (4, 8, 16, 32, 64)],
    "|G| of D_n, 8 regular fields, K = 2 D": [f"D{n}: 8 regular" for n in (2, 4, 8, 16, 32)],
    "regular fields of C8, K = 2 D": [f"C8: {m} regular" for m in (4, 16, 64, 256)],
    "points of S_n, one number each": [f"S{n}: {n} points" for n in (4, 16, 64, 250, 1000)],
    "points of S_n, 8 numbers each": [f"S{n}: {n} points x 8" for n in (4, 16, 64, 250, 1000)],
}
BATCHES = (1, 10, 100, 1_000, 10_000)
CURVE_ROWS = 256
SIZED = ("RandomFeatures", "SortedCoorbits", "MaxFilter", "PointSort")
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


def roll_and_multiply(z: Tensor, templates: Tensor, *, sort: bool) -> Tensor:
    """The plain loop for regular fields of C_n: roll the latents, multiply, keep the maximum or sort in the end."""
    found: list[Tensor] = []
    for g in range(z.shape[-1]):
        values = z.roll(g, dims=-1).flatten(1) @ templates.mT
        found = [*found, values] if sort or not found else [torch.maximum(found[0], values)]
    return torch.stack(found, dim=-1).sort(dim=-1, descending=True).values.flatten(1) if sort else found[0]


def bare(projection: P.MaxFilter | P.SortedCoorbits, z: Tensor) -> Callable[[], None]:
    """The reduced products, their inverse transform, and the maxima or sorts alone, on inputs that are ready."""
    products = projection.products
    rows = products.rows("cpu")
    shares = [products.coordinates(part) for part in z.split(rows)]
    reduce = (lambda x: x.amax(dim=0)) if isinstance(projection, P.MaxFilter) else projection._sorted
    ready, bases = products.products(z[:rows]), products.bases(z.dtype)

    def run() -> None:
        for block in shares:
            for share, templates in zip(block, bases, strict=True):
                for f in range(len(share)):
                    share[f] @ templates[f]
            if products.table_synthesis is not None:
                products.table_synthesis.to(z.dtype) @ ready.flatten(1)
            reduce(ready)

    return run


def against_the_loop(rows: int, rounds: int, n: int = 8, m: int = 64) -> list[list[Any]]:
    """Seconds of the plain loop, ours, and the bare operations, for max filter and sorted coorbits."""
    text, size = f"C{n}: {m} regular", 2 * n * m
    z, table = torch.randn(rows, m, n, generator=torch.Generator().manual_seed(0)), []
    for projection in (P.MaxFilter(text, size), P.SortedCoorbits(text, size)):
        sort = isinstance(projection, P.SortedCoorbits)
        templates = torch.randn(size // n if sort else size, n * m, generator=torch.Generator().manual_seed(1))
        run = (
            lambda t=templates, s=sort: roll_and_multiply(z, t, sort=s),
            lambda p=projection: p(z),
            bare(projection, z.flatten(1)),
        )
        loop, ours, least = least_seconds(run, rounds)
        table.append([type(projection).__name__, text, size, rows, loop, ours, least, loop / ours, ours / least])
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
                kinds = [P.PointSort] if " x " in text else [P.Sort]
            built = [kind(text) for kind in kinds]
            _add(curves, axis, text, built, z, rounds)
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


def clusters(text: str, n: int, classes: int, noise: float, seed: int) -> tuple[Tensor, Tensor]:
    """Noisy copies of Gaussian prototypes, each moved by a random element, with their labels."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(seed)
    prototypes = representation.random(classes, generator)
    labels = torch.randint(classes, (n,), generator=generator)
    z = prototypes[labels] + noise * representation.random(n, generator)
    return representation.move(z, representation.group.sample(n, generator)).double(), labels


def quotient_distances(text: str, z: Tensor, w: Tensor) -> Tensor:
    """min_g |z_i - rho(g) w_j|, shape (n, m): by elements for small groups, by assignment for S_n."""
    representation = Representation.parse(text)
    if representation.group.order <= 64:  # type: ignore[operator]  # finite groups only
        moved = (representation.move(w, g) for g in representation.group.elements())
        return torch.stack([torch.cdist(z, other) for other in moved]).amin(dim=0)
    from scipy.optimize import linear_sum_assignment

    x, y = (v.reshape(len(v), *representation.shape) for v in (z, w))
    squares = torch.cdist(x[:, None], y[None]).square()
    best = [[cost[linear_sum_assignment(cost)].sum() for cost in row] for row in squares.numpy()]
    return torch.tensor(best).sqrt()


def channels_apart(text: str, z: Tensor, seed: int) -> Tensor:
    """Every channel moved by an element of its own."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(seed)
    block = representation.blocks[0]
    x = z.reshape(len(z), *block.shape)
    points = isinstance(block, Points)
    x = x.mT if points else x
    order = torch.rand(*x.shape, generator=generator).argsort(dim=-1) if points else None
    shift = torch.randint(block.dim, (*x.shape[:2], 1), generator=generator)
    x = x.gather(-1, (torch.arange(block.dim) - shift) % block.dim if order is None else order)
    return (x.mT if points else x).flatten(1)


def kept(text: str, project: Callable[[Tensor], Tensor], data: tuple[Tensor, Tensor], exact: Tensor) -> list[float]:
    """Distortion, its 1 to 99 percentiles, Spearman, 1-NN agreement, label 1-NN, hard-negative ratio."""
    z, labels = data
    features, n = project(z), len(z)
    found = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    i, j = torch.triu_indices(n, n, offset=1)
    ratios = found[i, j] / exact[i, j]
    low, high = ratios.quantile(torch.tensor([0.01, 0.99], dtype=ratios.dtype)).tolist()
    ranks = torch.stack([v[i, j].argsort().argsort().double() for v in (found, exact)])
    nearest = [(d + torch.diag(torch.full((n,), math.inf))).argmin(dim=1) for d in (found, exact)]
    apart = channels_apart(text, z, seed=1)
    distance = quotient_distances(text, z[:100], apart[:100]).diagonal()
    hard = (features[:100] - project(apart[:100])).norm(dim=1)[distance > 1e-6] / distance[distance > 1e-6]
    return [
        float(ratios.max() / ratios.min()) if ratios.min() > 0 else math.inf,
        high / low,
        float(torch.corrcoef(ranks)[0, 1]),
        float((nearest[0] == nearest[1]).double().mean()),
        float((labels[nearest[0]] == labels).double().mean()),
        float(hard.median() / ratios.median()),
    ]


def quality(*, quick: bool) -> list[list[Any]]:
    """The C_8 and S_9 tasks: how much of the quotient each map keeps."""
    tasks = [
        ("C8: 8 regular", 60, 0.5, ["raw", "OrbitMean", "ChannelMax", "RandomFeatures", "SortedCoorbits", "MaxFilter"]),
        ("S9: 9 points", 60, 0.15, ["raw", "Sort", "OrbitMean"]),
        ("S9: 9 points x 16", 60, 0.5, ["raw", "OrbitMean", "ChannelMax", "PointSort"]),
    ]
    table = []
    for text, classes, noise, names in tasks:
        data = clusters(text, 60 if quick else 300, classes, noise, seed=0)
        exact = quotient_distances(text, data[0], data[0])
        size = data[0].shape[1]
        for name in names:
            sizes = (
                [2 * size, 8 * size] if name in ("RandomFeatures", "SortedCoorbits", "MaxFilter", "PointSort") else [0]
            )
            for out in sizes:
                project = _projection(name, text, out)
                table.append([text, name, out or project(data[0]).shape[1], *kept(text, project, data, exact)])
    return table


def _projection(name: str, text: str, size: int) -> Callable[[Tensor], Tensor]:
    if name == "raw":
        return lambda z: z
    return P.Projection.from_config({"name": name, "representation": text, **({"out_features": size} if size else {})})


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
                labels = [text.split()[1] if "fields of" in axis else text.split(":")[0] for text, _ in points]
                panel.plot(labels, [cost for _, cost in points], marker="o", label=kind)
        panel.set(title=axis, yscale="log", ylabel="µs a latent")
        panel.title.set_fontsize(9)
        panel.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the tables")
    options = parser.parse_args(argv)
    torch.set_num_threads(THREADS)
    rounds, rows = (QUICK_ROUNDS, QUICK_ROWS) if options.quick else (ROUNDS, ROWS)
    command = "python -m benchmarks.projections" + (" --quick" if options.quick else "")
    loop = against_the_loop(rows, rounds)
    curves = cost_curves(rounds, quick=options.quick)
    kept_rows = quality(quick=options.quick)
    write_table(
        options.out / "projections.md",
        "Max filter and sorted coorbits beside the plain loop over group elements",
        ["projection", "latents", "size", "rows", "loop, s", "ours, s", "bare, s", "times faster", "ours over bare"],
        loop,
        command,
        ["Loop: roll, multiply, maximum or sort. Bare: reduced products, inverse transform, maxima or sorts alone."],
    )
    write_table(
        options.out / "projections_curves.md",
        "Cost of projections along the sizes",
        ["projection", "axis", "latents", "µs a latent"],
        [[*name.split(": ", 1), text, cost] for name, points in curves.items() for text, cost in points],
        command,
        [f"Batches of {CURVE_ROWS} unless the axis is the batch. Drawn in projections_curves.png."],
    )
    write_table(
        options.out / "projections_quality.md",
        "What projections keep of the quotient",
        [
            *("latents", "projection", "size", "distortion", "99 over 1 percentile", "Spearman"),
            *("quotient 1-NN", "label 1-NN", "hard-negative ratio"),
        ],
        kept_rows,
        command,
        ["Noisy copies of 60 Gaussian prototypes, moved at random. Hard negatives: every channel moved by itself."],
    )
    options.out.mkdir(parents=True, exist_ok=True)
    draw(curves, options.out / "projections_curves.png")
    if options.json:
        write_json(options.json, {"loop": loop, "curves": curves, "quality": kept_rows}, command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
