"""Which parts of a batch have one entry a sample; taking samples out and putting them together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lightning_invariant.batch import leaves, rows
from lightning_invariant.errors import BatchError

B = 4


def axes(tree, count=B):
    return [layout.axes for layout in rows(tree, count)]


def test_the_likeliest_layout_comes_first():
    x = torch.zeros(B, 3, 2)
    assert axes({"x": x, "t": torch.zeros(B), "w": torch.zeros(7), "n": 3})[0] == {"x": 0, "t": 0}
    assert axes({"x": x.transpose(0, 1), "n": torch.zeros(B)})[0] == {"x": 1, "n": 0}
    assert axes({"x": torch.zeros(B, B)})[:2] == [{"x": 0}, {"x": 1}]
    assert axes({"x": torch.zeros(3), "n": 2}) == []
    many = axes({f"x{i}": torch.zeros(B, B) for i in range(9)})
    assert len(many) == 16
    assert set(many[0].values()) == {0}
    assert {f"x{i}": 1 for i in range(7)} | {"x7": 0, "x8": 0} in many  # time first, all of those in doubt together


def test_a_table_with_as_many_rows_can_be_left_out():
    assert {"x": 0} in axes({"x": torch.zeros(B, 3), "table": torch.zeros(B, 5)})


def test_lists_of_samples_and_lists_of_views():
    images = [torch.zeros(3, 8 + i, 8) for i in range(B)]
    assert axes({"x": images, "y": [torch.tensor(i) for i in range(B)]})[0] == {"x": -1, "y": -1}
    assert axes({"names": list("abcd"), "x": torch.zeros(B, 2)})[0] == {"names": -1, "x": 0}
    two = [torch.zeros(2, 3, 8, 8), torch.zeros(2, 3, 8, 8)]
    assert axes(two, 2)[0] == {"[0]": 0, "[1]": 0}
    three = [[torch.zeros(3, 8, 8)] * 3, [torch.tensor(0)] * 3]  # three pictures of three channels, and their labels
    assert axes(three, 3)[0] == {"[0]": -1, "[1]": -1}


def test_a_pair_of_arguments_is_no_list_of_two_samples():
    time_first = {"args": (torch.zeros(5, 2, 3), torch.zeros(5, 2))}
    assert {"args[0]": 1, "args[1]": 1} in axes(time_first, 2)
    samples_first = {"args": (torch.zeros(2, 5, 3), torch.zeros(2, 5))}
    assert axes(samples_first, 2)[0] == {"args[0]": 0, "args[1]": 0}
    images = {"images": [torch.zeros(3, 8, 8)] * 8}
    assert axes(images, 8)[0] == {"images": -1}


TREES = [
    {"x": torch.arange(24.0).reshape(B, 3, 2), "n": torch.arange(B), "scale": 2.0, "name": "a"},
    {"x": torch.arange(24.0).reshape(3, B, 2), "n": torch.arange(B)},
    {"x": np.arange(8.0).reshape(B, 2), "names": list("abcd")},
    (torch.arange(B), [{"boxes": torch.full((i, 4), float(i))} for i in range(B)]),
    {"x": torch.arange(10.0)[:, None], "batch": torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3]), "t": torch.arange(4.0)},
    {
        "x": torch.arange(10.0)[:, None],
        "edge_index": torch.tensor([[0, 2, 3, 6, 9], [1, 4, 2, 7, 8]]),
        "edge_attr": torch.arange(5.0),
        "ptr": torch.tensor([0, 2, 5, 6, 10]),
        "batch": torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 3, 3]),
    },
]


def same(one, other):
    if isinstance(one, (torch.Tensor, np.ndarray)):
        return type(one) is type(other) and one.dtype == other.dtype and bool((one == other).all())
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return one == other


@pytest.mark.parametrize("tree", TREES, ids=range(len(TREES)))
def test_what_was_taken_apart_is_joined_to_the_same(tree):
    layout = rows(tree, B)[0]
    parts = [layout.select(tree, [0]), layout.select(tree, [1, 2]), layout.select(tree, torch.tensor([3]))]
    assert same(layout.join(parts), tree)
    assert same(layout.select(tree, range(B)), tree)
    turned = layout.select(tree, [3, 2, 1, 0])
    assert not same(turned, tree)
    assert same(layout.select(turned, [3, 2, 1, 0]), tree)
    assert [layout.count_in(part) for part in (tree, *parts)] == [B, 1, 2, 1]


def test_edges_follow_their_nodes():
    layout, tree = rows(TREES[-1], B)[0], TREES[-1]
    taken = layout.select(tree, [3, 1])
    assert taken["x"][:, 0].tolist() == [6, 7, 8, 9, 2, 3, 4]
    assert taken["batch"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert taken["ptr"].tolist() == [0, 4, 7]
    ends = taken["x"][taken["edge_index"], 0]
    assert ends.tolist() == [[6, 9, 2, 3], [7, 8, 4, 2]]
    assert taken["edge_attr"].tolist() == [3, 4, 1, 2]


def test_joining_is_refused_where_batches_differ():
    def join(*trees):
        return rows(trees[0], 2)[0].join(trees)

    x = torch.zeros(2, 3)
    with pytest.raises(BatchError, match=r"one shape to join batches but got \(2, 3\), \(2, 4\)"):
        join({"x": x}, {"x": torch.zeros(2, 4)})
    with pytest.raises(BatchError, match="one value of t in all batches"):
        join({"x": x, "t": 1}, {"x": x, "t": 2})
    with pytest.raises(BatchError, match="one value of w"):
        join({"x": x, "w": torch.zeros(5)}, {"x": x, "w": torch.ones(5)})
    with pytest.raises(BatchError, match="one structure"):
        join({"x": x}, {"y": x})
    nan = torch.full((5,), torch.nan)
    assert join({"x": x, "w": nan}, {"x": x, "w": nan.clone()})["x"].shape == (4, 3)
    with pytest.raises(BatchError, match="one value of w"):
        join({"x": x, "w": nan}, {"x": x, "w": torch.zeros(5)})


def test_members_come_samples_first():
    tree = {
        "x": torch.zeros(3, B, 2),
        "n": torch.zeros(B),
        "w": torch.zeros(7),
        "images": [torch.zeros(1, i) for i in range(B)],
    }
    members = rows(tree, B)[0].members(tree)
    assert list(members) == ["x", "n", "images[]"]
    assert members["x"].shape == (B, 3, 2)
    assert len(members["images[]"]) == B


def test_pytorch_geometric_batches():
    data = pytest.importorskip("torch_geometric.data")
    graphs = [
        data.Data(x=torch.full((n, 1), n), edge_index=torch.tensor([[0], [1]]), y=torch.tensor([n])) for n in (2, 3, 4)
    ]
    tree = {"data": data.Batch.from_data_list(graphs)}
    layout = rows(tree, 3)[0]
    taken = layout.select(tree, [2, 0])
    assert taken["data"].y.tolist() == [4, 2]
    assert taken["data"].num_graphs == layout.count_in(taken) == 2
    joined = layout.join([layout.select(tree, [0]), layout.select(tree, [1, 2])])
    assert all(torch.equal(a, b) for a, b in zip(leaves(joined).values(), leaves(tree).values(), strict=True))
    assert layout.graph_index(tree).tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
