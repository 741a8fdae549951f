"""Containers of every kind are opened, copied and put together again without a change to what was given."""

from __future__ import annotations

import dataclasses
import importlib
from collections import OrderedDict, UserDict, namedtuple
from types import MappingProxyType

import numpy as np
import pytest
import torch

from lightning_invariant.batch import clone, leaves, replace, to_device
from lightning_invariant.batch.tree import last_name
from lightning_invariant.errors import BatchError

Pair = namedtuple("Pair", ["x", "name"])


@dataclasses.dataclass(frozen=True)
class Frozen:
    x: torch.Tensor
    name: str = "a"


@dataclasses.dataclass
class Slotted:
    __slots__ = ("name", "x")
    x: torch.Tensor
    name: str


class Own:
    def __init__(self, x):
        self.x, self.name, self.loop = x, "a", [self]


class Slots:
    __slots__ = ("hidden", "x")

    def __init__(self, x):
        self.x = x


X = torch.ones(3, 2)
CONTAINERS = [
    ({"x": X, "name": "a"}, "x"),
    (OrderedDict(x=X), "x"),
    (UserDict(x=X), "x"),
    (MappingProxyType({"x": X}), "x"),
    ({"deep": {"x": [X]}}, "deep['x'][0]"),
    ({"a b": X}, "a b"),
    ({0: X}, "[0]"),
    ((X, 3, None, "text"), "[0]"),
    ([X], "[0]"),
    (Pair(X, "a"), "x"),
    (Frozen(X), "x"),
    (Slotted(X, "a"), "x"),
    (Own(X), "x"),
    (Slots(X), "x"),
    ({"data": Own(X)}, "data.x"),
    ({"args": (X,)}, "args[0]"),
    (X, ""),
]


@pytest.mark.parametrize(("tree", "path"), CONTAINERS, ids=lambda v: type(v).__name__)
def test_containers_are_opened_and_rebuilt_with_their_type(tree, path):
    assert list(leaves(tree)) == [path]
    assert leaves(tree)[path] is X
    other = replace(tree, {path: X * 2})
    assert torch.equal(leaves(other)[path], X * 2)
    assert type(other) is type(tree) or isinstance(tree, MappingProxyType)
    assert leaves(tree)[path] is X
    copied = clone(tree)
    assert leaves(copied)[path] is not X
    assert torch.equal(leaves(copied)[path], X)
    assert torch.equal(X, torch.ones(3, 2))


def test_paths_begin_with_a_name():
    assert list(leaves({"pos": X}, "batch")) == ["batch['pos']"]
    assert list(leaves((X,), "args")) == ["args[0]"]
    assert list(leaves(Own(X), "data")) == ["data.x"]
    names = ["batch['pos']", "data.pos", "args[0]", "images[]", "[0]", "", "x['a'][1]"]
    assert [last_name(name) for name in names] == ["pos", "pos", "args", "images", "", "", "a"]


def test_arrays_stay_arrays():
    array = np.arange(6.0).reshape(3, 2)
    tree = {"x": array, "names": np.array(["a", "b"])}
    assert list(leaves(tree)) == ["x"]
    changed = replace(tree, {"x": torch.zeros(3, 2)})["x"]
    assert isinstance(changed, np.ndarray)
    assert changed.sum() == 0
    assert array.sum() == 15
    assert clone(tree)["x"] is not array
    assert torch.equal(leaves({"x": array[::-1]})["x"], torch.from_numpy(array.copy()).flip(0))


def test_a_copy_is_out_of_reach_and_keeps_what_is_one_tensor():
    w = torch.ones(2, requires_grad=True)
    tree = {"q": X * w, "k": None, "cache": {"seen": []}}
    tree["k"] = tree["q"]
    copied = clone(tree)
    tree["q"].data.zero_()
    tree["cache"]["seen"].append(1)
    assert copied["q"].sum() == 6
    assert not copied["q"].requires_grad
    assert copied["q"] is copied["k"]  # self-attention asks whether query is key
    assert copied["cache"] == {"seen": []}
    assert clone(tree, detach=False)["q"].requires_grad


def test_what_cannot_be_copied_is_shared():
    lock = pytest.importorskip("threading").Lock()
    assert clone({"x": X, "lock": lock})["lock"] is lock


def test_an_untouched_container_is_shared():
    tree = {"a": [X], "b": [X.clone()]}
    assert replace(tree, {"b[0]": X})["a"] is tree["a"]
    assert to_device(tree, "cpu") is tree
    assert to_device(tree, "meta")["a"][0].is_meta
    with pytest.raises(BatchError, match=r"among a\[0\], b\[0\] but got c"):
        replace(tree, {"c": X})


def test_pytorch_geometric_batches():
    data = pytest.importorskip("torch_geometric.data")
    graphs = [data.Data(x=torch.ones(n, 1) * n, edge_index=torch.tensor([[0], [1]])) for n in (2, 3)]
    batch = data.Batch.from_data_list(graphs)
    assert list(leaves(batch, "data")) == ["data.x", "data.edge_index", "data.batch", "data.ptr"]
    other = replace(batch, {"x": batch.x * 2})
    assert type(other) is type(batch)
    assert batch.x.sum() == 13
    assert other.get_example(1).x.tolist() == [[6], [6], [6]]
    assert clone(batch).x is not batch.x
    hetero = data.HeteroData()
    hetero["atom"].x = X
    (path,) = leaves(hetero)
    assert replace(hetero, {path: X * 2})["atom"].x.sum() == 12
    assert hetero["atom"].x is X


def test_hugging_face_containers():
    transformers = pytest.importorskip("transformers")
    output = importlib.import_module("transformers.utils").ModelOutput

    @dataclasses.dataclass
    class Output(output):
        logits: torch.Tensor | None = None
        hidden: torch.Tensor | None = None

    encoding = transformers.BatchEncoding({"pixel_values": X})
    changed = replace(encoding, {"pixel_values": X * 2})
    assert type(changed) is transformers.BatchEncoding
    assert changed.pixel_values.sum() == 12
    assert encoding["pixel_values"] is X
    result = replace(Output(logits=X), {"logits": X * 2})
    assert result.logits.sum() == 12
    assert result[0].sum() == 12
