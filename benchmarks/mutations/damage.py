"""Damage at random: bytes, lengths, entries."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

from benchmarks.mutations.edit import at, hashed_file, put, random_path, rehash

if TYPE_CHECKING:
    import random
    from pathlib import Path

DEEP: Any = []
for _ in range(300):
    DEEP = [DEEP]
POOL: list[Any] = [
    *(0, 1, -1, 2, 3, 10**6, 2**31, 2**40, 2**62, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, True, False, None),
    *("", "none", "batch", "os.system", "__import__('os').mkdir('ran')", "../../x", "\u0000", "\u202eabc", "a" * 10**5),
    *([], [0], [2, 2], [2**40] * 8, {}, {"node": 3}, {"input": 0}, {"tensor": "0.weight"}, {"float": "nan"}, DEEP),
    {"class": "os.system", "kind": "class", "arguments": {"command": "mkdir ran"}},
]


def flip(folder: Path, chance: random.Random, number: int) -> None:
    """Some bits of one file; of config.json those of the hashes, since its other entries have none."""
    path = hashed_file(folder, chance)
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice([1, 1, 2, 8])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def flip_rehashed(folder: Path, chance: random.Random, number: int) -> None:
    """Some bits of any file, the first kilobyte of weights more often; then new hashes."""
    path = folder / "config.json" if number % 5 == 0 else hashed_file(folder, chance)
    content = bytearray(path.read_bytes())
    end = min(len(content), 1500) if number % 2 else len(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        content[chance.randrange(end)] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    rehash(folder)


def resize(folder: Path, chance: random.Random, number: int) -> None:
    """Shorter or longer."""
    path = hashed_file(folder, chance) if number % 4 else folder / "config.json"
    content = path.read_bytes()
    cut = chance.randrange(len(content))
    tails = [b"", b"\0" * 100, b" " * 10**6, content, b"{}", b"]" * 50]
    path.write_bytes(content[:cut] if number % 2 else content + chance.choice(tails))
    rehash(folder)


def swap_config(folder: Path, chance: random.Random, number: int) -> None:
    """Entries of the configuration."""
    _swap(folder / "config.json", chance, number)


def swap_graph(folder: Path, chance: random.Random, number: int) -> None:
    """Entries of the graph."""
    _swap(folder / "graph.json", chance, number)
    rehash(folder)


def _swap(path: Path, chance: random.Random, number: int) -> None:
    data = json.loads(path.read_text())
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        one, other = random_path(data, chance), random_path(data, chance)
        try:
            if number % 3 == 0:
                first, second = copy.deepcopy(at(data, one)), copy.deepcopy(at(data, other))
                put(data, one, second)
                put(data, other, first)
            elif number % 3 == 1:
                put(data, one, copy.deepcopy(chance.choice(POOL)))
            else:
                parent = at(data, one[:-1])
                del parent[one[-1]]
        except (KeyError, IndexError, TypeError):  # the first change moved the second place
            continue
    path.write_text(json.dumps(data))
