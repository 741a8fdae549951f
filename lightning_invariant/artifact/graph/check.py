"""Reads an untrusted graph: each field is checked against the format, each argument against its operator's schema.

A graph is a dict of `format`, `torch` (the version that wrote it), `dtype` (the network's floating type), `dims`
(dynamic axes with a size that works), `inputs`, `tensors` (shape, dtype and kind of each), `aliases` (tied names),
`nodes` and `output`. A node is `{"op", "args", "kwargs"}`. A value is `{"node": 3}` (an earlier node), `{"input": 0}`,
`{"tensor": "conv.weight"}`, a literal (null, boolean, integer, finite float, string, list), or one of
`{"float": "inf"}`, `{"complex": [re, im]}`, `{"dtype": "int64"}`, `{"dtype": "network"}`, `{"device": "input"}`,
`{"memory_format": "channels_last"}`.
"""

from __future__ import annotations

import math
import re
import reprlib
from operator import getitem
from typing import Any

import torch

from lightning_invariant.artifact.graph.operators import (
    DTYPES,
    EINSUM,
    INTEGER_OPS,
    MEMORY_FORMATS,
    allowed_values,
    find_operator,
)
from lightning_invariant.artifact.graph.values import Ambient, CheckedGraph, Node, Ref, TensorSpec
from lightning_invariant.errors import GraphError

FORMAT_VERSION = 1
MAX_NODES = 10_000
MAX_REFERENCES = 50_000
MAX_TENSORS = 20_000
MAX_MODULES = 20_000

_TENSOR_NAME = re.compile(r"[A-Za-z0-9_\-]{1,100}(\.[A-Za-z0-9_\-]{1,100}){0,30}")
_DIM_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,50}")
_VERSION = re.compile(r"[0-9A-Za-z.+\-]{1,60}")
_KEYS = {"format", "torch", "dtype", "dims", "inputs", "tensors", "aliases", "nodes", "output"}
MAX_RANK = 16
_TRAINABLE = frozenset(name for name, dtype in DTYPES.items() if dtype.is_floating_point or dtype.is_complex)
MAX_LIST = 4096
MAX_INTEGER = 2**63 - 1
# Products of more sizes than this could grow integers without bound.
MAX_DEGREE = 16
# An upper bound on the rank of a tensor, whose number of elements is a product of as many sizes.
NUMEL_DEGREE = 8


def check_graph(graph: Any) -> CheckedGraph:
    """Check an untrusted graph; refuse it at the first thing that the format does not allow."""
    fields = _as_fields(graph, _KEYS, "the graph")
    if type(fields["format"]) is not int or fields["format"] != FORMAT_VERSION:
        raise GraphError(
            f"Expected graph format {FORMAT_VERSION} but got {reprlib.repr(fields['format'])}; update "
            "lightning-invariant or export the encoder again."
        )
    _as_text(fields["torch"], _VERSION, "the torch version")
    dtype = None if fields["dtype"] is None else _as_dtype_name(fields["dtype"], "the network")
    dims = {
        _as_text(name, _DIM_NAME, "a dynamic axis"): _as_size(size, f"axis {name}")
        for name, size in _as_object(fields["dims"], "dims", 64).items()
    }
    inputs = tuple(
        _as_spec(entry, dims, f"input {i}", "input") for i, entry in enumerate(_as_list(fields["inputs"], "inputs", 64))
    )
    if not inputs:
        raise GraphError("Expected at least one input but got none; export a network that takes a tensor.")
    tensors = {
        _as_text(name, _TENSOR_NAME, "a tensor name"): _as_spec(entry, {}, f"tensor {name!r}")
        for name, entry in _as_object(fields["tensors"], "tensors", MAX_TENSORS).items()
    }
    for alias, name in _as_object(fields["aliases"], "aliases", MAX_TENSORS).items():
        _as_text(alias, _TENSOR_NAME, "an alias")
        if not isinstance(name, str) or name not in tensors or alias in tensors:
            raise _expected("a new name for a tensor of the graph", name, f"alias {alias!r}")
    _require_few_modules([*tensors, *fields["aliases"]])
    reader = NodeReader(len(inputs), tensors)
    for entry in _as_list(fields["nodes"], "nodes", MAX_NODES):
        reader.read(entry)
    output = _as_fields(fields["output"], {"value", "shape", "dtype"}, "the output")
    reader.where = "the output"
    value = reader.reference(output["value"], "tensor")
    named = {name: dims[name] for taken in inputs for name in taken.shape if isinstance(name, str)}
    spec = _as_spec({key: output[key] for key in ("shape", "dtype")}, named, "the output", "output")
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


class NodeReader:
    """Checks nodes one after another; `where` says which one in errors."""

    def __init__(self, n_inputs: int, tensors: dict[str, TensorSpec]) -> None:
        self.n_inputs, self.tensors = n_inputs, tensors
        self.nodes: list[Node] = []
        self.degrees: dict[int, int] = {}
        self.where, self.references = "", 0

    def read(self, entry: Any) -> None:
        """Check one more node."""
        self.where = f"node {len(self.nodes)}"
        fields = _as_fields(entry, {"op", "args", "kwargs"}, self.where)
        op = fields["op"]
        if not isinstance(op, str) or len(op) > 100:
            raise _expected("an operator name", op, self.where)
        self.where += f" ({reprlib.repr(op)})"
        args = _as_list(fields["args"], f"arguments of {self.where}", 64)
        kwargs = _as_object(fields["kwargs"], f"keyword arguments of {self.where}", 64)
        if op.startswith("aten."):
            self.nodes.append(self._aten(op, args, kwargs))
            return
        if kwargs:
            raise _expected("no keyword arguments", kwargs, self.where)
        self.nodes.append(self._own(op, args))

    def reference(self, value: Any, wanted: str) -> Ref:
        """A reference to something that exists already and yields what is wanted."""
        if not isinstance(value, dict) or len(value) != 1:
            raise _expected(f"a reference to a {wanted}", value, self.where)
        self.references += 1
        if self.references > MAX_REFERENCES:
            raise GraphError(
                f"Expected at most {MAX_REFERENCES} references between nodes but {self.where} goes beyond; the graph "
                "is refused."
            )
        ((source, key),) = value.items()
        is_tensor = source == "tensor" and isinstance(key, str) and key in self.tensors
        is_input = source == "input" and type(key) is int and 0 <= key < self.n_inputs
        if is_tensor or is_input:
            yields = "tensor"
        elif source == "node" and type(key) is int and 0 <= key < len(self.nodes):
            yields = self.nodes[key].yields
        else:
            raise _expected("a reference to an input, a tensor or an earlier node", value, self.where)
        if yields != wanted:
            raise _expected(f"a reference to a {wanted}", value, f"{self.where}, where that yields a {yields}")
        return Ref(source, key)

    def _own(self, op: str, args: list[Any]) -> Node:
        if op == "getitem" and len(args) == 2:
            ref, index = self.reference(args[0], "list"), args[1]
            if type(index) is not int or not 0 <= index < self.nodes[int(ref.key)].length:
                raise _expected("an index of that list", index, self.where)
            return Node(op, getitem, (ref, index), {}, "tensor", 1)
        if op == "sym.size" and len(args) == 2:
            if type(args[1]) is not int or not -MAX_RANK <= args[1] < MAX_RANK:
                raise _expected("an axis", args[1], self.where)
            self.degrees[len(self.nodes)] = 1
            return Node(op, torch.ops.aten.sym_size.int, (self.reference(args[0], "tensor"), args[1]), {}, "number", 1)
        if op == "sym.numel" and len(args) == 1:
            self.degrees[len(self.nodes)] = NUMEL_DEGREE
            return Node(op, torch.ops.aten.sym_numel.default, (self.reference(args[0], "tensor"),), {}, "number", 1)
        if op not in INTEGER_OPS or len(args) != INTEGER_OPS[op][1]:
            raise GraphError(
                f"Expected an operator of the format with its number of arguments but got {self.where} with "
                f"{len(args)}; the graph is refused."
            )
        values = tuple(self._number(value) for value in args)
        degrees = [self.degrees[int(v.key)] if isinstance(v, Ref) else 1 for v in values]
        degree = sum(degrees) if op == "sym.mul" else max(degrees) + (op == "sym.add")
        if degree > MAX_DEGREE:
            raise GraphError(
                f"Expected integers that stay small but {self.where} multiplies or adds too many sizes; the graph "
                "is refused."
            )
        self.degrees[len(self.nodes)] = degree
        return Node(op, INTEGER_OPS[op][0], values, {}, "number", 1)

    def _aten(self, op: str, args: list[Any], kwargs: dict[str, Any]) -> Node:
        target = find_operator(op)
        arguments = target._schema.arguments
        positional = [a for a in arguments if not a.kwarg_only]
        if len(args) > len(positional):
            raise _expected(f"at most {len(positional)} arguments", len(args), self.where)
        given = dict(zip((a.name for a in positional), args, strict=False))
        if repeated := given.keys() & kwargs.keys():
            raise _expected("each argument once", sorted(repeated), self.where)
        given |= kwargs
        if unknown := given.keys() - {a.name for a in arguments}:
            raise _expected("arguments of the operator", sorted(map(str, unknown)), self.where)
        values: dict[str, Any] = {}
        for a in arguments:
            if a.name in given:
                single = bool(getattr(a, "N", None))
                values[a.name] = self._typed(given[a.name], a.real_type, single=single, op=op, name=a.name)
            elif not a.has_default_value():
                raise GraphError(f"Expected argument {a.name!r} of {self.where} but got none; the graph is damaged.")
        self._refuse_side_effects(op, values)
        returns = target._schema.returns
        yields = "tensor" if len(returns) == 1 and str(returns[0].type) == "Tensor" else "list"
        count = len(returns) if len(returns) > 1 else MAX_LIST
        names = [a.name for a in positional[: len(args)]]
        return Node(op, target, tuple(values[n] for n in names), {n: values[n] for n in kwargs}, yields, count)

    def _refuse_side_effects(self, op: str, values: dict[str, Any]) -> None:
        # These arguments draw random numbers, or write into buffers without the schema saying so.
        updates = values.get("training") or values.get("use_input_stats")
        if updates and (values.get("running_mean") is not None or values.get("running_var") is not None):
            raise GraphError(
                f"Expected statistics that stay as they are but {self.where} updates them; call .eval() before the "
                "export."
            )
        dropped = values.get("dropout_p", 0.0) != 0.0 or (values.get("train") and op.endswith(".input"))
        if dropped or values.get("pin_memory"):
            raise GraphError(
                f"Expected the same result at every call but {self.where} asks for dropout or pinned memory; call "
                ".eval() before the export."
            )

    def _typed(self, value: Any, jit: Any, *, single: bool, op: str, name: str) -> Any:
        """One argument against its type in the schema; recursion is bounded by that type, not by the value."""
        kind = jit.kind()
        if kind == "OptionalType":
            return None if value is None else self._typed(value, jit.getElementType(), single=single, op=op, name=name)
        if kind == "ListType":
            element = jit.getElementType()
            if single and not isinstance(value, list):
                return self._typed(value, element, single=False, op=op, name=name)
            entries = _as_list(value, self.where, MAX_LIST)
            return [self._typed(v, element, single=False, op=op, name=name) for v in entries]
        if kind == "TensorType":
            if isinstance(value, dict) and value.keys() & {"node", "input", "tensor"}:
                is_number = value.keys() == {"node"} and type(value["node"]) is int and value["node"] in self.degrees
                return self.reference(value, "number" if is_number else "tensor")
            return self._number(value)
        values = allowed_values(op, name) if kind in ("IntType", "SymIntType", "StringType") else None
        if values is not None:
            # Kernels trust a number that stands for a mode; unknown ones leave their result as memory was.
            if type(value) in (int, str) and value in values:
                return value
            raise _expected(f"{name!r} among {sorted(values)}", value, self.where)
        if kind in ("IntType", "SymIntType"):
            number = self._number(value)
            if isinstance(number, Ref) or type(number) is int:
                return number
        elif kind == "FloatType":
            number = self._number(value)
            if isinstance(number, (Ref, float)) or type(number) is int:
                return number
        elif kind == "NumberType":
            return self._number(value)
        elif kind == "BoolType" and isinstance(value, bool):
            return value
        elif op == "aten.einsum.default" and kind == "StringType" and isinstance(value, str):
            if re.fullmatch(EINSUM, value):
                return value
        elif isinstance(value, dict) and len(value) == 1:
            return self._named(value, kind)
        raise _expected(f"a value of type {jit}", value, self.where)

    def _named(self, value: dict[str, Any], kind: str) -> Any:
        ((key, name),) = value.items()
        if kind == "DeviceObjType" and key == "device" and name == "input":
            return Ambient.DEVICE
        if kind == "ScalarTypeType" and key == "dtype" and name == "network":
            return Ambient.DTYPE
        if kind == "ScalarTypeType" and key == "dtype":
            return DTYPES[_as_dtype_name(name, self.where)]
        if kind == "MemoryFormatType" and key == "memory_format" and isinstance(name, str) and name in MEMORY_FORMATS:
            return MEMORY_FORMATS[name]
        raise _expected("a dtype, a device or a memory format", value, self.where)

    def _number(self, value: Any) -> Ref | bool | int | float | complex:
        if isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) <= MAX_INTEGER:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, dict) and len(value) == 1:
            ((key, inner),) = value.items()
            if key == "node":
                return self.reference(value, "number")
            if key == "float" and isinstance(inner, str) and inner in ("inf", "-inf", "nan"):
                return float(inner)
            if key == "complex" and isinstance(inner, list) and len(inner) == 2:
                parts = [self._number(part) for part in inner]
                if all(type(part) is float and math.isfinite(part) for part in parts):
                    return complex(*parts)  # pyright: ignore[reportCallIssue, reportArgumentType]
        raise _expected("a number", value, self.where)


def _as_spec(entry: Any, dims: dict[str, int], where: str, kind: str | None = None) -> TensorSpec:
    """A shape and dtype; `dims` are the dynamic axes that the shape may name, and without `kind` the entry gives it."""
    fields = _as_fields(entry, {"shape", "dtype"} | (set() if kind else {"kind"}), where)
    shape = _as_list(fields["shape"], f"the shape of {where}", MAX_RANK)
    for size in shape:
        if not (isinstance(size, str) and size in dims):
            _as_size(size, where, smallest=0)
    if kind is None:
        kind = fields["kind"]
        if not isinstance(kind, str) or kind not in ("parameter", "frozen", "buffer"):
            raise _expected("one of the kinds parameter, frozen, buffer", kind, where)
        if kind == "parameter" and _as_dtype_name(fields["dtype"], where) not in _TRAINABLE:
            raise _expected("a floating dtype of a trainable parameter", fields["dtype"], where)
    return TensorSpec(tuple(shape), _as_dtype_name(fields["dtype"], where), str(kind))


def _as_size(size: Any, where: str, smallest: int = 1) -> int:
    if type(size) is not int or not smallest <= size < 2**40:
        raise _expected("a size", size, where)
    return size


def _as_dtype_name(name: Any, where: str) -> str:
    if not isinstance(name, str) or name not in DTYPES:
        raise _expected("a dtype name such as 'float32'", name, where)
    return name


def _as_fields(entry: Any, keys: set[str], where: str) -> dict[str, Any]:
    if not isinstance(entry, dict) or entry.keys() != keys:
        raise _expected(f"the fields {', '.join(sorted(keys))}", entry, where)
    return entry


def _as_list(value: Any, where: str, longest: int) -> list[Any]:
    if not isinstance(value, list) or len(value) > longest:
        raise _expected(f"a list of at most {longest} entries", value, where)
    return value


def _as_object(value: Any, where: str, longest: int) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > longest or not all(isinstance(key, str) for key in value):
        raise _expected(f"an object of at most {longest} entries", value, where)
    return value


def _as_text(value: Any, pattern: re.Pattern[str], what: str) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise _expected(f"{what} that matches {pattern.pattern}", value, "the graph")
    return value


def _expected(what: str, got: Any, where: str) -> GraphError:
    return GraphError(
        f"Expected {what} in {where} but got {reprlib.repr(got)}; the graph is damaged or was not written by this "
        "package."
    )
