import pytest
import torch

from lightning_invariant.batch import INPUT_KEYS, LABEL_KEYS, find_inputs, find_labels

X, Y = torch.ones(3, 2), torch.tensor([0, 1, 2])
SEVERAL = torch.eye(3)


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
        *[({key: X, "y": Y}, X, Y) for key in INPUT_KEYS],
        *[({"x": X, key: Y}, X, Y) for key in LABEL_KEYS],
        ({"x": X, "y": None}, X, None),
        ({"other": X}, None, None),
        ({}, None, None),
        ((), None, None),
        ((X, X), X, None),
        ((X, SEVERAL), X, SEVERAL),
        ((X, SEVERAL, Y), X, Y),
        ({"x": X, "y": SEVERAL}, X, SEVERAL),
        ("text", None, None),
        (None, None, None),
        ((torch.tensor(1.0), Y), None, Y),
    ],
)
def test_usual_batches(batch, x, y):
    for found, expected in ((find_inputs(batch), x), (find_labels(batch), y)):
        assert (found is None) == (expected is None)
        assert found is None or torch.equal(found, expected)


def test_functions_read_unusual_ones():
    batch = {"deep": {"x": X, "y": Y[:, None]}}
    assert torch.equal(find_inputs(batch, lambda b: b["deep"]["x"]), X)
    assert torch.equal(find_labels(batch, lambda b: b["deep"]["y"]), Y)
