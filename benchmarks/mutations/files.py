"""Names that lead out of the folder, and things that are no files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.mutations.edit import edit, hashed_file, rehash

if TYPE_CHECKING:
    import random
    from pathlib import Path

PLACES = [
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\..\\windows\\system32",
    "model-00001-of-00001.safetensors/../../x",
    "./model.safetensors",
    "model.safetensors\u0000.txt",
    "\u202eslennos.ledom",
    "ｍodel.safetensors",
    "~/.ssh/id_rsa",
    "file:///etc/passwd",
    "model-99999-of-00001.safetensors",
    "",
    ".",
    "CON",
    "a" * 5000,
]


def traverse(folder: Path, chance: random.Random, number: int) -> None:
    """Such a name in place of a file's, in the configuration or the index."""
    place = PLACES[number % len(PLACES)]

    def in_files(config: dict[str, Any]) -> None:
        name = chance.choice(list(config["files"]))
        config["files"][place] = config["files"].pop(name) if number % 4 else config["files"][name]

    def in_index(index: dict[str, Any]) -> None:
        index["weight_map"][chance.choice(list(index["weight_map"]))] = place

    index = "model.safetensors.index.json"
    if (folder / index).exists() and number % 3:
        edit(folder, index, in_index)
    else:
        edit(folder, "config.json", in_files)


def link(folder: Path, chance: random.Random, number: int) -> None:
    """A link to somewhere, a pipe, a folder, or a link to the same content elsewhere."""
    path = hashed_file(folder, chance) if number % 3 else folder / "config.json"
    targets = ["/etc/passwd", "/dev/zero", "/dev/urandom", "/proc/self/mem", "/proc/self/environ", path.name, "/", ".."]
    content = path.read_bytes()
    path.unlink()
    kind = number % (len(targets) + 3)
    if kind < len(targets):
        path.symlink_to(targets[kind])
    elif kind == len(targets):
        os.mkfifo(path)
    elif kind == len(targets) + 1:
        path.mkdir()
    else:
        (folder.parent / "elsewhere").write_bytes(content)
        path.symlink_to("../elsewhere")
    if path.is_file() and path.stat().st_size:
        rehash(folder)
