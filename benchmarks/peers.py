"""Our projections beside the invariant pooling of escnn and e3nn: seconds, sizes, and what is told apart.

Run: python -m benchmarks.peers [--quick] [--json FILE] [--escnn-python PATH]

escnn holds NumPy back, so it lives in an environment of its own. PATH is that environment's Python: it runs both sides
of the comparison with escnn in one process.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from benchmarks.projections import least_seconds
from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant import projections as P
from lightning_invariant.groups import Representation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

THREADS = 1
ROWS, QUICK_ROWS = (1_024, 10_000), (16, 64)
ROUNDS, QUICK_ROUNDS = 15, 2
PAIRS = 256
ROOT = Path(__file__).resolve().parent.parent
ESCNN_RECIPE = (
    'pip install torch "numpy<2" scipy joblib lie-learn pymanopt autograd "scikit-learn<1.7"; '
    "pip install --no-deps escnn; then pass that environment's Python as --escnn-python PATH"
)
IRREPS = {
    "SO3: 8x0 + 8x1 + 8x2": ["SphericalPowerSpectrum", "SphericalBispectrum"],
    "SO3: 8x0 + 8x1": ["GramRoot"],
}


class Map(NamedTuple):
    """One map of a comparison."""

    name: str
    call: Callable[[Any], Any]
    beside: str = ""
    """Name of the peer whose time ours is divided by; empty for a peer."""
    same: Callable[[Tensor], Tensor] | None = None
    """Where the peer gives the same numbers: how both are read before they are compared."""
    prepare: Callable[[Tensor], Any] = lambda z: z
    """What is done to latents (B, D) beforehand, outside of the time."""
    read: Callable[[Any], Tensor] = lambda y: y
    """Features (B, K) of what the map returns."""


def moved(representation: Representation, z: Tensor, generator: torch.Generator, *, apart: str = "") -> Tensor:
    """Latents moved by random elements: one for all, or one for each copy ("channels") or term ("terms")."""
    out = torch.empty_like(z)
    for cut in _cuts(representation, apart):
        out[:, cut] = representation.move(z, representation.group.sample(len(z), generator))[:, cut]
    return out


def _cuts(representation: Representation, apart: str) -> Iterator[slice]:
    if not apart:
        yield slice(None)
        return
    for block, where in zip(representation, representation.slices, strict=True):
        step = block.size // block.copies if apart == "channels" else block.size
        yield from (slice(start, start + step) for start in range(where.start, where.stop, step))


@torch.no_grad()
def told_apart(text: str, features: Callable[[Tensor], Tensor]) -> dict[str, float | str]:
    """Median distances of features to those of moved latents, over the median distance to those of other latents."""
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    z, others = (representation.random(PAIRS, generator) for _ in range(2))
    found = features(z)
    unit = (found - features(others)).norm(dim=1).median()
    ratios: dict[str, float | str] = {}
    for kind in ("", "channels", "terms"):
        other = moved(representation, z, generator, apart=kind)
        ratios[kind or "together"] = float((found - features(other)).norm(dim=1).median() / unit)
    if sum(block.dim > 1 for block in representation) == 1:
        ratios["terms"] = "-"
    return ratios


@torch.no_grad()
def measure(library: str, text: str, maps: Sequence[Map], *, quick: bool) -> list[dict[str, Any]]:
    """Seconds in interleaved rounds, sizes, differences from peers and what is told apart, one dict a map."""
    generator = torch.Generator().manual_seed(1)
    latents = [Representation.parse(text).random(rows, generator) for rows in (QUICK_ROWS if quick else ROWS)]
    rounds = QUICK_ROUNDS if quick else ROUNDS
    names = [m.name for m in maps]
    seconds: dict[int, dict[str, float]] = {}
    for z in latents:
        calls = [partial(m.call, m.prepare(z)) for m in maps]
        seconds[len(z)] = dict(zip(names, least_seconds(calls, rounds), strict=True))
    values = {m.name: m.read(m.call(m.prepare(latents[0]))) for m in maps}
    table = []
    for m in maps:
        taken = {rows: found[m.name] for rows, found in seconds.items()}
        difference: float | str = "-"
        if m.same is not None:
            difference = float((m.same(values[m.name]) - m.same(values[m.beside])).abs().max())
        table.append(
            {
                "from": "ours" if m.beside else library,
                "latents": text,
                "map": m.name,
                "size": values[m.name].shape[1],
                "seconds": taken,
                "beside": m.beside or "-",
                "times": {rows: taken[rows] / seconds[rows][m.beside] if m.beside else "-" for rows in taken},
                "difference": difference,
                **told_apart(text, lambda z, m=m: m.read(m.call(m.prepare(z)))),
            }
        )
    return table


def beside_e3nn(*, quick: bool) -> dict[str, Any]:
    """Norms and products of irreps; e3nn runs in this process."""
    if importlib.util.find_spec("e3nn") is None:
        return {"rows": [], "note": "e3nn: not installed here; install it with: pip install e3nn"}
    from e3nn import o3

    rows = []
    for text, joint in IRREPS.items():
        irreps = o3.Irreps(" + ".join(f"{term.strip()}e" for term in text.split(":")[1].split("+")))
        maps = [
            Map("o3.Norm", o3.Norm(irreps)),
            Map("o3.TensorSquare to 0e", o3.TensorSquare(irreps, filter_ir_out=["0e"])),
            Map("ChannelNorm", P.ChannelNorm(text), beside="o3.Norm", same=torch.abs),
        ]
        products = ("o3.TensorSquare to 0e" if name != "SphericalBispectrum" else "o3.Norm" for name in joint)
        maps += [Map(name, getattr(P, name)(text), beside=peer) for name, peer in zip(joint, products, strict=True)]
        rows += measure("e3nn", text, maps, quick=quick)
    return {"rows": rows, "note": f"e3nn {version('e3nn')}, torch {version('torch')}."}


def beside_escnn(python: str | None, *, quick: bool) -> dict[str, Any]:
    """Pooling of regular fields, measured by the Python of an environment that has escnn."""
    if python is None:
        return {"rows": [], "note": f"escnn: not installed here; make the environment with: {ESCNN_RECIPE}."}
    command = [python, "-m", "benchmarks.peers_escnn", *(["--quick"] if quick else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        last = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise ValueError(
            f"Expected --escnn-python to be the Python of an environment with escnn but got '{python}' ({last}); "
            f"make the environment with: {ESCNN_RECIPE}."
        ) from error
    return json.loads(done.stdout.splitlines()[-1])


def cells(row: dict[str, Any]) -> list[Any]:
    """One row of the table."""
    return [
        *(row["from"], row["latents"], row["map"], row["size"]),
        *(1e3 * seconds for seconds in row["seconds"].values()),
        *(row["beside"], *row["times"].values()),
        *(row["difference"], row["together"], row["channels"], row["terms"]),
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--escnn-python", metavar="PATH", help="Python of an environment that has escnn")
    options = parser.parse_args(argv)
    torch.set_num_threads(THREADS)
    command = "python -m benchmarks.peers" + (" --quick" if options.quick else "")
    command += " --escnn-python PATH" if options.escnn_python else ""
    try:
        parts = [beside_escnn(options.escnn_python, quick=options.quick), beside_e3nn(quick=options.quick)]
    except ValueError as error:
        parser.error(str(error))
    rows, notes = [row for part in parts for row in part["rows"]], [part["note"] for part in parts]
    counts = [f"{rows:,} rows" for rows in (QUICK_ROWS if options.quick else ROWS)]
    write_table(
        options.out / "peers.md",
        "Our projections beside the invariant pooling of escnn and e3nn",
        [
            *("from", "latents", "map", "size", *(f"{count}, ms" for count in counts)),
            *("beside", *(f"times as long, {count}" for count in counts), "largest difference"),
            *("moved together", "channels moved apart", "degrees moved apart"),
        ],
        [cells(row) for row in rows],
        command,
        [
            "Least time of interleaved rounds in one process a library; geometric tensors are made beforehand.",
            "Times as long: ours over the map beside it. Where the largest difference is given both are the same map; "
            "TensorSquare and SphericalPowerSpectrum are the same products; elsewhere ours keeps more than its peer.",
            "Last three: median distance of features to those of the same latents moved, over that to other latents; "
            "moved by one element it must be 0, by one element for each channel or degree 0 says that orbits merge.",
            "o3.Norm drops the sign of degree 0, ours keeps it; the difference is taken between absolute values.",
            *notes,
        ],
    )
    if options.json:
        write_json(options.json, {"rows": rows, "notes": notes}, command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
