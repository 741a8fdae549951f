"""Shapes by rule are those of PyTorch's own kernels, and nothing large is allocated to find that out."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
import torch
from torch import nn

from lightning_invariant.errors import GraphError
from lightning_invariant.hub.graph import export_graph, load_graph, rehearsal
from lightning_invariant.hub.graph.shapes import result_of
from tests.hub.graph_networks import TABLE, Apply, build

X = {"input": 0}


def exported(network: nn.Module, *shape: int) -> dict[str, Any]:
    return export_graph(network.eval(), (torch.randn(2, *shape),)).graph


@pytest.mark.parametrize("name", TABLE)
def test_rules_agree_with_the_kernels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    used = []

    def both(op: str, args: Any, kwargs: Any) -> Any:
        if (ruled := result_of(op, args, kwargs)) is not None:
            packet, overload = op.removeprefix("aten.").split(".")
            kernel = getattr(getattr(torch.ops.aten, packet), overload)(*args, **kwargs)
            pairs = list(zip(rehearsal._tensors(ruled), rehearsal._tensors(kernel), strict=True))
            for a, b in pairs[:1] if "norm" in op else pairs:  # what a norm keeps for gradients differs by device
                assert (a.shape, a.dtype, a.stride()) == (b.shape, b.dtype, b.stride()), op
            used.append(op)
        return ruled

    monkeypatch.setattr(rehearsal, "result_of", both)
    network, shape = build(name)
    graph, tensors = vars(export_graph(network, (torch.randn(2, *shape),))).values()
    load_graph(graph, tensors)
    assert used or name in ("identity", "sdpa", "spectrum", "sample", "weight_norm", "rotate", "turns")


def test_a_wrong_rule_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "result_of", lambda op, args, kwargs: args[0])
    with pytest.raises(AssertionError):
        test_rules_agree_with_the_kernels("mlp", monkeypatch)


def test_rules_that_do_not_know_a_layout_leave_it_to_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = exported(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), 4)
    tensors = export_graph(nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), (torch.randn(2, 4),)).tensors
    monkeypatch.setattr(rehearsal, "result_of", lambda op, args, kwargs: torch.empty(7, device="meta"))
    load_graph(graph, tensors)


def test_common_networks_load_without_the_compiler(tmp_path: Any) -> None:
    from tests.hub.small_encoder import export

    export(tmp_path / "folder")
    code = (
        "import sys; from lightning_invariant import InvariantEncoder\n"
        f"InvariantEncoder.from_pretrained({str(tmp_path / 'folder')!r})\n"
        "print(sorted({'torch._dynamo', 'sympy', 'pytorch_lightning', 'huggingface_hub'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n", done.stderr


def node(op: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    return {"op": op, "args": list(args), "kwargs": kwargs}


def square(size: int, letter: str = "") -> dict[str, Any]:
    return node("aten.full.default", [size, size], 1.0, dtype={"dtype": "float32"})


BOMBS = {
    "einsum intermediate": (
        [square(300)] * 4 + [node("aten.einsum.default", "ab,cd,ac,bd->", [{"node": i} for i in range(4)])],
        "makes one of shape",
    ),
    "many at once": (
        [node("aten.zeros.default", [2**26])] * 6 + [node("aten.cat.default", [{"node": i} for i in range(6)])],
        "at one time",
    ),
    "recurrent steps": (
        [
            node("aten.zeros.default", [10**7, 1, 4]),
            node("aten.zeros.default", [1, 1, 4]),
            node("aten.zeros.default", [12, 4]),
            node(
                "aten.gru.input",
                {"node": 0},
                {"node": 1},
                [{"node": 2}, {"node": 2}],
                False,
                1,
                0.0,
                False,
                False,
                False,
            ),
        ],
        "takes apart|is beyond|makes one|fails with",
    ),
    "svd of a row": (
        [node("aten.zeros.default", [1, 2**22]), node("aten.linalg_svd.default", {"node": 0}, True)],
        "makes one of shape",
    ),
    "padded transform": ([node("aten.fft_fft.default", X, 2**40)], "makes one of shape"),
    "outer": (
        [node("aten.zeros.default", [2**16]), node("aten.kron.default", {"node": 0}, {"node": 0})],
        "makes one of shape",
    ),
    "one hot": (
        [node("aten.zeros.default", [9], dtype={"dtype": "int64"}), node("aten.one_hot.default", {"node": 0}, 2**40)],
        "makes one of shape|fails with",
    ),
    "repeated": ([node("aten.repeat_interleave.self_int", X, 2**33)], "makes one of shape|fails with"),
    "counted": ([node("aten.arange.default", 2**50)], "makes one of shape"),
    "triangle": ([node("aten.tril_indices.default", 2**20, 2**20)], "makes one of shape"),
    "spread": ([node("aten.expand.default", X, [2**40, 2, 4])], "makes one of shape"),
    "wide grid": ([node("aten.affine_grid_generator.default", X, [1, 1, 2**20, 2**20], False)], "fails with|makes one"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_an_operator_makes_on_the_way_is_bounded(name: str) -> None:
    nodes, message = BOMBS[name]
    graph = exported(nn.Identity(), 4)
    graph["nodes"] = [*nodes, node("aten.mul.Scalar", X, 1.0)]
    graph["output"]["value"] = {"node": len(nodes)}
    started = time.monotonic()
    with pytest.raises(GraphError, match=message):
        load_graph(graph, {})
    assert time.monotonic() - started < 10


def test_values_that_follow_each_other_are_not_added_up() -> None:
    """Twenty maps of 40 MB exist one after the other."""
    network = Apply(lambda x: _deep(x)).eval()
    load_graph(exported(network, 4), {})


def _deep(x: torch.Tensor) -> torch.Tensor:
    wide = x[:, :1].expand(-1, 5_000_000)
    for _ in range(20):
        wide = wide * 0.5 + 1.0
    return wide[:, :4]
