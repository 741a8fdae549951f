"""The words of a checked graph."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


class Ambient(Enum):
    """What a call supplies in place of a baked literal."""

    DEVICE = "device"
    DTYPE = "dtype"


class Ref(NamedTuple):
    """A value of the graph: `source` is "node", "input" or "tensor"."""

    source: str
    key: int | str


class TensorSpec(NamedTuple):
    """Shape (sizes, or names of dynamic axes), dtype, and kind: parameter, frozen, buffer, input or output."""

    shape: tuple[int | str, ...]
    dtype: str
    kind: str


class Node(NamedTuple):
    """One checked operation; `yields` is "tensor", "list" or "number"."""

    op: str
    target: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    yields: str
    length: int


@dataclass(frozen=True)
class CheckedGraph:
    """A graph in which every reference, operator and literal is known to be allowed."""

    dtype: str | None
    dims: dict[str, int]
    inputs: tuple[TensorSpec, ...]
    tensors: dict[str, TensorSpec]
    nodes: tuple[Node, ...]
    output: Ref
    output_spec: TensorSpec


def resolve(value: Any, values: Mapping[Ref, Any], ambient: Mapping[Ambient, Any]) -> Any:
    """An argument with its references and ambient names replaced by what they stand for."""
    if isinstance(value, Ref):
        return values[value]
    if isinstance(value, Ambient):
        return ambient[value]
    if isinstance(value, dict):
        return {key: resolve(inner, values, ambient) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([resolve(inner, values, ambient) for inner in value])
    return value


def references(value: Any) -> Iterator[Ref]:
    """All references in an argument."""
    if isinstance(value, Ref):
        yield value
    elif isinstance(value, dict):
        yield from references(list(value.values()))
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from references(element)
