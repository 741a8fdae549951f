"""Encoders that would load but break what they promise: templates that merge inputs, masks that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.mutations.edit import edit, rehash

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from torch import Tensor

PLACES = [0, 2, 63, 64, -1, 2**70, True, False, 1.0, "mask", [1], {"index": 1}, None]
SPECS: list[Any] = [
    {"shape": ["batch", 6], "dtype": "float32"},
    {"shape": ["batch", 5], "dtype": "bool"},
    {"shape": ["batch", "points"], "dtype": "bool"},
    {"shape": [6, "batch"], "dtype": "bool"},
    {"shape": ["batch", 6, 1], "dtype": "bool"},
]


def merge(folder: Path, chance: random.Random, number: int) -> None:
    """Templates that are zero, constant, repeated, of low rank, tiny, huge or not finite."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = chance.choice([name for name in tensors if name.startswith("projection.") and "table" not in name])
    t = tensors[name]
    rows = t.reshape(len(t), -1) if t.dim() else t.reshape(1, 1)
    kept = chance.randrange(1, max(2, min(rows.shape)))
    changes: list[Tensor] = [
        t * 0,
        torch.ones_like(t),
        rows[:1].expand_as(rows).reshape(t.shape),
        (rows @ rows[:kept].mT @ rows[:kept]).reshape(t.shape),
        (rows * (torch.arange(len(rows)) != chance.randrange(len(rows)))[:, None]).reshape(t.shape),
        (rows * (torch.arange(rows.shape[1]) != chance.randrange(rows.shape[1]))).reshape(t.shape),
        t * 1e-40,
        t * 1e38 * 1e38,
        t * float("nan"),
    ]
    save_file(tensors | {name: changes[number % len(changes)].contiguous()}, path)
    rehash(folder)


def mask(folder: Path, chance: random.Random, number: int) -> None:
    """Another place of the mask, another mask, or a projection that takes none."""

    def change(config: dict[str, Any]) -> None:
        if number % 3 == 0:
            config["mask"] = PLACES[(number // 3) % len(PLACES)]
        elif number % 3 == 1:
            config["inputs"][1] = SPECS[(number // 3) % len(SPECS)]
        else:
            config["projection"]["ragged"] = chance.choice([False, None, "yes", 0, [True]])

    edit(folder, "config.json", change)


CLAIMS: list[tuple[str, str, Any]] = [
    ("config.json", "guarantee", {"distortion": 1.0}),
    ("config.json", "guarantee", {"lipschitz": 1e-9}),
    ("config.json", "guarantee", {"group": "O3"}),
    ("config.json", "guarantee", {"separation": "isometric"}),
    ("certificate.json", "guarantee", {"lipschitz": 1e-9}),
    ("certificate.json", "representation", "C8: 1 regular"),
    ("certificate.json", "projection", {"seed": 7}),
    ("certificate.json", "measured", {"knn": 17}),
    ("certificate.json", "measured", {"invariant/error": -1.0}),
    ("certificate.json", "measured", {"x": 10**400}),
    ("config.json", "preprocessing", {"size": None, "scale": 0, "mean": [0], "std": [1]}),
    ("config.json", "preprocessing", {"size": None, "scale": 1, "mean": [0], "std": [1e-300]}),
    ("config.json", "representation", "S10000000000: 8 trivial"),
    ("config.json", "representation", "Z2^10000000000: 8 trivial"),
    ("config.json", "projection", {"representation": "C4 x S10000000000: 8 trivial*trivial"}),
]


def claim(folder: Path, chance: random.Random, number: int) -> None:
    """A guarantee, a certificate or a preprocessing that says what is not so."""
    name, entry, value = CLAIMS[number % len(CLAIMS)]

    def change(data: dict[str, Any]) -> None:
        known = data.get(entry)
        data[entry] = {**known, **value} if isinstance(known, dict) and isinstance(value, dict) else value

    edit(folder, name, change)
    rehash(folder)
