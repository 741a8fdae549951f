"""An exported encoder as a directory; docs/artifact.md describes its files and every entry of them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

FORMAT, FORMAT_VERSION = "lightning-invariant", 1
CONFIG, GRAPH, CERTIFICATE = "config.json", "graph.json", "certificate.json"
CARD, FIGURE, ONNX = "README.md", "embeddings.png", "model.onnx"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
OWN = (CONFIG, GRAPH, CERTIFICATE, WEIGHTS, INDEX, CARD, FIGURE, ONNX)
"""Files of an artefact, beside shards."""
NETWORK, PROJECTION, HEAD = "network.", "projection.", "head."
GRAPH_KIND, CLASS_KIND, NO_KIND = "graph", "class", "none"
"""How the network is held: as a graph, by its class, or not at all."""
MASK = "mask"
"""Entry of the configuration, and name in files and calls, of an input that says which points of a set exist."""
HEAD_SCORES = {"classes": "head/accuracy", "values": "head/r2", "labels": "head/map"}
"""Names under which the score of a head stands among what was measured, by the kind of its targets."""


@dataclass(frozen=True)
class Artifact:
    """What a program needs of a directory, before any of it becomes a module.

    Args:
        config: The configuration; `write_artifact` adds format, versions and hashes.
        graph: The class-free graph, or None without one.
        tensors: Tensors by name, "network.", "projection." or "head." in front.
        certificate: What was measured, JSON-able.
        folder: Where it was read from; None if it was not.
    """

    config: Mapping[str, Any]
    graph: Mapping[str, Any] | None
    tensors: Mapping[str, Tensor]
    certificate: Mapping[str, Any]
    folder: Path | None = None

    def below(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors of one part, without its prefix."""
        return {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}


def is_own(name: str) -> bool:
    """Whether a file of that name belongs to an artefact."""
    return name in OWN or SHARD.fullmatch(name) is not None


def needed_files(config: Mapping[str, Any]) -> list[str]:
    """Names of the files, beside the configuration, that an encoder is loaded from."""
    graph = [GRAPH] if config["network"]["kind"] == GRAPH_KIND else []
    index = [INDEX] if INDEX in config["files"] else []
    return [*graph, CERTIFICATE, *index, *weight_files(config["files"])]


def weight_files(files: Mapping[str, Any]) -> list[str]:
    """Names of the files with tensors: one, or shards that count up to their number."""
    shards = sorted(name for name in files if SHARD.fullmatch(name))
    if WEIGHTS in files and INDEX not in files and not shards:
        return [WEIGHTS]
    total = len(shards)
    wanted = [f"model-{i:05d}-of-{total:05d}.safetensors" for i in range(1, total + 1)]
    if WEIGHTS in files or INDEX not in files or not shards or shards != wanted:
        raise ArtifactError(
            f"Expected {WEIGHTS}, or {INDEX} and all shards, among the files of the configuration but got "
            f"{str(sorted(files))[:200]}; export or pull again."
        )
    return shards


def weights_digest(files: Mapping[str, str]) -> str:
    """Return one hash for all tensors, from the hashes of the files of a configuration."""
    hashes = [files[name] for name in weight_files(files)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def input_names(count: int, mask: int | None) -> list[str]:
    """What so many inputs are called: `x`, or `x0`, `x1` and so on; `mask` where one of them is that."""
    others = count - (mask is not None)
    names = ["x"] if others == 1 else [f"x{i}" for i in range(others)]
    return names if mask is None else [*names[:mask], MASK, *names[mask:]]
