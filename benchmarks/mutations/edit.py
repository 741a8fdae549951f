"""Changing files of an artefact, hashes with them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path

HASHED = ("graph.json", "certificate.json", "model")


def edit(folder: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON object, and the hashes with it."""
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    if name != "config.json":
        rehash(folder)


def rehash(folder: Path) -> None:
    """Make config.json agree with what the files hold now, where it can still be read."""
    try:
        config = json.loads((folder / "config.json").read_bytes())
        for name in config["files"]:
            if (folder / name).is_file():
                config["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
        return
    (folder / "config.json").write_text(json.dumps(config))


def hashed_file(folder: Path, chance: random.Random) -> Path:
    """Any file that config.json has a hash of."""
    return chance.choice(sorted(path for path in folder.iterdir() if path.name.startswith(HASHED)))


def put(target: Any, path: list[Any], value: Any) -> None:
    """Set what stands at a path."""
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value


def random_path(data: Any, chance: random.Random, stop: float = 0.1) -> list[Any]:
    """Keys that lead to some entry."""
    path: list[Any] = []
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        path.append(chance.choice(keys))
        data = data[path[-1]]
        if not isinstance(data, (dict, list)) or not data or chance.random() < stop:
            return path


def at(data: Any, path: list[Any]) -> Any:
    """What stands at a path."""
    for key in path:
        data = data[key]
    return data
