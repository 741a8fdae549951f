"""Graphs that allocate, repeat, recurse, draw numbers or write, and shapes that are huge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.mutations.edit import edit

if TYPE_CHECKING:
    import random
    from pathlib import Path

X, W = {"input": 0}, {"tensor": "encoder.0.weight"}
CODE = "__import__('os').mkdir('ran')"


def node(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args), "kwargs": kwargs}


def _last(n: int = 0) -> dict[str, Any]:
    """The n-th of the nodes that are put in front."""
    return {"node": n}


BOMBS: list[list[dict[str, Any]]] = [
    [node("aten.zeros.default", [2**40])],
    [node("aten.zeros.default", [2**62, 2**62])],
    [node("aten.zeros.default", [-1])],
    [node("aten.full.default", [2**20, 2**20], 1.0)],
    [node("aten.arange.default", 2**50)],
    [node("aten.arange.start_step", 0, 2**50, 1)],
    [node("aten.linspace.default", 0, 1, 2**40)],
    [node("aten.eye.default", 2**20)],
    [node("aten.tril_indices.default", 2**20, 2**20)],
    [node("aten.repeat.default", X, [2**20, 1, 2**9, 2**9])],
    [node("aten.tile.default", X, [2**30])],
    [node("aten.expand.default", X, [2**30, 3, 1, 6, 6]), node("aten.clone.default", _last())],
    [node("aten.expand.default", X, [2**40, 3, 1, 6, 6])],
    [node("aten.repeat_interleave.self_int", X, 2**33)],
    [node("aten.zeros.default", [9], dtype={"dtype": "int64"}), node("aten.one_hot.default", _last(), 2**40)],
    [node("aten.kron.default", X, X), *(node("aten.kron.default", _last(i), _last(i)) for i in range(12))],
    [node("aten.cat.default", [X, X]), *(node("aten.cat.default", [_last(i)] * 4) for i in range(20))],
    [node("aten.constant_pad_nd.default", X, [2**30, 2**30])],
    [node("aten.fft_fft.default", X, 2**40)],
    [node("aten.upsample_nearest2d.vec", X, [2**20, 2**20], None)],
    [node("aten.upsample_bilinear2d.vec", X, None, False, [1e6, 1e6])],
    [node("aten.adaptive_avg_pool2d.default", X, [2**20, 2**20])],
    [node("aten.cdist.default", X, X), node("aten.zeros.default", [2**26]), node("aten.unbind.int", _last(1))],
    [node("aten.zeros.default", [2**26])] * 8 + [node("aten.cat.default", [_last(i) for i in range(8)])],
    [node("aten.full.default", [300, 300], 1.0)] * 4
    + [node("aten.einsum.default", "ab,cd,ac,bd->", [_last(i) for i in range(4)])],
    [node("aten.zeros.default", [1, 2**22]), node("aten.linalg_svd.default", _last(), True)],
    [
        *(node("aten.zeros.default", size) for size in ([10**7, 1, 4], [1, 1, 4], [12, 4])),
        node("aten.gru.input", _last(0), _last(1), [_last(2)] * 2, False, 1, 0.0, False, False, False),
    ],
    [node("aten.matmul.default", X, X)] * 19_000,
    [node("aten.ones.default", [10**8]), *[node("aten.sum.default", _last())] * 19_000],
    [node("aten.ones.default", [10**8]), *[node("aten.sum.default", _last())] * 28],
    [node("aten.ones.default", [10**7]), *[node("aten.sort.default", _last())] * 19],
    [node("aten.ones.default", [10**6]), *[node("aten.sort.default", _last())] * 70],
    [node("aten.ones.default", [10**7]), *[node("aten.digamma.default", _last())] * 200],
    [node("aten.ones.default", [1, 1, 3000, 3000]), node("aten.max_pool2d.default", _last(), [900, 900], [1, 1])],
    [node("aten.ones.default", [10**4, 1000]), node("aten.cdist.default", _last(), _last(), 3.0)],
    [
        node("aten.ones.default", [5000, 5000], dtype={"dtype": "int64"}),
        *[node("aten.mm.default", _last(), _last())] * 20,
    ],
    [node("aten.ones.default", [3000, 3000]), *[node("aten.mm.default", _last(), _last())] * 2],
    [node("sym.size", X, 0), *(node("sym.mul", _last(i), _last(i)) for i in range(60))],
    [node("sym.size", X, 0), node("sym.floordiv", _last(), 0)],
    [node("aten.relu.default", _last(5))],
    [node("aten.relu.default", _last(0))],
    [node("aten.relu.default", {"node": -1})],
    [node("aten.zero_.default", W)],
    [node("aten.add_.Tensor", W, 1)],
    [node("aten.view.default", W, [-1]), node("aten.fill_.Scalar", _last(), 7)],
    [node("aten.relu_.default", X)],
    [node("aten.rand.default", [3])],
    [node("aten.bernoulli.p", X, 0.5)],
    [node("aten.normal.float_float", 0, 1, [3])],
    [node("aten.empty.memory_format", [10**6])],
    [node("aten.as_strided.default", X, [10], [1], 10**9)],
    [node("aten.set_.source_Tensor", X, W)],
    [node("aten.resize_.default", X, [10**9])],
    [node("aten.from_file.default", "/etc/passwd", False, 10)],
    [node("aten.item.default", X)],
    [node("aten.nonzero.default", X)],
    [node("os.system", "mkdir ran")],
    [node("eval", CODE)],
    [node("aten.relu.__class__", X)],
    [node("aten.relu.default.__globals__", X)],
    [node("prims.device_put.default", X, "cuda")],
    [node("higher_order.cond", X)],
    [node("aten.zeros.default", [2], device={"device": "cuda:0"})],
    [node("aten.zeros.default", [2], device={"device": CODE})],
    [node("aten.zeros.default", [2], pin_memory=True)],
    [node("aten.gelu.default", X, approximate=CODE)],
    [node("aten.einsum.default", "a" * 10**5, [X])],
    [node("aten.dropout.default", X, 0.5, True)],
    [node("aten.scaled_dot_product_attention.default", X, X, X, None, 0.5)],
    [node("aten.sort.default", X), node("getitem", _last(), 7)],
    [node("getitem", X, 0)],
    [node("aten.split.Tensor", X, 0)],
    [node("aten.tensor_split.sections", X, 2**40)],
    [node("aten.linalg_matrix_power.default", X, 2**62)],
    [node("aten.pow.Tensor_Scalar", X, {"complex": [1e308, 1e308]})],
]


def harm(folder: Path, chance: random.Random, number: int) -> None:
    """Put operators in front of the network; every other time the output depends on them."""
    put_in_front(folder, BOMBS[number % len(BOMBS)], used=number % 2 == 1)


def put_in_front(folder: Path, made: list[dict[str, Any]], *, used: bool) -> None:
    """Put nodes in front of those of a graph."""

    def change(graph: dict[str, Any]) -> None:
        count = len(made)
        old = [_shifted(one, count) for one in graph["nodes"]]
        graph["nodes"] = [*made, *old]
        graph["output"]["value"] = _shifted(graph["output"]["value"], count)
        if used:
            graph["nodes"].append(node("aten.mul.Tensor", graph["output"]["value"], _last(count - 1)))
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
