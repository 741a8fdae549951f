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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.maps import QUICK_ROWS, ROWS, THREADS, Map, measure
from benchmarks.tables import RESULTS, write_json, write_table
from lightning_invariant import projections as P

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parent.parent
ESCNN_RECIPE = (
    'pip install torch "numpy<2" scipy joblib lie-learn pymanopt autograd "scikit-learn<1.7"; '
    "pip install --no-deps escnn; then pass that environment's Python as --escnn-python PATH"
)
IRREPS = {
    "SO3: 8x0 + 8x1 + 8x2": ["SphericalPowerSpectrum", "SphericalBispectrum"],
    "SO3: 8x0 + 8x1": ["GramRoot"],
}


def beside_e3nn(*, quick: bool) -> dict[str, Any]:
    """Norms and products of irreps; e3nn runs in this process."""
    if importlib.util.find_spec("e3nn") is None:
        return {"rows": [], "note": "e3nn: not installed here; install it with: pip install e3nn"}
    from e3nn import o3

    rows = []
    for text, joint in IRREPS.items():
        irreps: Any = o3.Irreps(" + ".join(f"{term.strip()}e" for term in text.split(":")[1].split("+")))
        even: Any = ["0e"]
        maps = [
            Map("o3.Norm", o3.Norm(irreps)),
            Map("o3.TensorSquare to 0e", o3.TensorSquare(irreps, filter_ir_out=even)),
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
            "TensorSquare and SphericalPowerSpectrum take the same products of degrees 1 and 2; "
            "elsewhere ours keeps more.",
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
