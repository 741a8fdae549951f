"""The shape of untrusted JSON: each function returns what it was asked for, or raises a GraphError."""

from __future__ import annotations

import json
import reprlib
from typing import TYPE_CHECKING, Any

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.operators import DTYPES
from lightning_invariant.hub.graph.values import TensorSpec

if TYPE_CHECKING:
    import re

MAX_RANK = 16
MAX_BYTES = 16 * 2**20

_TRAINABLE = frozenset(name for name, dtype in DTYPES.items() if dtype.is_floating_point or dtype.is_complex)


def parse_graph(text: str | bytes) -> dict[str, Any]:
    """Parse graph JSON from an untrusted file.

    Args:
        text: At most 16 MiB of JSON.

    Raises:
        GraphError: If it is no JSON object, repeats a key, or is too large or too deep.
    """
    if len(text) > MAX_BYTES:
        raise GraphError(f"Expected at most {MAX_BYTES} bytes of graph JSON but got {len(text)}; the file is refused.")
    try:
        graph = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except GraphError:
        raise
    except (ValueError, RecursionError) as error:
        raise GraphError(
            f"Expected graph JSON but got a file that cannot be parsed ({type(error).__name__}); download it again."
        ) from None
    if not isinstance(graph, dict):
        raise expected("a JSON object", graph, "the graph")
    return graph


def as_spec(entry: Any, dims: dict[str, int], where: str, kind: str | None = None) -> TensorSpec:
    """A shape and dtype; `dims` are the dynamic axes that the shape may name, and without `kind` the entry gives it."""
    fields = as_fields(entry, {"shape", "dtype"} | (set() if kind else {"kind"}), where)
    shape = as_list(fields["shape"], f"the shape of {where}", MAX_RANK)
    for size in shape:
        if not (isinstance(size, str) and size in dims):
            as_size(size, where, smallest=0)
    if kind is None:
        kind = fields["kind"]
        if not isinstance(kind, str) or kind not in ("parameter", "frozen", "buffer"):
            raise expected("one of the kinds parameter, frozen, buffer", kind, where)
        if kind == "parameter" and as_dtype_name(fields["dtype"], where) not in _TRAINABLE:
            raise expected("a floating dtype of a trainable parameter", fields["dtype"], where)
    return TensorSpec(tuple(shape), as_dtype_name(fields["dtype"], where), str(kind))


def as_size(size: Any, where: str, smallest: int = 1) -> int:
    """A length of an axis."""
    if type(size) is not int or not smallest <= size < 2**40:
        raise expected("a size", size, where)
    return size


def as_dtype_name(name: Any, where: str) -> str:
    """The name of a known dtype."""
    if not isinstance(name, str) or name not in DTYPES:
        raise expected("a dtype name such as 'float32'", name, where)
    return name


def as_fields(entry: Any, keys: set[str], where: str) -> dict[str, Any]:
    """An object with exactly these keys."""
    if not isinstance(entry, dict) or entry.keys() != keys:
        raise expected(
            f"the fields {', '.join(sorted(keys))}", list(entry) if isinstance(entry, dict) else entry, where
        )
    return entry


def as_list(value: Any, where: str, longest: int) -> list[Any]:
    """A list of bounded length."""
    if not isinstance(value, list) or len(value) > longest:
        raise expected(
            f"a list of at most {longest} entries", f"{len(value)} entries" if isinstance(value, list) else value, where
        )
    return value


def as_object(value: Any, where: str, longest: int) -> dict[str, Any]:
    """An object of bounded length with string keys."""
    if not isinstance(value, dict) or len(value) > longest or not all(isinstance(key, str) for key in value):
        raise expected(f"an object of at most {longest} entries", value, where)
    return value


def as_text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    """A string that matches a pattern."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise expected(f"{what} that matches {pattern.pattern}", value, "the graph")
    return value


def expected(what: str, got: Any, where: str) -> GraphError:
    """The error for a value that is not what the format says."""
    return GraphError(
        f"Expected {what} in {where} but got {reprlib.repr(got)}; the graph is damaged or was not written by this "
        "package."
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise GraphError(
            f"Expected each key of a JSON object once but got {reprlib.repr([key for key, _ in pairs])}; the graph "
            "is refused."
        )
    return result


def _refuse_constant(name: str) -> float:
    raise GraphError(f'Expected numbers that JSON knows but got {name}; write {{"float": "{name}"}}.')
