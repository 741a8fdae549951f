"""Graphs that take long to look at: as many nodes, references, steps and axes as may be, of the slowest operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.mutations.graphs import W, X, node, put_in_front

if TYPE_CHECKING:
    import random
    from pathlib import Path

NODES = 9_900
FIRST = {"node": 0}


def _many(op: str, *args: Any, first: list[Any] | None = None, count: int = NODES) -> list[dict[str, Any]]:
    """So many nodes of one operator, behind one that makes ones of a shape."""
    return [node("aten.ones.default", [1] if first is None else first), *[node(op, *args)] * count]


def _recurrent(length: int, count: int) -> list[dict[str, Any]]:
    made = [node("aten.ones.default", size) for size in ([1, length, 2], [1, 1, 2], [6, 2])]
    layer = node("aten.gru.input", FIRST, {"node": 1}, [{"node": 2}] * 2, False, 1, 0.0, False, False, True)
    return [*made, *[layer] * count]


GRAPHS: list[list[dict[str, Any]]] = [
    _recurrent(60_000, 1),
    _recurrent(500, NODES),
    _many("aten.unbind.int", FIRST, first=[60_000]),
    _many("aten.unbind.int", FIRST, first=[60_000], count=5),
    _many("aten.chunk.default", FIRST, 60_000, first=[60_000]),
    _many("aten.tensor_split.sections", FIRST, 65_536),
    _many("aten.tensor_split.indices", FIRST, list(range(4096)), count=600),
    _many("aten.split_with_sizes.default", FIRST, [1] * 4096, first=[4096], count=800),
    *(
        _many(f"aten.{name}.default", [FIRST] * 4096, count=280)
        for name in ("cat", "stack", "hstack", "vstack", "meshgrid", "broadcast_tensors")
    ),
    _many("aten.cat.default", [FIRST] * 4, count=NODES),
    _many("aten.einsum.default", "abcd,abce,abde->abcd", [X, X, X]),
    _many("aten.einsum.default", ",".join(["a"] * 60), [FIRST] * 60, count=5000),
    _many("aten.einsum.default", ",".join("abcdefghijklmnopqrstuvwxyz") + "->", [FIRST] * 26, count=5000),
    _many("aten.upsample_bicubic2d.vec", X, [7, 7], False, None),
    _many("aten.upsample_bilinear2d.vec", X, [7, 7], False, None),
    _many("aten.grid_sampler.default", X, FIRST, 2, 0, False, first=[3, 6, 6, 2]),
    _many("aten.scaled_dot_product_attention.default", X, X, X),
    _many("aten.quantile.scalar", X, 0.5, 0),
    _many("aten.cosine_similarity.default", X, X),
    _many("aten.conv2d.default", X, W),
    _many("aten.matmul.default", X, X),
    _many("aten.gelu.default", X),
    _many("aten.hardswish.default", X),
    _many("aten.layer_norm.default", X, [6, 6]),
    _many("aten.group_norm.default", X, 1),
    _many("aten.linalg_matrix_power.default", FIRST, 2**62 - 1, first=[2, 2]),
    _many("aten.roll.default", X, [1] * 1000, [0] * 1000, count=3000),
    [node("aten.unsqueeze.default", FIRST if i else X, 0) for i in range(NODES)],
    [node("aten.unsqueeze.default", {"node": i - 1} if i else X, 0) for i in range(NODES)],
    [node("aten.add.Tensor", {"node": i - 1} if i else X, 1) for i in range(NODES)],
    [node("sym.size", X, 0), *[node("sym.mul", FIRST, FIRST)] * NODES],
]


def fill(folder: Path, chance: random.Random, number: int) -> None:
    """Put one of these in front of the network; every other time the output depends on it."""
    put_in_front(folder, GRAPHS[number % len(GRAPHS)], used=number % 2 == 1)
