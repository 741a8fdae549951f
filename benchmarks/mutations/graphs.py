"""Graphs that allocate, repeat, recurse, draw numbers or write, and shapes that are huge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.mutations.edit import edit

if TYPE_CHECKING:
    import random
    from pathlib import Path

X, W = {"input": 0}, {"tensor": "encoder.0.weight"}
CODE = "__import__('os').mkdir('ran')"


def _node(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args), "kwargs": kwargs}


def _last(n: int = 0) -> dict[str, Any]:
    """The n-th of the nodes that are put in front."""
    return {"node": n}


BOMBS: list[list[dict[str, Any]]] = [
    [_node("aten.zeros.default", [2**40])],
    [_node("aten.zeros.default", [2**62, 2**62])],
    [_node("aten.zeros.default", [-1])],
    [_node("aten.full.default", [2**20, 2**20], 1.0)],
    [_node("aten.arange.default", 2**50)],
    [_node("aten.arange.start_step", 0, 2**50, 1)],
    [_node("aten.linspace.default", 0, 1, 2**40)],
    [_node("aten.eye.default", 2**20)],
    [_node("aten.tril_indices.default", 2**20, 2**20)],
    [_node("aten.repeat.default", X, [2**20, 1, 2**9, 2**9])],
    [_node("aten.tile.default", X, [2**30])],
    [_node("aten.expand.default", X, [2**30, 3, 1, 6, 6]), _node("aten.clone.default", _last())],
    [_node("aten.expand.default", X, [2**40, 3, 1, 6, 6])],
    [_node("aten.repeat_interleave.self_int", X, 2**33)],
    [_node("aten.zeros.default", [9], dtype={"dtype": "int64"}), _node("aten.one_hot.default", _last(), 2**40)],
    [_node("aten.kron.default", X, X), *(_node("aten.kron.default", _last(i), _last(i)) for i in range(12))],
    [_node("aten.cat.default", [X, X]), *(_node("aten.cat.default", [_last(i)] * 4) for i in range(20))],
    [_node("aten.constant_pad_nd.default", X, [2**30, 2**30])],
    [_node("aten.fft_fft.default", X, 2**40)],
    [_node("aten.upsample_nearest2d.vec", X, [2**20, 2**20], None)],
    [_node("aten.upsample_bilinear2d.vec", X, None, False, [1e6, 1e6])],
    [_node("aten.adaptive_avg_pool2d.default", X, [2**20, 2**20])],
    [_node("aten.cdist.default", X, X), _node("aten.zeros.default", [2**26]), _node("aten.unbind.int", _last(1))],
    [_node("aten.zeros.default", [2**26])] * 8 + [_node("aten.cat.default", [_last(i) for i in range(8)])],
    [_node("aten.full.default", [300, 300], 1.0)] * 4
    + [_node("aten.einsum.default", "ab,cd,ac,bd->", [_last(i) for i in range(4)])],
    [_node("aten.zeros.default", [1, 2**22]), _node("aten.linalg_svd.default", _last(), True)],
    [
        *(_node("aten.zeros.default", size) for size in ([10**7, 1, 4], [1, 1, 4], [12, 4])),
        _node("aten.gru.input", _last(0), _last(1), [_last(2)] * 2, False, 1, 0.0, False, False, False),
    ],
    [_node("aten.matmul.default", X, X)] * 19_000,
    [_node("aten.ones.default", [10**8]), *[_node("aten.sum.default", _last())] * 19_000],
    [_node("aten.ones.default", [10**8]), *[_node("aten.sum.default", _last())] * 28],
    [_node("aten.ones.default", [10**7]), *[_node("aten.sort.default", _last())] * 19],
    [_node("aten.ones.default", [10**6]), *[_node("aten.sort.default", _last())] * 70],
    [_node("aten.ones.default", [10**7]), *[_node("aten.digamma.default", _last())] * 200],
    [_node("aten.ones.default", [1, 1, 3000, 3000]), _node("aten.max_pool2d.default", _last(), [900, 900], [1, 1])],
    [_node("aten.ones.default", [10**4, 1000]), _node("aten.cdist.default", _last(), _last(), 3.0)],
    [
        _node("aten.ones.default", [5000, 5000], dtype={"dtype": "int64"}),
        *[_node("aten.mm.default", _last(), _last())] * 20,
    ],
    [_node("aten.ones.default", [3000, 3000]), *[_node("aten.mm.default", _last(), _last())] * 2],
    [_node("sym.size", X, 0), *(_node("sym.mul", _last(i), _last(i)) for i in range(60))],
    [_node("sym.size", X, 0), _node("sym.floordiv", _last(), 0)],
    [_node("aten.relu.default", _last(5))],
    [_node("aten.relu.default", _last(0))],
    [_node("aten.relu.default", {"node": -1})],
    [_node("aten.zero_.default", W)],
    [_node("aten.add_.Tensor", W, 1)],
    [_node("aten.view.default", W, [-1]), _node("aten.fill_.Scalar", _last(), 7)],
    [_node("aten.relu_.default", X)],
    [_node("aten.rand.default", [3])],
    [_node("aten.bernoulli.p", X, 0.5)],
    [_node("aten.normal.float_float", 0, 1, [3])],
    [_node("aten.empty.memory_format", [10**6])],
    [_node("aten.as_strided.default", X, [10], [1], 10**9)],
    [_node("aten.set_.source_Tensor", X, W)],
    [_node("aten.resize_.default", X, [10**9])],
    [_node("aten.from_file.default", "/etc/passwd", False, 10)],
    [_node("aten.item.default", X)],
    [_node("aten.nonzero.default", X)],
    [_node("os.system", "mkdir ran")],
    [_node("eval", CODE)],
    [_node("aten.relu.__class__", X)],
    [_node("aten.relu.default.__globals__", X)],
    [_node("prims.device_put.default", X, "cuda")],
    [_node("higher_order.cond", X)],
    [_node("aten.zeros.default", [2], device={"device": "cuda:0"})],
    [_node("aten.zeros.default", [2], device={"device": CODE})],
    [_node("aten.zeros.default", [2], pin_memory=True)],
    [_node("aten.gelu.default", X, approximate=CODE)],
    [_node("aten.einsum.default", "a" * 10**5, [X])],
    [_node("aten.dropout.default", X, 0.5, True)],
    [_node("aten.scaled_dot_product_attention.default", X, X, X, None, 0.5)],
    [_node("aten.sort.default", X), _node("getitem", _last(), 7)],
    [_node("getitem", X, 0)],
    [_node("aten.split.Tensor", X, 0)],
    [_node("aten.tensor_split.sections", X, 2**40)],
    [_node("aten.linalg_matrix_power.default", X, 2**62)],
    [_node("aten.pow.Tensor_Scalar", X, {"complex": [1e308, 1e308]})],
]


def harm(folder: Path, chance: random.Random, number: int) -> None:
    """Put operators in front of the network; every other time the output depends on them."""
    bomb = BOMBS[number % len(BOMBS)]

    def change(graph: dict[str, Any]) -> None:
        count = len(bomb)
        old = [_shifted(node, count) for node in graph["nodes"]]
        graph["nodes"] = [*bomb, *old]
        graph["output"]["value"] = _shifted(graph["output"]["value"], count)
        if number % 2:
            graph["nodes"].append(_node("aten.mul.Tensor", graph["output"]["value"], _last(count - 1)))
            graph["output"]["value"] = {"node": len(graph["nodes"]) - 1}

    edit(folder, "graph.json", change)


def _shifted(value: Any, count: int) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"node"}:
            return {"node": value["node"] + count}
        return {key: _shifted(inner, count) for key, inner in value.items()}
    return [_shifted(inner, count) for inner in value] if isinstance(value, list) else value


def enlarge(folder: Path, chance: random.Random, number: int) -> None:
    """A size somewhere becomes huge, zero or negative."""
    size = chance.choice([0, -1, 2**20, 2**31, 2**40 - 1, 2**40, 2**63, 10**25])

    def in_graph(graph: dict[str, Any]) -> None:
        place = chance.choice(["inputs", "tensors", "output", "dims", "every tensor"])
        if place == "dims":
            graph["dims"]["batch"] = size
        elif place == "every tensor":
            for entry in graph["tensors"].values():
                entry["shape"] = [size for _ in entry["shape"]]
        else:
            entry = graph[place] if place == "output" else chance.choice(_entries(graph[place]))
            entry["shape"][chance.randrange(len(entry["shape"])) if entry["shape"] else 0 :] = [size] * 3

    def in_config(config: dict[str, Any]) -> None:
        place = chance.choice(["latent_size", "features", "inputs", "latent"])
        if place in ("latent_size", "features"):
            config[place] = size
        else:
            (config["inputs"][0] if place == "inputs" else config["latent"])["shape"][1] = size

    edit(folder, "graph.json", in_graph) if number % 3 else edit(folder, "config.json", in_config)


def _entries(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value
