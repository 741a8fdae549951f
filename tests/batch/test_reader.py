"""Inputs, labels, masks and groups of the usual kinds of batch, and what is said where nothing is sure."""

from __future__ import annotations

import pytest
import torch

from lightning_invariant.batch import INPUT_KEYS, LABEL_KEYS, BatchReader
from lightning_invariant.errors import BatchError

X, Y = torch.ones(4, 3, 8), torch.tensor([0, 1, 2, 1])
LENGTHS, SEVERAL = torch.tensor([8, 3, 2, 4]), torch.eye(4)[:, :3]


class Own:
    def __init__(self):
        self.x, self.y = X, Y


@pytest.mark.parametrize(
    ("batch", "x", "y"),
    [
        (X, X, None),
        ((X, Y), X, Y),
        ([X, Y], X, Y),
        ((X,), X, None),
        ((X, X, Y), X, Y),
        ((X, Y[:, None]), X, Y),
        ((X, "name", Y), X, Y),
        ((X, LENGTHS, Y), X, Y),
        ((X, Y, LENGTHS), X, Y),
        ((X, Y, torch.rand(4)), X, Y),
        (([X, X], Y), X, Y),
        ((X, [0, 1, 2, 1]), X, Y),
        ((list(X), list(Y)), X[0], Y),
        ((X, {"label": Y}), X, Y),
        (({"x": X, "y": Y}, 0, 1), X, Y),
        ({"a": [X, Y]}, None, Y),
        (Own(), X, Y),
        *[({key: X, "y": Y}, X, Y) for key in INPUT_KEYS],
        *[({"x": X, key: Y}, X, Y) for key in LABEL_KEYS],
        ({"x": X, "y": Y + 2**40}, X, Y + 2**40),
        ({"x": X, "y": Y > 0}, X, (Y > 0).long()),
        ({"x": X, "y": None}, X, None),
        ({"x": X, "y": Y.to(torch.complex64)}, X, None),
        ({"x": X, "other": Y}, X, None),
        ({}, None, None),
        ((), None, None),
        ((X, X), X, None),
        ((X, SEVERAL), X, SEVERAL),
        ((X, SEVERAL, Y), X, Y),
        ({"x": X, "y": SEVERAL}, X, SEVERAL),
        ("text", None, None),
        (None, None, None),
    ],
)
def test_usual_batches(batch, x, y):
    reader = BatchReader()
    for found, expected in ((reader.inputs(batch), x), (reader.labels(batch), y)):
        assert (found is None) == (expected is None)
        assert found is None or torch.equal(found, expected)


def test_labels_are_told_in_one_line():
    reader = BatchReader()
    assert reader.labels_from({"x": X, "y": Y}) == "batch['y'], 3 classes"
    assert reader.labels_from((X, Y.float())) == "batch[1], values"
    assert reader.labels_from({"x": X, "y": SEVERAL}) == "batch['y'], 3 values a sample"
    assert reader.labels_from(X) == "none found"
    assert BatchReader(labels="y").labels_from(Own()) == "batch.y, 3 classes"
    assert BatchReader(labels=1).labels_from((X, Y)) == "batch[1], 3 classes"


def test_two_columns_that_could_be_labels_are_not_guessed_between_and_the_remedy_works():
    batch = {"a": [X, Y], "b": [X, Y + 1]}
    for given in ((X, Y, Y), batch, (batch, 0, 0), {"a": {"y": Y}, "b": {"y": Y + 1}, "x": X}):
        said = BatchReader().labels_from(given)
        assert "could all be labels" in said
        assert BatchReader().labels(given) is None
        chosen = BatchReader(labels=said.split('labels="')[1][:-1])
        assert chosen.labels(given) is not None
        assert chosen.labels_from(given).endswith("3 classes")


def test_named_members_are_read():
    batch = {"deep": {"x": X, "y": Y[:, None]}, "mask": Y > 0, "video": ["a", "b", "a", "c"]}
    paths = ("batch['deep']['y']", "deep.y", "['deep']['y']", lambda b: b["deep"]["y"])
    for where in paths:
        assert torch.equal(BatchReader(labels=where).labels(batch, 4), Y)
    reader = BatchReader(inputs="deep.x", mask="mask", groups="video")
    assert reader.inputs(batch) is X
    assert reader.mask(batch).tolist() == [False, True, True, True]
    groups = reader.groups(batch, 4)
    assert groups.dtype == torch.int64
    assert groups[0] == groups[2]
    assert len(groups.unique()) == 3
    assert BatchReader().groups(batch) is None
    assert BatchReader().mask(batch) is None


def test_what_was_decided_on_one_batch_holds_for_all():
    decided = BatchReader().decide((X, LENGTHS, Y))
    assert torch.equal(decided.labels((X, LENGTHS, torch.tensor([1, 1, 2, 1]))), torch.tensor([1, 1, 2, 1]))
    assert BatchReader().labels((X, LENGTHS, torch.tensor([1, 1, 2, 1]))) is None
    assert BatchReader().decide(X).labels((X, Y)) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: BatchReader(labels=2.5), "for labels= but got 2.5"),
        (lambda: BatchReader(groups=True), "for groups= but got True"),
        (lambda: BatchReader(labels="q").labels({"x": X}), r"labels='q' to be in the batch but it holds batch\['x'\]"),
        (
            lambda: BatchReader(labels=5).labels((X, Y)),
            "labels=5 to be in the batch but it holds",
        ),
        (lambda: BatchReader(labels="y").labels({"y": Y.to(torch.complex64)}), "whole or real numbers"),
        (lambda: BatchReader(labels="x").labels({"x": X}), r"\(B,\) or \(B, T\)"),
        (lambda: BatchReader(labels="y").labels({"y": Y}, 3), "Expected 3 labels, one a sample, but got 4"),
        (lambda: BatchReader(groups="y").groups({"y": Y.float()}), "one whole number or string a sample"),
        (lambda: BatchReader(groups="y").groups({"y": Y}, 3), "Expected 3 groups"),
        (lambda: BatchReader(mask=lambda b: "text").mask(X), "a tensor or an array for mask="),
    ],
)
def test_what_is_not_there_says_what_is(call, message):
    with pytest.raises(BatchError, match=message):
        call()


def test_a_key_named_batch_hides_no_other():
    y = torch.tensor([2, 0, 1])
    graphs = {"x": torch.zeros(6, 2), "batch": torch.tensor([0, 0, 1, 2, 2, 2]), "y": y}
    assert torch.equal(BatchReader(labels="batch['y']").labels(graphs), y)
    assert BatchReader().labels_from(graphs, 3) == "batch['y'], 3 classes"
    assert BatchReader().decide(graphs, 3).labels(graphs).tolist() == [2, 0, 1]
    assert BatchReader().has_labels(graphs, 3)
    assert not BatchReader().has_labels(graphs, 4)
    nested = {"batch": {"y": y}}
    assert torch.equal(BatchReader(labels="batch['y']").labels(nested), y)
