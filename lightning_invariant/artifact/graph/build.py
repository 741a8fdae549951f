"""Turns a checked graph into something that runs."""

from __future__ import annotations

import reprlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx, nn

from lightning_invariant.artifact.graph.guards import guarded
from lightning_invariant.artifact.graph.operators import DTYPES
from lightning_invariant.artifact.graph.values import Ambient, CheckedGraph, Ref, TensorSpec, resolve
from lightning_invariant.errors import GraphError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ALIGNMENT = 64
"""Bytes at a multiple of which PyTorch puts tensors."""


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
        value = tensor.detach().contiguous()
        if value.data_ptr() % ALIGNMENT:
            value = value.clone()  # kernels give other last bits for memory that PyTorch did not align
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
        args, kwargs = resolve(node.args, values, ambient), resolve(node.kwargs, values, ambient)
        values[Ref("node", i)] = graph.create_node("call_function", guarded(node), args, kwargs, name=f"n{i}")
    graph.output(values[checked.output])
    return names, fx.GraphModule(nn.Module(), graph, class_name="Graph").forward


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
