"""Operators whose kernels trust their arguments: crafted ones are refused, those of real layers are not."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks.mutations import operators
from lightning_invariant.artifact.graph import GraphModule, export_graph
from lightning_invariant.errors import GraphError
from tests.hub.graph_networks import Apply

X = {"input": 0}


def node(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args), "kwargs": kwargs}


def crafted(*nodes: dict[str, Any], weights: dict[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A graph (batch, 4) -> (batch, 4) with nodes that its result need not depend on; the first one is node 0."""
    graph = copy.deepcopy(export_graph(nn.Identity().eval(), (torch.randn(2, 4),)).graph)
    for name, value in weights.items():
        spec = {"shape": list(value.shape), "dtype": str(value.dtype)[6:], "kind": "buffer"}
        graph["tensors"][name] = spec
    graph["nodes"] = [*nodes, node("aten.mul.Scalar", X, 1.0)]
    graph["output"]["value"] = {"node": len(nodes)}
    return graph, weights


def recurrent(kind: str, state: list[Any], **changes: Tensor) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """One recurrent layer of 3 units over (1, batch, 4), with a state of this shape."""
    gates = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}[kind]
    sizes = {"w": (gates * 3, 4), "u": (gates * 3, 3), "b": (gates * 3,), "c": (gates * 3,)}
    weights = {name: torch.zeros(size) for name, size in sizes.items()} | changes
    h = {"node": 3}
    good = node("aten.zeros.default", [1, {"node": 1}, 3])
    nodes = [
        node("aten.unsqueeze.default", X, 0),
        node("sym.size", X, 0),
        node("sym.min", {"node": 1}, 2),
        node("aten.zeros.default", state),
        good,
        node(
            f"aten.{kind}.input",
            {"node": 0},
            [{"node": 4}, h] if kind == "lstm" else h,
            [{"tensor": name} for name in sizes],
            *(True, 1, 0.0, False, False, False),
        ),
    ]
    return crafted(*nodes, weights=weights)


RECURRENT = ["lstm", "gru", "rnn_tanh", "rnn_relu"]


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_recurrent_layer_takes_states_and_weights_of_its_own_sizes_only(kind: str) -> None:
    GraphModule(*recurrent(kind, [1, {"node": 1}, 3]))
    for graph, tensors in [
        recurrent(kind, [1, 1, 3]),
        recurrent(kind, [1, {"node": 1}, 2]),
        recurrent(kind, [2, {"node": 1}, 3]),
        recurrent(kind, [1, {"node": 1}, 3], u=torch.zeros(1, 3)),
        recurrent(kind, [1, {"node": 1}, 3], b=torch.zeros(1)),
        recurrent(kind, [1, {"node": 1}, 3], w=torch.zeros(12, 4, dtype=torch.float64)),
    ]:
        with pytest.raises(GraphError, match="Expected states and weights of a recurrent layer"):
            GraphModule(graph, tensors)


@pytest.mark.parametrize("kind", RECURRENT)
def test_a_state_that_fits_the_rehearsed_batch_only_is_refused_at_the_call(kind: str) -> None:
    loaded = GraphModule(*recurrent(kind, [1, {"node": 2}, 3]))
    loaded(torch.zeros(2, 4))
    with pytest.raises(GraphError, match="Expected states and weights of a recurrent layer"):
        loaded(torch.zeros(5, 4))


@pytest.mark.parametrize(
    "layer",
    [
        nn.LSTM(4, 3, 2, bidirectional=True, batch_first=True),
        nn.LSTM(4, 6, 2, proj_size=3, batch_first=True),
        nn.LSTM(4, 3, bias=False, batch_first=True),
        nn.GRU(4, 3, 2, bidirectional=True, batch_first=True),
        nn.RNN(4, 3, nonlinearity="relu", batch_first=True),
    ],
    ids=str,
)
def test_recurrent_layers_keep_their_numbers(layer: nn.Module) -> None:
    network = Apply(lambda layer, x: layer(x[:, None].expand(-1, 5, -1))[0], layer).eval()
    artifact = export_graph(network, (torch.randn(2, 4),))
    x = torch.randn(7, 4)
    with torch.no_grad():
        assert torch.equal(GraphModule(artifact.graph, artifact.tensors)(x), network(x))


INTEGERS = {"least": torch.tensor([-(2**63)]), "minus": torch.tensor([-1])}
A, B = {"tensor": "least"}, {"tensor": "minus"}
TRAPS = [
    node("aten.div.Tensor_mode", A, B, rounding_mode="trunc"),
    node("aten.div.Tensor_mode", A, B, rounding_mode="floor"),
    node("aten.div.Scalar_mode", A, -1, rounding_mode="trunc"),
    node("aten.div.Tensor_mode", 5, B, rounding_mode="floor"),
    node("aten.floor_divide.default", A, B),
    node("aten.floor_divide.Scalar", A, 0),
    node("aten.remainder.Tensor", A, B),
    node("aten.remainder.Scalar", A, -1),
    node("aten.fmod.Tensor", A, B),
    node("aten.fmod.Scalar", A, -1),
]


@pytest.mark.parametrize("trap", TRAPS, ids=lambda trap: f"{trap['op']} {trap['args'][1]}")
def test_integers_are_divided_by_positive_numbers_only(trap: dict[str, Any]) -> None:
    with pytest.raises(GraphError, match="divided by a positive number"):
        GraphModule(*crafted(trap, weights=INTEGERS))


def test_divisions_that_cannot_trap_stay() -> None:
    def divide(x: Tensor) -> Tensor:
        places = torch.arange(4)
        whole = torch.div(places, 2, rounding_mode="floor") + places % 3 + places // 2
        return whole + torch.div(x, x.abs() + 1, rounding_mode="trunc") + x % 2.0 + torch.fmod(x, 3.0)

    artifact = export_graph(Apply(divide).eval(), (torch.randn(2, 4),))
    x = torch.randn(5, 4)
    assert torch.equal(GraphModule(artifact.graph, artifact.tensors)(x), divide(x))


@pytest.mark.parametrize(("v", "g"), [((0,), (0,)), ((3, 0), (3, 1)), ((3, 2), (1, 1)), ((3, 2), (3,))])
def test_weight_norm_takes_one_magnitude_a_slice(v: tuple[int, ...], g: tuple[int, ...]) -> None:
    weights = {"v": torch.zeros(v), "g": torch.zeros(g)}
    with pytest.raises(GraphError, match="normalise"):
        GraphModule(*crafted(node("aten._weight_norm.default", {"tensor": "v"}, {"tensor": "g"}), weights=weights))


def test_what_hands_back_its_argument_counts_as_its_alias() -> None:
    nodes = [node("aten.conj_physical.default", {"tensor": "w"}), node("aten.mul_.Scalar", {"node": 0}, 2.0)]
    with pytest.raises(GraphError, match="writes into tensor 'w'"):
        GraphModule(*crafted(*nodes, weights={"w": torch.ones(4)}))


REFUSED_BY_KERNELS = {
    "bits of floats": [node("aten.bitwise_and.Tensor", X, X)],
    "complex": [node("aten.fft_fft.default", X), node("aten.erfinv.default", {"node": 0})],
    "places": [
        node("aten.full.default", [3], 99, dtype={"dtype": "int64"}),
        node("aten.index_select.default", X, 1, {"node": 0}),
    ],
}


@pytest.mark.parametrize("name", REFUSED_BY_KERNELS)
def test_what_only_a_kernel_refuses_is_a_clear_error(name: str) -> None:
    loaded = GraphModule(*crafted(*REFUSED_BY_KERNELS[name], weights={}))
    with pytest.raises(GraphError, match="Expected operations that can be done with these inputs but got"):
        loaded(torch.randn(3, 4))


SPECIAL: dict[str, tuple[str, list[Any], dict[str, Any]]] = {
    "bicubic volumes": ("grid_sampler", [{"input": 0}, {"input": 0}, 2, 0, False], {}),
    "unknown interpolation": ("grid_sampler", [{"input": 0}, {"input": 0}, 3, 0, False], {}),
    "negative interpolation": ("grid_sampler", [{"input": 0}, {"input": 0}, -1, 0, False], {}),
    "large interpolation": ("grid_sampler", [{"input": 0}, {"input": 0}, 7, 0, False], {}),
    "interpolation computed": ("grid_sampler", [{"input": 0}, {"input": 0}, {"node": 0}, 0, False], {}),
    "unknown padding": ("grid_sampler", [{"input": 0}, {"input": 0}, 0, 3, False], {}),
    "no parts": ("pixel_shuffle", [{"input": 0}, 0], {}),
    "too many pieces": ("tensor_split.sections", [{"input": 0}, 2**31, 0], {}),
    "a factor too many": ("upsample_trilinear3d.vec", [{"input": 0}, None, False, [2.0, 2.0, 2.0, 2.0]], {}),
    "a factor too few": ("upsample_trilinear3d.vec", [{"input": 0}, None, False, [2.0]], {}),
    "pad in an unknown way": ("pad", [{"input": 0}, [1, 1], "wild"], {}),
    "gelu in an unknown way": ("gelu", [{"input": 0}], {"approximate": "sum"}),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_ways_to_compute_that_no_kernel_knows_are_refused(name: str) -> None:
    op, args, kwargs = SPECIAL[name]
    graph = export_graph(nn.Identity().eval(), (torch.zeros(2, 3, 4, 4, 3),)).graph
    nodes = [{"op": "sym.size", "args": [{"input": 0}, 0], "kwargs": {}}]
    nodes.append({"op": f"aten.{op}" if "." in op else f"aten.{op}.default", "args": args, "kwargs": kwargs})
    nodes.append({"op": "aten.mul.Scalar", "args": [{"input": 0}, 1.0], "kwargs": {}})
    graph = {**graph, "nodes": nodes, "output": {**graph["output"], "value": {"node": 2}}}
    with pytest.raises(GraphError):
        GraphModule(graph, {})


def test_every_argument_that_is_text_has_its_values() -> None:
    """A new operator with a mode cannot be listed without its values."""
    from lightning_invariant.artifact.graph.operators import ALLOWED, allowed_values, find_operator

    open_ones = {
        (op, argument.name)
        for op in ALLOWED
        for argument in find_operator(op)._schema.arguments
        if ("str" in str(argument.type) or argument.name.endswith("mode"))
        and str(argument.type) not in ("bool", "Optional[bool]")
        and allowed_values(op, argument.name) is None
    }
    assert open_ones == {("aten.einsum.default", "equation")}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs MALLOC_PERTURB_ of glibc")
def test_no_operator_hands_out_what_memory_held() -> None:
    found = [operators.outcomes(200, fill, first=600) for fill in operators.FILLS]
    assert found[0] == found[1]
    assert "crashed" not in found[0].values()
    assert sum(outcome.startswith("computed") for outcome in found[0].values()) > 50


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs MALLOC_PERTURB_ of glibc")
def test_memory_that_was_never_written_would_be_seen() -> None:
    code = "import torch; print(torch.empty(50).view(torch.uint8).tolist())"
    seen = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"MALLOC_PERTURB_": str(fill)},
            capture_output=True,
            check=True,
        ).stdout
        for fill in operators.FILLS
    ]
    assert seen[0] != seen[1]
