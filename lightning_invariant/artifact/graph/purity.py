"""Which inputs and weights a graph writes into, directly or through memory that its values may share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant.artifact.graph.operators import UNDECLARED_ALIASES
from lightning_invariant.artifact.graph.values import Node, Ref, references

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def written_roots(nodes: Sequence[Node]) -> dict[Ref, int]:
    """Find the inputs and weights that a graph would change, each with the first node that writes into it.

    Aliases are read off the operator schemas, plus a list of those that do not declare theirs; "may share memory"
    counts as sharing.
    """
    roots: list[frozenset[Ref]] = []
    written: dict[Ref, int] = {}
    for i, node in enumerate(nodes):
        shared: set[Ref] = set()
        for value, shares, writes in _arguments(node):
            for ref in references(value):
                reached = roots[int(ref.key)] if ref.source == "node" else frozenset((ref,))
                if shares:
                    shared |= reached
                if writes:
                    for root in reached:
                        written.setdefault(root, i)
        weights = sorted(ref for ref in shared if ref.source == "tensor")
        # One weight stands for all: sets stay small whatever the graph, and any weight is a reason to refuse.
        roots.append(frozenset(ref for ref in shared if ref.source == "input") | frozenset(weights[:1]))
    return written


def _arguments(node: Node) -> Iterator[tuple[Any, bool, bool]]:
    if not node.op.startswith("aten."):
        yield from ((value, node.op == "getitem", False) for value in node.args)
        return
    schema = node.target._schema  # pyright: ignore[reportFunctionMemberAccess]
    undeclared = node.op in UNDECLARED_ALIASES
    by_name = dict(zip((a.name for a in schema.arguments), node.args, strict=False)) | node.kwargs
    for argument in schema.arguments:
        if argument.name in by_name:
            alias = argument.alias_info
            yield by_name[argument.name], undeclared or alias is not None, alias is not None and alias.is_write
