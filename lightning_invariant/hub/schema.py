"""What config.json must hold before anything is made of it; unknown keys are left to later versions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.graph.operators import DTYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMAT = "lightning-invariant"
FORMAT_VERSION = 1
GRAPH_KIND, CLASS_KIND = "graph", "class"
MAX_TEXT = 2**16
MAX_NUMBER = 1e300
MAX_TERMS = 1000
MAX_LABELS = 2**16
_AXIS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,50}")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,20}", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse a configuration of another format or version, or with an entry that is missing or of another kind.

    Raises:
        ArtifactError: With the entry, what it should be and what it is.
    """
    if config.get("format") != FORMAT:
        raise ArtifactError(
            f"Expected {where} of format {FORMAT!r} but got {str(config.get('format'))[:40]!r}; "
            "only encoders that lightning-invariant exported can be loaded."
        )
    version = config.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ArtifactError(
            f"Expected format version {FORMAT_VERSION} in {where} but got {str(version)[:40]}; "
            "install the version of lightning-invariant that wrote it, or a newer one."
        )
    for name, (holds, what) in ENTRIES.items():
        if (name not in config and name not in OPTIONAL) or not holds(config.get(name)):
            got = str(config.get(name, "nothing"))[:80]
            raise ArtifactError(f"Expected {what} as {name!r} in {where} but got {got}; export or pull again.")


def _is_text(value: Any, longest: int = 200) -> bool:
    return isinstance(value, str) and len(value) <= longest and (value.isprintable() or longest > 200)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -MAX_NUMBER <= value <= MAX_NUMBER


def _is_spec(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != {"shape", "dtype"} or not isinstance(value["shape"], list):
        return False
    axes = all(_is_size(s) or (isinstance(s, str) and _AXIS.fullmatch(s)) for s in value["shape"])
    return axes and 0 < len(value["shape"]) <= 16 and isinstance(value["dtype"], str) and value["dtype"] in DTYPES


def _is_representation(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_TEXT and value.count("+") < MAX_TERMS


def _is_network(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("kind") == CLASS_KIND:
        path, arguments = value.get("class"), value.get("arguments")
        return isinstance(path, str) and bool(_CLASS.fullmatch(path)) and isinstance(arguments, dict)
    return value == {"kind": GRAPH_KIND}


def _is_head(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() != {"kind", "labels"} or value["kind"] not in ("classes", "values"):
        return False
    labels = value["labels"]
    listed = isinstance(labels, list) and 0 < len(labels) <= MAX_LABELS and all(_is_text(label) for label in labels)
    return listed and len(set(labels)) == len(labels)


def _is_preprocessing(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() != {"size", "scale", "mean", "std"}:
        return False
    size, mean, std = value["size"], value["mean"], value["std"]
    sized = size is None or (isinstance(size, list) and len(size) == 2 and all(_is_size(s) and s < 2**14 for s in size))
    channels = all(isinstance(v, list) and 0 < len(v) <= 4096 and all(map(_is_number, v)) for v in (mean, std))
    return sized and channels and _is_number(value["scale"]) and len(mean) == len(std) and min(map(abs, std)) > 0


def _is_guarantee(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_number(v) for v in value.values() if type(v) in (int, float))


def _is_files(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and 0 < len(value) <= 10_000
        and all(_FILE.fullmatch(name) and isinstance(h, str) and _HASH.fullmatch(h) for name, h in value.items())
    )


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "library": (_is_text, "a version"),
    "torch": (_is_text, "a version"),
    "network": (_is_network, "a network as a graph, or as a class with its arguments"),
    "inputs": (
        lambda v: isinstance(v, list) and 0 < len(v) <= 64 and all(map(_is_spec, v)),
        "shape and dtype of each input",
    ),
    "latent": (_is_spec, "shape and dtype"),
    "latent_size": (_is_size, "a size"),
    "features": (_is_size, "a size"),
    "representation": (
        _is_representation,
        f"a representation of less than {MAX_TERMS} terms and at most {MAX_TEXT} letters",
    ),
    "projection": (lambda v: isinstance(v, dict), "a projection's settings"),
    "guarantee": (_is_guarantee, "a guarantee"),
    "preprocessing": (_is_preprocessing, "size, scale, mean and std, or null"),
    "head": (_is_head, "kind and different labels of a head, or null"),
    "mask": (
        lambda v: v is None or (type(v) is int and 0 <= v < 64),
        "number of the input that is a mask, or null",
    ),
    "targets": (lambda v: v in (None, "classes", "values", "labels"), "what probes were asked for, or null"),
    "certified": (_is_hash, "the hash of the weights that were measured"),
    "files": (_is_files, "a SHA-256 for each file by a plain name"),
}
"""Each entry with its check and what it is in words."""
OPTIONAL = frozenset({"mask", "targets"})
"""Entries that may be missing, which means null."""
