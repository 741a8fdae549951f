"""Projections and representations whose settings ask for much memory or time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.mutations.edit import edit

if TYPE_CHECKING:
    import random
    from pathlib import Path

GROUPS = [
    "C4: 2000000 regular",
    "C100000: 1 regular",
    "C16384: " + " + ".join(["1 trivial"] * 900),
    "C8: 1 regular",
    "D50000: 1 regular",
    "S9: 9 points",
    "S1000000: 1000000 points x 8",
    "S8: points",
    "Z2^1000000000: signs",
    "Z2^8: signs",
    "SO3: 1x100000",
    "SO3: 2x0 + 1x1 + 1x1",
    "SO3: 500x60",
    "SO99999: 1 vectors",
    "O3: 100000000 vectors",
    "T99999999: 1 regular",
    "C64 x C64 x C64: 1 regular*regular*regular",
    "C9999999999999999999999: 1 regular",
    "C" + "9" * 3000 + ": 1 regular",
    "C4: " + " + ".join(["1 trivial"] * 8),
    "C4: " + "+".join(["1 trivial"] * 50_000),
    "Matrices[[[0,-1],[1,0]]]: 2 regular",
    "Matrices" + "[" * 20_000 + "]" * 20_000 + ": 1 regular",
    "Matrices[[[1e308,0],[0,1e308]]]: 2 regular",
    "Matrices[[[0.6,-0.8],[0.8,0.6]]]: 2 regular",
    "Sampled(" + "a" * 1000 + "): 8 trivial",
]
SIZES = [2**20, 2**31 - 1, 2**40, 2**62, -1, 0, 17, "16", 16.5, True, None, [16]]
NAMES = [
    "Chamber",
    "SortedCoorbits",
    "RandomFeatures",
    "FSW",
    "SphericalBispectrum",
    "CyclicBispectrum",
    "Gram",
    "Composition",
]


def demand(folder: Path, chance: random.Random, number: int) -> None:
    """Another representation, size, projection or composition."""

    def change(config: dict[str, Any]) -> None:
        projection = config["projection"]
        if number % 3 == 0:
            config["representation"] = projection["representation"] = GROUPS[(number // 3) % len(GROUPS)]
        elif number % 3 == 1:
            projection["out_features"] = config["features"] = SIZES[(number // 3) % len(SIZES)]
        else:
            name = NAMES[(number // 3) % len(NAMES)]
            layers = [{"name": "Linear", "weight": [[1.0] * 16] * 4}, {"kind": "dense", "size": 2**40}]
            config["projection"] = {"name": name, "representation": projection["representation"], "out_features": 2**34}
            if name == "Composition":
                inner: Any = dict(projection)
                for _ in range(chance.choice([1, 400])):
                    inner = {"name": name, "representation": projection["representation"], "projection": inner}
                config["projection"] = {**inner, "layers": layers}

    edit(folder, "config.json", change)
