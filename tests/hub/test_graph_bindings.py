"""A quick function calls the operator of its name, and no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_invariant.artifact.graph import GraphModule, export_graph, guards
from lightning_invariant.artifact.graph.operators import ALLOWED, find_operator
from tests.hub.graph_networks import TABLE, build

X, MASK, WHOLE = torch.rand(4, 4), torch.rand(4, 4) > 0.5, torch.randint(4, (4, 4))
IMAGE = torch.rand(2, 4, 6, 6)
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "clamp": (X, 0.0, 1.0),
    "clamp_min": (X, 0.0),
    "clamp_max": (X, 1.0),
    "where": (MASK, X, X),
    "where.ScalarOther": (MASK, X, 0.0),
    "mv": (X, X[0]),
    "dot": (X[0], X[0]),
    "outer": (X[0], X[0]),
    "addmm": (X, X, X),
    "bmm": (IMAGE[0], IMAGE[0]),
    "baddbmm": (IMAGE[0], IMAGE[0], IMAGE[0]),
    "conv1d": (X[None], X[None]),
    "conv2d": (IMAGE, IMAGE),
    "conv3d": (IMAGE[None], IMAGE[None]),
    "batch_norm": (X, None, None, X[0], X[0], False, 0.1, 1e-5, False),
    "layer_norm": (X, [4]),
    "group_norm": (IMAGE, 2),
    "instance_norm": (IMAGE, None, None, None, None, True, 0.1, 1e-5, False),
    "max_pool2d": (IMAGE, [2, 2]),
    "avg_pool2d": (IMAGE, [2, 2]),
    "adaptive_avg_pool2d": (IMAGE, [2, 2]),
    "reshape": (X, [16]),
    "view": (X, [16]),
    "expand": (X, [2, 4, 4]),
    "repeat": (X, [2, 1]),
    "unflatten": (X, 1, [2, 2]),
    "transpose": (X, 0, 1),
    "permute": (X, [1, 0]),
    "unsqueeze": (X, 0),
    "squeeze": (X[None], 0),
    "select": (X, 0, 1),
    "narrow": (X, 0, 1, 2),
    "unfold": (X, 0, 2, 1),
    "cat": ([X, X], 1),
    "stack": ([X, X], 1),
    "chunk": (X, 2),
    "unbind": (X,),
    "roll": (X, [1], [0]),
    "flip": (X, [0]),
    "gather": (X, 1, WHOLE),
    "index_select": (X, 1, WHOLE[0]),
    "softmax": (X, 1),
    "log_softmax": (X, 1),
    "cumsum": (X, 1),
    "sum.dim_IntList": (X, [1]),
    "mean.dim": (X, [1]),
    "any": (MASK, 1),
    "all": (MASK, 1),
    "logsumexp": (X, [1]),
    "amax": (X, [1]),
    "amin": (X, [1]),
    "topk": (X, 2),
    "masked_fill": (X, MASK, 0.0),
    "masked_fill_": (X, MASK, 0.0),
    "fill_": (X, 0.0),
    "to": (X, torch.float64),
    "type_as": (X, WHOLE),
    "logical_and": (MASK, MASK),
    "logical_or": (MASK, MASK),
    "bitwise_not": (WHOLE,),
    "fft_irfft": (X,),
    "fft_fft2": (IMAGE,),
    "fft_rfft2": (IMAGE,),
}
PAIRS = {
    "add",
    "sub",
    "mul",
    "div",
    "maximum",
    "minimum",
    "atan2",
    "hypot",
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "matmul",
    "mm",
    "cdist",
    "linear",
    "add_",
    "sub_",
    "mul_",
    "div_",
    "copy_",
}


def arguments(op: str) -> tuple[Any, ...]:
    name, _, overload = op.removeprefix("aten.").partition(".")
    short = name if overload in ("default", "int") else f"{name}.{overload}"
    found = ARGUMENTS.get(short, ARGUMENTS.get(name))
    if found is None and name.startswith("bitwise_"):
        found = (WHOLE, WHOLE)
    if found is None and (overload.startswith("Tensor_") or overload == "Scalar"):
        found = (X, X if overload == "Tensor_Tensor" else 2.0)
    found = found or ((X, X) if name in PAIRS else (X,))
    return tuple(a.clone() if isinstance(a, Tensor) else a for a in found)


class _Called(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, list[Any]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shown = [tuple(a.shape) if isinstance(a, Tensor) else a for a in args]
        self.calls.append((str(func), [*shown, *sorted((kwargs or {}).items())]))
        return func(*args, **(kwargs or {}))


def calls(function: Any, op: str) -> tuple[list[Any], Any]:
    with torch.no_grad(), _Called() as mode:
        result = function(*arguments(op))
    return mode.calls, result


@pytest.mark.parametrize("op", [op for op in guards._doors() if op.startswith("aten.")])
def test_it_calls_what_the_operator_calls(op: str) -> None:
    assert op in ALLOWED
    got, wanted = calls(guards._doors()[op], op), calls(find_operator(op), op)
    assert got[0] == wanted[0]
    pairs = zip(*(r if isinstance(r, (list, tuple)) else [r] for r in (got[1], wanted[1])), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_every_listed_function_exists() -> None:
    listed = f"{guards._FUNCTIONS} {guards._LAYERS} {guards._ALGEBRA} {guards._TRANSFORMS} {guards._METHODS}"
    assert len(guards._doors()) == len(listed.split()) + len(("sym.size", "aten.view.default"))


def test_another_function_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "_doors", lambda: {"aten.relu.default": torch.sigmoid})
    with pytest.raises(AssertionError):
        test_it_calls_what_the_operator_calls("aten.relu.default")


@pytest.mark.parametrize("name", TABLE)
def test_a_loaded_graph_traces_to_the_same_operators(name: str) -> None:
    network, shape = build(name)
    first = export_graph(network, (torch.randn(2, *shape),))
    loaded = GraphModule(first.graph, first.tensors)
    again = export_graph(loaded, (torch.randn(2, *shape),))
    ops, wanted = ([n["op"] for n in graph["nodes"]] for graph in (again.graph, first.graph))
    wanted = [op.replace("aten.view.", "aten.reshape.") for op in wanted]  # a view wherever one can be had
    assert [op for op in ops if op.startswith("aten.")] == [op for op in wanted if op.startswith("aten.")]


def test_numbers_in_the_place_of_tensors_are_left_to_the_operator() -> None:
    artifact = export_graph(nn.Identity().eval(), (torch.randn(2, 4),))
    nodes = [{"op": "aten.add.Tensor", "args": [1.0, {"input": 0}], "kwargs": {}}]
    graph = {**artifact.graph, "nodes": nodes, "output": {**artifact.graph["output"], "value": {"node": 0}}}
    x = torch.randn(3, 4)
    assert torch.equal(GraphModule(graph, {})(x), x + 1)
