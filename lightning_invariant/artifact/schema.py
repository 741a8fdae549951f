"""What config.json and certificate.json must hold before anything is made of them.

Unknown keys are left to later versions. Numbers are bounded here, before any arithmetic on them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeGuard

from lightning_invariant.artifact.config import (
    CERTIFICATE,
    CLASS_KIND,
    FORMAT,
    FORMAT_VERSION,
    GRAPH,
    GRAPH_KIND,
    INDEX,
    NO_KIND,
    ONNX,
    SHARD,
    WEIGHTS,
)
from lightning_invariant.artifact.graph.operators import DTYPES
from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_TEXT = 2**16
MAX_NUMBER = 1e300
MAX_TERMS = 1000
MAX_LABELS = 2**16
MAX_DEGREE = 2**14
"""Largest n of a group such as Cn, Sn or Z2^n."""
MAX_SIZE = 2**24
"""Largest number of copies in a representation, and of numbers in a latent."""
MAX_SIDE = 4096
"""Largest height or width that images are resized to."""
SMALLEST, LARGEST = 1e-12, 1e12
"""Bounds of the scale and the deviations of a preprocessing."""
_AXIS = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,50}")
_CLASS = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*){0,20}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_DIGITS = re.compile(r"\d+")
_SCORES = "knn|linear|logistic|accuracy|r2|map|retrieval|held|spearman"
_AT_MOST_ONE = re.compile(rf"(?!.*gap)(.*/)?({_SCORES})(_upright)?(_raw)?")
_NOT_NEGATIVE = re.compile(r"(.*/)?(error|worst|rank|seconds|distortion|mae|\w+_mae|problems|findings)(_raw)?")


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse a configuration of another format or version, or with an entry that is missing or of another kind."""
    if config.get("format") != FORMAT:
        raise ArtifactError(
            f"Expected {where} of format {FORMAT!r} but got {str(config.get('format'))[:40]!r}; "
            "only encoders that lightning-invariant exported can be loaded."
        )
    version = config.get("format_version")
    if type(version) is not int or version != FORMAT_VERSION:
        raise ArtifactError(
            f"Expected format version {FORMAT_VERSION} in {where} but got {_shown(version)[:40]}; "
            "install the version of lightning-invariant that wrote it, or a newer one."
        )
    for name, (holds, what) in ENTRIES.items():
        if (name not in config and name not in OPTIONAL) or not holds(config.get(name)):
            got = _shown(config.get(name, "nothing"))
            raise ArtifactError(f"Expected {what} as {name!r} in {where} but got {got}; export or pull again.")


LONGEST_REASON = 400
"""Characters that a certificate holds of why a number is missing."""


def check_certificate(certificate: Mapping[str, Any], config: Mapping[str, Any], where: str) -> None:
    """Refuse a certificate of another encoder than the configuration's, or with numbers that nothing can have."""

    def require(holds: bool, wanted: str, got: Any) -> None:
        if not holds:
            raise ArtifactError(f"Expected {wanted} in {where} but got {_shown(got)}; export or pull again.")

    for name in ("representation", "projection"):
        said = certificate.get(name)
        require(said == config[name], f"the {name} of the configuration, {_shown(config[name])},", said)
    said, group = certificate.get("guarantee"), config["guarantee"]["group"]
    require(_is_guarantee(said) and said["group"] == group, f"a guarantee for {group}", said)
    measured = certificate.get("measured")
    for name, value in measured.items() if _is_named(measured) else [("measured", measured)]:
        require(_is_measured(name, value), f"a number that {name[:80]!r} can have", value)
    samples, versions, missing = (certificate.get(name, {}) for name in ("samples", "versions", "missing"))
    counts = _is_named(samples) and all(type(n) is int and 0 <= n < 2**53 for n in samples.values())
    require(counts, "numbers of samples", samples)
    require(_is_named(versions) and all(map(_is_text, versions.values())), "versions of packages", versions)
    said = _is_named(missing) and all(_is_text(reason, LONGEST_REASON) for reason in missing.values())
    require(said, "the reason why each number is missing", missing)


def _is_measured(name: str, value: Any) -> bool:
    if value is None:
        return name != "measured"
    if not _is_number(value):
        return False
    return not (_AT_MOST_ONE.fullmatch(name) and value > 1 + 1e-6) and not (_NOT_NEGATIVE.fullmatch(name) and value < 0)


def _shown(value: Any) -> str:
    try:
        return str(value)[:80]
    except ValueError:  # integers of thousands of digits are not written out
        return "a number that is too long"


def _is_named(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and len(value) <= 10_000 and all(map(_is_text, value))


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


def _is_notation(value: Any) -> bool:
    """Text of groups and representations with numbers that are small, before any of them is computed with."""
    if not isinstance(value, str) or len(value) > MAX_TEXT or value.count("+") >= MAX_TERMS:
        return False
    group, _, terms = value.partition(":")
    bounded = ((group, MAX_DEGREE), (terms, MAX_SIZE))
    return all(len(n) < 10 and int(n) <= most for text, most in bounded for n in _DIGITS.findall(text))


def _is_settings(value: Any, depth: int = 8) -> bool:
    """Settings of a projection: every text in them may be a representation, every number a size."""
    if isinstance(value, dict):
        return depth > 0 and len(value) <= 100 and all(_is_settings(v, depth - 1) for v in value.values())
    if isinstance(value, list):
        return depth > 0 and len(value) <= 10_000 and all(_is_settings(v, depth - 1) for v in value)
    if isinstance(value, str):
        return _is_notation(value)
    return value is None or isinstance(value, bool) or _is_number(value)


def _is_network(value: Any) -> bool:
    if not isinstance(value, dict):
        return False
    if value.get("kind") == CLASS_KIND:
        path, arguments = value.get("class"), value.get("arguments")
        return isinstance(path, str) and bool(_CLASS.fullmatch(path)) and isinstance(arguments, dict)
    return value in ({"kind": GRAPH_KIND}, {"kind": NO_KIND})


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
    if not sized or not channels or not _is_number(value["scale"]) or len(mean) != len(std):
        return False
    divided = all(SMALLEST <= abs(v) <= LARGEST for v in (*std, value["scale"]))
    return divided and all(abs(v) <= LARGEST for v in mean)


def _is_guarantee(value: Any) -> TypeGuard[dict[str, Any]]:
    texts = ("group", "differentiable", "source", "note", "separation", "invariance")
    if not isinstance(value, dict) or len(value) > 20 or not _is_notation(value.get("group")):
        return False
    return all(_is_text(v, MAX_TEXT) if k in texts else v is None or _is_number(v) or v in (True, False)
               for k, v in value.items())  # fmt: skip


def _is_files(value: Any) -> bool:
    if not isinstance(value, dict) or CERTIFICATE not in value or len(value) > 10_000:
        return False
    known = {GRAPH, CERTIFICATE, ONNX, WEIGHTS, INDEX}
    return all((name in known or SHARD.fullmatch(name)) and _is_hash(digest) for name, digest in value.items())


def _is_hash(value: Any) -> bool:
    return isinstance(value, str) and bool(_HASH.fullmatch(value))


ENTRIES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "library": (_is_text, "a version"),
    "torch": (_is_text, "a version"),
    "network": (_is_network, "a network as a graph, or as a class with its arguments, or none"),
    "inputs": (
        lambda v: isinstance(v, list) and 0 < len(v) <= 64 and all(map(_is_spec, v)),
        "shape and dtype of each input",
    ),
    "latent": (_is_spec, "shape and dtype"),
    "latent_size": (lambda v: _is_size(v) and v < MAX_SIZE, "a size"),
    "features": (lambda v: _is_size(v) and v < MAX_SIZE, "a size"),
    "representation": (
        _is_notation,
        f"a representation of less than {MAX_TERMS} terms, of a group of degree at most {MAX_DEGREE},",
    ),
    "projection": (
        lambda v: isinstance(v, dict) and _is_settings(v),
        f"a projection's settings, with groups of degree at most {MAX_DEGREE},",
    ),
    "guarantee": (_is_guarantee, "a guarantee"),
    "preprocessing": (
        _is_preprocessing,
        f"size, scale, mean and std, the latter between {SMALLEST:g} and {LARGEST:g}, or null,",
    ),
    "head": (_is_head, "kind and different labels of a head, or null"),
    "mask": (lambda v: v is None or (type(v) is int and 0 <= v < 64), "number of the input that is a mask, or null"),
    "targets": (lambda v: v in (None, "classes", "values", "labels"), "what probes were asked for, or null"),
    "base_model": (
        lambda v: v is None or (isinstance(v, str) and bool(_REPOSITORY.fullmatch(v))),
        "a model's name, or null",
    ),
    "certified": (_is_hash, "the hash of the weights that were measured"),
    "files": (_is_files, "a SHA-256 for each of certificate, graph and files of weights"),
}
"""Each entry with its check and what it is in words."""
OPTIONAL = frozenset({"mask", "targets", "base_model"})
"""Entries that may be missing, which means null."""
