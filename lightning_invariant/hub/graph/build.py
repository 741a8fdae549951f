"""Turns a checked graph into something that runs."""

from __future__ import annotations

import reprlib
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, fx, nn

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph.operators import DTYPES
from lightning_invariant.hub.graph.values import Ambient, CheckedGraph, Ref, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MAX_VALUE_BYTES = 2**29
MAX_AXIS_OF_LIST = 2**16
MAX_REHEARSAL_SECONDS = 5.0


def register_tensors(
    specs: Mapping[str, TensorSpec], tensors: Mapping[str, Tensor], aliases: Mapping[str, str]
) -> nn.Module:
    """Put exactly the tensors of the graph into a tree of bare modules, under their own names."""
    if specs.keys() != tensors.keys():
        missing, extra = sorted(specs.keys() - tensors.keys()), sorted(tensors.keys() - specs.keys())
        raise GraphError(
            f"Expected exactly the tensors of the graph but got {reprlib.repr(missing)} missing and "
            f"{reprlib.repr(extra)} extra; download both files again."
        )
    root = nn.Module()
    for name, spec in specs.items():
        tensor = tensors[name]
        if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise GraphError(
                f"Expected a plain tensor {name!r} but got {type(tensor).__name__}; export the network again."
            )
        if tuple(tensor.shape) != spec.shape or tensor.dtype != DTYPES[spec.dtype]:
            raise GraphError(
                f"Expected tensor {name!r} of {spec.dtype}{list(spec.shape)} but got "
                f"{tensor.dtype}{list(tensor.shape)}; download both files again."
            )
        # Tensors read from a file are not aligned as PyTorch aligns memory, and kernels then give other last bits.
        value = tensor.detach().clone(memory_format=torch.contiguous_format)
        if spec.kind != "buffer":
            value = nn.Parameter(value, requires_grad=spec.kind == "parameter")
        _register(root, name, value)
    for alias, name in aliases.items():
        path, _, key = name.rpartition(".")
        _register(root, alias, getattr(root.get_submodule(path), key))
    return root.eval()


def compile_graph(checked: CheckedGraph) -> tuple[list[str], Callable[..., Tensor]]:
    """Names of the tensors in use, and the function of (device, dtype, *tensors, *inputs) that the graph describes."""
    graph = fx.Graph()
    ambient = {Ambient.DEVICE: graph.placeholder("device"), Ambient.DTYPE: graph.placeholder("dtype")}
    names = list(checked.tensors)
    values: dict[Ref, fx.Node] = {Ref("tensor", name): graph.placeholder(f"t{i}") for i, name in enumerate(names)}
    values |= {Ref("input", i): graph.placeholder(f"x{i}") for i in range(len(checked.inputs))}
    for i, node in enumerate(checked.nodes):
        args, kwargs = _resolve(node.args, values, ambient), _resolve(node.kwargs, values, ambient)
        values[Ref("node", i)] = graph.create_node("call_function", node.target, args, kwargs, name=f"n{i}")
    graph.output(values[checked.output])
    return names, fx.GraphModule(nn.Module(), graph, class_name="Graph").forward


def rehearse(checked: CheckedGraph) -> None:
    """Run the graph on tensors without storage: what loads is consistent, and of sane size."""

    def empty(spec: TensorSpec) -> Tensor:
        return torch.empty(
            [checked.dims[s] if isinstance(s, str) else s for s in spec.shape], dtype=DTYPES[spec.dtype], device="meta"
        )

    started = time.monotonic()
    ambient = {
        Ambient.DEVICE: torch.device("meta"),
        Ambient.DTYPE: None if checked.dtype is None else DTYPES[checked.dtype],
    }
    values: dict[Ref, Any] = {Ref("tensor", name): empty(spec) for name, spec in checked.tensors.items()}
    values |= {Ref("input", i): empty(spec) for i, spec in enumerate(checked.inputs)}
    for i, node in enumerate(checked.nodes):
        where = f"node {i} ({node.op})"
        args, kwargs = _resolve(node.args, values, ambient), _resolve(node.kwargs, values, ambient)
        first = args[0] if args else None
        if node.yields == "list" and isinstance(first, Tensor) and max(first.shape, default=0) > MAX_AXIS_OF_LIST:
            raise GraphError(
                f"Expected at most {MAX_AXIS_OF_LIST} entries along an axis that {where} takes apart but got "
                f"{max(first.shape)}; the graph is refused."
            )
        try:
            with torch.no_grad():
                result = node.target(*args, **kwargs)
        except Exception as error:
            message = str(error).partition("\n")[0][:300]
            raise GraphError(
                f"Expected operations that fit together but {where} fails with {message!r}; the graph is damaged or "
                "the operation depends on values."
            ) from None
        for value in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(value, Tensor) and value.numel() * value.element_size() > MAX_VALUE_BYTES:
                raise GraphError(
                    f"Expected values of at most {MAX_VALUE_BYTES} bytes but {where} makes one of shape "
                    f"{list(value.shape)}; the graph is refused."
                )
        if time.monotonic() - started > MAX_REHEARSAL_SECONDS:
            raise GraphError(
                f"Expected a graph that is checked within {MAX_REHEARSAL_SECONDS} s but {where} is beyond; the "
                "graph is refused."
            )
        values[Ref("node", i)] = result
    got, want = values[checked.output], empty(checked.output_spec)
    if got.shape != want.shape or got.dtype != want.dtype:
        raise GraphError(
            f"Expected output {want.dtype}{list(want.shape)} but the graph makes {got.dtype}{list(got.shape)}; the "
            "graph is damaged."
        )


def _register(root: nn.Module, name: str, value: Tensor) -> None:
    *path, key = name.split(".")
    owner = root
    try:
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]
            assert owner is not None
        if isinstance(value, nn.Parameter):
            owner.register_parameter(key, value)
        else:
            owner.register_buffer(key, value)
    except (KeyError, TypeError):
        raise GraphError(
            f"Expected a tensor name that is free but got {name!r}; rename that parameter or buffer."
        ) from None


def _resolve(value: Any, values: Mapping[Ref, Any], ambient: Mapping[Ambient, Any]) -> Any:
    if isinstance(value, Ref):
        return values[value]
    if isinstance(value, Ambient):
        return ambient[value]
    if isinstance(value, dict):
        return {key: _resolve(inner, values, ambient) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_resolve(inner, values, ambient) for inner in value])
    return value
