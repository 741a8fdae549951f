"""Reads an untrusted graph: each field is checked against the format, each argument against its operator's schema.

A graph is a dict of `format`, `torch` (the version that wrote it), `dtype` (the network's floating type), `dims`
(dynamic axes with a size that works), `inputs`, `tensors` (shape, dtype and kind of each), `aliases` (tied names),
`nodes` and `output`. A node is `{"op", "args", "kwargs"}`. A value is `{"node": 3}` (an earlier node), `{"input": 0}`,
`{"tensor": "conv.weight"}`, a literal (null, boolean, integer, finite float, string, list), or one of
`{"float": "inf"}`, `{"complex": [re, im]}`, `{"dtype": "int64"}`, `{"dtype": "network"}`, `{"device": "input"}`,
`{"memory_format": "channels_last"}`.
"""

from __future__ import annotations

import re
import reprlib
from typing import Any

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.fields import (
    as_dtype_name,
    as_fields,
    as_list,
    as_object,
    as_size,
    as_spec,
    as_text,
    expected,
)
from lightning_invariant.hub.graph.nodes import NodeReader
from lightning_invariant.hub.graph.values import CheckedGraph

FORMAT_VERSION = 1
MAX_NODES = 20_000
MAX_TENSORS = 20_000
MAX_MODULES = 20_000

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_\-]{1,100}(\.[A-Za-z0-9_\-]{1,100}){0,30}")
_DIM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,50}")
_VERSION = re.compile(r"[0-9A-Za-z.+\-]{1,60}")
_KEYS = {"format", "torch", "dtype", "dims", "inputs", "tensors", "aliases", "nodes", "output"}


def check_graph(graph: Any) -> CheckedGraph:
    """Check an untrusted graph.

    Raises:
        GraphError: On the first thing that the format does not allow.
    """
    fields = as_fields(graph, _KEYS, "the graph")
    if type(fields["format"]) is not int or fields["format"] != FORMAT_VERSION:
        raise GraphError(
            f"Expected graph format {FORMAT_VERSION} but got {reprlib.repr(fields['format'])}; update "
            "lightning-invariant or export the encoder again."
        )
    as_text(fields["torch"], _VERSION, "the torch version")
    dtype = None if fields["dtype"] is None else as_dtype_name(fields["dtype"], "the network")
    dims = {
        as_text(name, _DIM_NAME, "a dynamic axis"): as_size(size, f"axis {name}")
        for name, size in as_object(fields["dims"], "dims", 64).items()
    }
    inputs = tuple(
        as_spec(entry, dims, f"input {i}", "input") for i, entry in enumerate(as_list(fields["inputs"], "inputs", 64))
    )
    if not inputs:
        raise GraphError("Expected at least one input but got none; export a network that takes a tensor.")
    tensors = {
        as_text(name, _TENSOR_NAME, "a tensor name"): as_spec(entry, {}, f"tensor {name!r}")
        for name, entry in as_object(fields["tensors"], "tensors", MAX_TENSORS).items()
    }
    for alias, name in as_object(fields["aliases"], "aliases", MAX_TENSORS).items():
        as_text(alias, _TENSOR_NAME, "an alias")
        if not isinstance(name, str) or name not in tensors or alias in tensors:
            raise expected("a new name for a tensor of the graph", name, f"alias {alias!r}")
    _require_few_modules([*tensors, *fields["aliases"]])
    reader = NodeReader(len(inputs), tensors)
    for entry in as_list(fields["nodes"], "nodes", MAX_NODES):
        reader.read(entry)
    output = as_fields(fields["output"], {"value", "shape", "dtype"}, "the output")
    reader.where = "the output"
    value = reader.reference(output["value"], "tensor")
    named = {name: dims[name] for taken in inputs for name in taken.shape if isinstance(name, str)}
    spec = as_spec({key: output[key] for key in ("shape", "dtype")}, named, "the output", "output")
    return CheckedGraph(dtype, dims, inputs, tensors, tuple(reader.nodes), value, spec)


def _require_few_modules(names: list[str]) -> None:
    """Each part of a dotted name becomes a module."""
    modules: set[str] = set()
    for name in names:
        while "." in name and (name := name.rpartition(".")[0]) not in modules:
            modules.add(name)
        if len(modules) > MAX_MODULES:
            raise GraphError(
                f"Expected names of tensors within at most {MAX_MODULES} modules but got more; the graph is refused."
            )
