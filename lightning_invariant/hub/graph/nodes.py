"""Checks the nodes of an untrusted graph against the schemas of their operators."""

from __future__ import annotations

import math
import re
import reprlib
from operator import getitem
from typing import Any

import torch

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.fields import MAX_RANK, as_dtype_name, as_fields, as_list, as_object, expected
from lightning_invariant.hub.graph.operators import DTYPES, EINSUM, INTEGER_OPS, MEMORY_FORMATS, STRINGS, find_operator
from lightning_invariant.hub.graph.values import Ambient, Node, Ref, TensorSpec

MAX_LIST = 4096
MAX_INTEGER = 2**63 - 1
# Products of more sizes than this could grow integers without bound.
MAX_DEGREE = 16
# An upper bound on the rank of a tensor, whose number of elements is a product of as many sizes.
NUMEL_DEGREE = 8


class NodeReader:
    """Checks nodes one after another; `where` says which one in errors."""

    def __init__(self, n_inputs: int, tensors: dict[str, TensorSpec]) -> None:
        self.n_inputs, self.tensors = n_inputs, tensors
        self.nodes: list[Node] = []
        self.degrees: dict[int, int] = {}
        self.where = ""

    def read(self, entry: Any) -> None:
        """Check one more node."""
        self.where = f"node {len(self.nodes)}"
        fields = as_fields(entry, {"op", "args", "kwargs"}, self.where)
        op = fields["op"]
        if not isinstance(op, str) or len(op) > 100:
            raise expected("an operator name", op, self.where)
        self.where += f" ({reprlib.repr(op)})"
        args = as_list(fields["args"], f"arguments of {self.where}", 64)
        kwargs = as_object(fields["kwargs"], f"keyword arguments of {self.where}", 64)
        if op.startswith("aten."):
            self.nodes.append(self._aten(op, args, kwargs))
            return
        if kwargs:
            raise expected("no keyword arguments", kwargs, self.where)
        self.nodes.append(self._own(op, args))

    def reference(self, value: Any, wanted: str) -> Ref:
        """A reference to something that exists already and yields what is wanted."""
        if not isinstance(value, dict) or len(value) != 1:
            raise expected(f"a reference to a {wanted}", value, self.where)
        ((source, key),) = value.items()
        is_tensor = source == "tensor" and isinstance(key, str) and key in self.tensors
        is_input = source == "input" and type(key) is int and 0 <= key < self.n_inputs
        if is_tensor or is_input:
            yields = "tensor"
        elif source == "node" and type(key) is int and 0 <= key < len(self.nodes):
            yields = self.nodes[key].yields
        else:
            raise expected("a reference to an input, a tensor or an earlier node", value, self.where)
        if yields != wanted:
            raise expected(f"a reference to a {wanted}", value, f"{self.where}, where that yields a {yields}")
        return Ref(source, key)

    def _own(self, op: str, args: list[Any]) -> Node:
        if op == "getitem" and len(args) == 2:
            ref, index = self.reference(args[0], "list"), args[1]
            if type(index) is not int or not 0 <= index < self.nodes[int(ref.key)].length:
                raise expected("an index of that list", index, self.where)
            return Node(op, getitem, (ref, index), {}, "tensor", 1)
        if op == "sym.size" and len(args) == 2:
            if type(args[1]) is not int or not -MAX_RANK <= args[1] < MAX_RANK:
                raise expected("an axis", args[1], self.where)
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
            raise expected(f"at most {len(positional)} arguments", len(args), self.where)
        given = dict(zip((a.name for a in positional), args, strict=False))
        if repeated := given.keys() & kwargs.keys():
            raise expected("each argument once", sorted(repeated), self.where)
        given |= kwargs
        if unknown := given.keys() - {a.name for a in arguments}:
            raise expected("arguments of the operator", sorted(map(str, unknown)), self.where)
        values: dict[str, Any] = {}
        for a in arguments:
            if a.name in given:
                values[a.name] = self._typed(given[a.name], a.real_type, single=bool(getattr(a, "N", None)), op=op)
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

    def _typed(self, value: Any, jit: Any, *, single: bool, op: str) -> Any:
        """One argument against its type in the schema; recursion is bounded by that type, not by the value."""
        kind = jit.kind()
        if kind == "OptionalType":
            return None if value is None else self._typed(value, jit.getElementType(), single=single, op=op)
        if kind == "ListType":
            element = jit.getElementType()
            if single and not isinstance(value, list):
                return self._typed(value, element, single=False, op=op)
            return [self._typed(v, element, single=False, op=op) for v in as_list(value, self.where, MAX_LIST)]
        if kind == "TensorType":
            if isinstance(value, dict) and value.keys() & {"node", "input", "tensor"}:
                is_number = value.keys() == {"node"} and type(value["node"]) is int and value["node"] in self.degrees
                return self.reference(value, "number" if is_number else "tensor")
            return self._number(value)
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
        elif kind == "StringType" and isinstance(value, str):
            if value in STRINGS or (op == "aten.einsum.default" and re.fullmatch(EINSUM, value)):
                return value
        elif isinstance(value, dict) and len(value) == 1:
            return self._named(value, kind)
        raise expected(f"a value of type {jit}", value, self.where)

    def _named(self, value: dict[str, Any], kind: str) -> Any:
        ((key, name),) = value.items()
        if kind == "DeviceObjType" and key == "device" and name == "input":
            return Ambient.DEVICE
        if kind == "ScalarTypeType" and key == "dtype" and name == "network":
            return Ambient.DTYPE
        if kind == "ScalarTypeType" and key == "dtype":
            return DTYPES[as_dtype_name(name, self.where)]
        if kind == "MemoryFormatType" and key == "memory_format" and isinstance(name, str) and name in MEMORY_FORMATS:
            return MEMORY_FORMATS[name]
        raise expected("a dtype, a device or a memory format", value, self.where)

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
        raise expected("a number", value, self.where)
