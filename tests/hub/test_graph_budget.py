"""Memory and computation are bounded at every size, by the same numbers everywhere, before anything is allocated."""

from __future__ import annotations

import copy
import pickle
import time
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_invariant.artifact.graph import GraphModule, export_graph, module
from lightning_invariant.artifact.graph.check import check_graph
from lightning_invariant.artifact.graph.meta_run import TooLargeError, meta_run
from lightning_invariant.errors import GraphError
from tests.hub.graph_networks import Apply, build

if TYPE_CHECKING:
    from collections.abc import Callable

    from lightning_invariant.artifact.graph import GraphModule

X = {"input": 0}


def node(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args), "kwargs": kwargs}


def made(size: list[Any], dtype: str = "float32") -> dict[str, Any]:
    return node("aten.ones.default", size, dtype={"dtype": dtype}, device={"device": "input"})


def crafted(*nodes: dict[str, Any]) -> dict[str, Any]:
    """A graph (batch, 4) -> (batch, 4) that computes nodes beside its result."""
    graph = copy.deepcopy(export_graph(nn.Identity().eval(), (torch.randn(2, 4),)).graph)
    graph["nodes"] = [*nodes, node("aten.mul.Scalar", X, 1.0)]
    graph["output"]["value"] = {"node": len(nodes)}
    return graph


def later(*nodes: dict[str, Any]) -> GraphModule:
    """A crafted graph whose node 0 is the batch size; it is harmless at the batch of 2 that it names."""
    return GraphModule(crafted(node("sym.size", X, 0), *nodes), {}, 2**29)


LATER: dict[str, tuple[dict[str, Any], ...]] = {
    "power": (made([{"node": 0}] * 5),),
    "branch": (
        node("sym.floordiv", {"node": 0}, 64),
        node("sym.mul", {"node": 1}, 10**9),
        node("sym.add", {"node": 2}, 1),
        made([{"node": 3}]),
    ),
    "remainder": (
        node("sym.mod", {"node": 0}, 5),
        node("sym.mul", {"node": 1}, {"node": 1}),
        *(node("sym.mul", {"node": i}, {"node": i}) for i in (2, 3)),
        made([{"node": 4}, 10**4]),
    ),
    "columns": (
        node("sym.floordiv", {"node": 0}, 64),
        node("sym.mul", {"node": 1}, 399),
        node("sym.add", {"node": 2}, 1),
        made([1, 1, {"node": 3}, {"node": 3}], "float64"),
        node("aten.pad.default", {"node": 4}, [0, 160, 0, 160]),
        made([1, 1, 150, 150], "float64"),
        node("aten.conv2d.default", {"node": 5}, {"node": 6}),
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_memory_that_only_some_batches_need_is_refused_before_it_is_taken(name: str) -> None:
    loaded = later(*LATER[name])
    x = torch.randn(64, 4)
    for same in (loaded, pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        assert torch.equal(same(x[:2]), x[:2])
        for _ in range(2):
            with pytest.raises(TooLargeError, match=r"from_pretrained\(\.\.\., max_bytes="):
                same(x)


@pytest.mark.parametrize("dynamic", [None, True])
def test_the_bound_is_the_same_for_a_compiled_graph(dynamic: bool | None) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(later(*LATER["power"]), dynamic=dynamic, fullgraph=True, backend="aot_eager")
    x = torch.randn(64, 4)
    for size in (2, 3, 4):
        assert torch.equal(compiled(x[:size]), x[:size])
    with pytest.raises(TooLargeError, match="max_bytes="):
        compiled(x)


def test_a_compiled_graph_trains_as_before() -> None:
    torch._dynamo.reset()
    artifact = export_graph(nn.Linear(4, 3).eval(), (torch.randn(2, 4),))
    loaded, x = GraphModule(artifact.graph, artifact.tensors), torch.randn(5, 4, requires_grad=True)
    torch.compile(loaded, backend="aot_eager")(x).sum().backward()
    compiled = x.grad, loaded.network.get_parameter("weight").grad
    loaded.zero_grad()
    x.grad = None
    loaded(x).sum().backward()
    assert torch.equal(compiled[0], x.grad)
    assert torch.equal(compiled[1], loaded.network.get_parameter("weight").grad)


def test_a_caller_may_allow_more() -> None:
    graph = crafted(made([300, 300, 300]))
    with pytest.raises(TooLargeError, match=f"at most {2**26} bytes .*max_bytes={2**27}"):
        GraphModule(graph, {}, 2**26)
    assert GraphModule(graph, {}, 2**27)(torch.zeros(2, 4)).shape == (2, 4)


def test_a_graph_that_is_harmless_is_looked_at_once_a_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    network, shape = build("vit")
    artifact = export_graph(network, (torch.randn(2, *shape),))
    loaded = GraphModule(artifact.graph, artifact.tensors)
    seen = []
    run = module.meta_run
    monkeypatch.setattr(module, "meta_run", lambda *given, **more: seen.append(given[1:]) or run(*given, **more))
    with torch.no_grad():
        for batch in (1, 3, 1, 3, 3):
            loaded(torch.randn(batch, *shape))
        assert [lengths for lengths, _ in seen] == [{"batch": 1}, {"batch": 3}]
        loaded.double()(torch.randn(3, *shape).double())
    assert len(seen) == 3


def _attends(x: Tensor) -> Tensor:
    return ((x[:, :, None] - x[:, None]).square().sum(-1)).softmax(-1).sum(1).mean(1, keepdim=True) + x[:, 0]


@pytest.mark.parametrize("size", [(256, 8, 3), (2, 3000, 3)])
def test_honest_networks_may_grow_with_the_batch_and_the_square_of_other_axes(size: tuple[int, ...]) -> None:
    network = Apply(_attends).eval()
    artifact = export_graph(network, (torch.randn(2, 4, 3),), dynamic=[{0: "batch", 1: "points"}])
    loaded = GraphModule(artifact.graph, artifact.tensors)
    loaded.max_bytes = 2**50
    assert loaded.need({"batch": size[0] * 100, "points": size[1]}) > 2**25


HIDDEN: dict[str, tuple[dict[str, Any], ...]] = {
    "conv2d": (
        made([1, 1, 400, 400], "float64"),
        made([1, 1, 150, 150], "float64"),
        node("aten.conv2d.default", {"node": 0}, {"node": 1}),
    ),
    "conv3d": (
        made([1, 1, 60, 60, 60], "float64"),
        made([1, 1, 20, 20, 20], "float64"),
        node("aten.conv3d.default", {"node": 0}, {"node": 1}),
    ),
    "transposed": (
        made([1, 1, 500, 500], "float64"),
        made([1, 1, 60, 60], "float64"),
        node("aten.conv_transpose2d.input", {"node": 0}, {"node": 1}),
    ),
    "dilated": (
        made([1, 1, 500, 500], "float64"),
        made([1, 1, 60, 60], "float64"),
        node("aten.conv2d.default", {"node": 0}, {"node": 1}, None, [1, 1], [0, 0], [2, 2]),
    ),
    "exponential": (made([10**5, 10, 10]), node("aten.linalg_matrix_exp.default", {"node": 0})),
    "bilinear": (
        made([300, 2000]),
        made([300, 2000]),
        made([4, 2000, 2000]),
        node("aten.bilinear.default", {"node": 0}, {"node": 1}, {"node": 2}),
    ),
    "decomposition": (made([200_000, 16, 16]), node("aten.linalg_svd.default", {"node": 0})),
    "median": (made([10**7]), node("aten.median.default", {"node": 0})),
    "sort": (made([45 * 10**6]), node("aten.sort.default", {"node": 0})),
    "first pass": (
        made([1, 1, 10**6, 1]),
        node("aten._upsample_bilinear2d_aa.vec", {"node": 0}, [1, 10**6], False, None),
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_kernels_take_beside_their_results_is_bounded(name: str) -> None:
    with pytest.raises(TooLargeError, match=r"Expected at most .* bytes of values at one time"):
        GraphModule(crafted(*HIDDEN[name]), {}, 2**28)


LONG: dict[str, tuple[dict[str, Any], ...]] = {
    "many products": (
        made([5000, 5000]),
        *(node("aten.mm.default", {"node": i}, {"node": i}) for i in range(100)),
    ),
    "special functions": (
        made([2**26]),
        *(node("aten.digamma.default", {"node": i}) for i in range(4)),
    ),
    "sorts": (made([2**22]), *(node("aten.argsort.default", {"node": 0}) for _ in range(40))),
    "wide pools": (
        made([1, 1, 3000, 3000]),
        node("aten.avg_pool2d.default", {"node": 0}, [1500, 1500], [1, 1]),
    ),
    "read again and again": (made([10**8]), *(node("aten.sum.default", {"node": 0}) for _ in range(200))),
    "sorted": (made([10**7]), *(node("aten.sort.default", {"node": 0}) for _ in range(20))),
    "window": (made([1, 1, 3000, 3000]), node("aten.max_pool2d.default", {"node": 0}, [900, 900], [1, 1])),
    "window of one number": (made([1, 1, 3000, 3000]), node("aten.avg_pool2d.default", {"node": 0}, [900], [1])),
    "distances": (made([10**4, 1000]), node("aten.cdist.default", {"node": 0}, {"node": 0}, 3.0)),
    "whole numbers": (made([4000, 4000], "int64"), node("aten.mm.default", {"node": 0}, {"node": 0})),
    "groups": (
        made([1, 1000, 300, 300]),
        made([1000, 1, 60, 60]),
        node("aten.conv2d.default", {"node": 0}, {"node": 1}, None, [1, 1], [0, 0], [1, 1], 1000),
    ),
    "special": (made([10**7]), *(node("aten.digamma.default", {"node": 0}) for _ in range(40))),
    "decomposed": (made([2000, 100, 100]), *(node("aten.linalg_svd.default", {"node": 0}) for _ in range(10))),
}


@pytest.mark.parametrize("name", LONG)
def test_what_takes_long_is_refused(name: str) -> None:
    with pytest.raises(GraphError, match="Expected a network that computes at most"):
        GraphModule(crafted(*LONG[name]), {})


def test_large_inputs_and_weights_may_compute_more() -> None:
    wide = [made([1500, 1500]), node("aten.mm.default", {"node": 0}, {"node": 0})]
    graph, weight = crafted(*wide), torch.zeros(10, 10**5)
    with pytest.raises(GraphError, match="Expected a network that computes at most"):
        GraphModule(graph, {})
    graph["tensors"] = {"weight": {"shape": [10, 10**5], "dtype": "float32", "kind": "buffer"}}
    GraphModule(graph, {"weight": weight})


def test_the_count_does_not_depend_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: pytest.fail("a limit looks at the clock"))
    checked = later(made([10, 10]))._checked
    assert meta_run(checked) == meta_run(checked)


def test_usual_sizes_of_the_same_operators_are_not_refused() -> None:
    def mixed(x: Tensor, *layers: Callable[..., Tensor]) -> Tensor:
        wide = F.interpolate(x[:, None, None].expand(-1, 1, 8, 8), size=(5, 5), mode="bilinear", antialias=True)
        return wide.mean((2, 3)) + x.sort(1).values + x.median(1, keepdim=True).values

    network = Apply(lambda layer, x: mixed(layer(x, x)), nn.Bilinear(8, 8, 8)).eval()
    artifact = export_graph(network, (torch.randn(2, 8),))
    x = torch.randn(3, 8)
    with torch.no_grad():
        assert torch.equal(GraphModule(artifact.graph, artifact.tensors)(x), network(x))


@pytest.mark.parametrize("batch", [1, 7])
def test_an_output_of_another_shape_than_promised_is_refused(batch: int) -> None:
    nodes = [
        node("aten.repeat.default", X, [3, 1]),
        node("aten.narrow.default", {"node": 0}, 0, 0, 2),
    ]
    graph = crafted(*nodes)
    graph["output"]["value"] = {"node": 1}
    loaded = GraphModule(graph, {})
    loaded(torch.zeros(2, 4))
    for _ in range(2):
        with pytest.raises(GraphError, match=r"Expected (an )?output"):
            loaded(torch.zeros(batch, 4))
        # the second look is at the result itself
        loaded._known[module._looks((torch.zeros(batch, 4),), loaded.dtype)] = torch.Size([batch, 4])


def enlarged(i: int) -> dict[str, Any]:
    return node("aten.upsample_bicubic2d.vec", {"node": 0}, [7 + i % 5, 7], False, None)


RECURRENT = made([1, 60_000, 2]), made([1, 1, 2]), made([6, 2])
LAYER = node("aten.gru.input", {"node": 0}, {"node": 1}, [{"node": 2}] * 2, False, 1, 0.0, False, False, True)
STEPS: dict[str, tuple[dict[str, Any], ...]] = {
    "a sequence that is taken apart again and again": (made([60_000]), *[node("aten.unbind.int", {"node": 0})] * 9000),
    "many recurrent layers": (made([1, 3, 2]), *RECURRENT[1:], *[LAYER] * 5000),
    "shape functions of many steps": (made([1, 1, 6, 6]), *[enlarged(i) for i in range(9000)]),
    "lists of many tensors": tuple([node("aten.broadcast_tensors.default", [X] * 4000)] * 100),
    "operators of many steps": tuple([node("aten.einsum.default", "ab,ab,ac->ab", [X, X, X])] * 9000),
    "many axes": (made([1] * 16), *(node("aten.unsqueeze.default", {"node": i}, 0) for i in range(60))),
    "a grid of many axes": (made([1]), node("aten.meshgrid.default", [{"node": 0}] * 4000)),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_bounded_by_a_count(name: str) -> None:
    started = time.process_time()
    with pytest.raises(GraphError, match=r"at most (50000 (tensors|references)|32 axes|16 axes)"):
        GraphModule(crafted(*STEPS[name]), {})
    assert time.process_time() - started < 10  # seconds of this process; about 2 on an idle machine


def test_long_sequences_of_a_recurrent_layer_are_looked_at_by_two_steps() -> None:
    long, short = (
        meta_run(check_graph(crafted(made([1, steps, 2]), *RECURRENT[1:], LAYER))) for steps in (60_000, 600)
    )
    assert 90 < long.live / short.live < 101
    assert 90 < long.computed / short.computed < 101
    with pytest.raises(TooLargeError):
        meta_run(check_graph(crafted(made([1, 10**7, 2]), *RECURRENT[1:], LAYER)), max_bytes=2**28)
