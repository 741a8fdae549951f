"""Every kind of mutation: a name, how many, and a function that changes a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from benchmarks.mutations import damage, files, graphs, headers, limits, payloads, promises, settings

if TYPE_CHECKING:
    import random
    from collections.abc import Callable
    from pathlib import Path


class Kind(NamedTuple):
    """A kind of mutation.

    Attributes:
        name: For the table.
        count: Artefacts in a full run.
        mutate: Changes a folder; gets a source of randomness and the number of the artefact.
        rewrites: Whether the hashes are recomputed, so that another valid encoder may come out.
        original: Which artefact it starts from; plain and sharded ones in turn if empty.
    """

    name: str
    count: int
    mutate: Callable[[Path, random.Random, int], None]
    rewrites: bool = True
    original: str = ""


KINDS = [
    Kind("flipped bytes", 200, damage.flip, rewrites=False),
    Kind("flipped bytes, hashes recomputed", 250, damage.flip_rehashed),
    Kind("truncated or extended files, hashes recomputed", 60, damage.resize),
    Kind("entries of config.json swapped or replaced", 160, damage.swap_config),
    Kind("entries of graph.json swapped or replaced, hashes recomputed", 200, damage.swap_graph, original="plain"),
    Kind("operators that allocate, repeat, recurse, write or take long", 130, graphs.harm, original="plain"),
    Kind("graphs at every bound at once", 60, limits.fill, original="plain"),
    Kind("huge shapes in graph, configuration and header", 60, graphs.enlarge, original="plain"),
    Kind("settings of projection and representation that ask for much", 60, settings.demand, original="plain"),
    Kind("paths that lead out of the folder", 40, files.traverse),
    Kind("symbolic links, pipes, folders in place of files", 40, files.link),
    Kind("pickles in place of files", 30, payloads.pickle_file),
    Kind("the five ways in which a .pt2 runs code", 50, payloads.exported_program, original="plain"),
    Kind("class paths without consent", 30, payloads.class_path, original="class"),
    Kind("cards with YAML bombs, tags and terminal codes", 30, payloads.card),
    Kind("JSON nested deeply, repeated keys, numbers and names that trick", 90, headers.json_tricks),
    Kind("templates that merge inputs", 60, promises.merge, original="plain"),
    Kind("guarantees, certificates and preprocessing that say what is not so", 60, promises.claim, original="plain"),
    Kind("masks that are none", 60, promises.mask, original="padded"),
    Kind("headers of safetensors that lie", 80, headers.safetensors_tricks, original="plain"),
]
