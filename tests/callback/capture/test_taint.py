"""What was computed from weights is known, however it was computed."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_invariant.callback.capture.taint import Taint, weights_of


def inplace(w, x):
    y = torch.zeros(2)
    y.add_(w[0])
    return y


def view(w, x):
    return (x * w).reshape(-1)[1:]


CASES = {
    "product": (lambda w, x: x * w, True),
    "chain of operators": (lambda w, x: (x + w).relu().sum(), True),
    "written in place": (inplace, True),
    "view": (view, True),
    "index by a learned order": (lambda w, x: x[w[:, 0].argsort()[:1]], True),
    "embedding": (lambda w, x: nn.functional.embedding(torch.tensor([0, 1]), w), True),
    "written into a given tensor": (lambda w, x: torch.add(x, w, out=torch.empty(2, 2)), True),
    "input alone": (lambda w, x: x * 2 + 1, False),
    "new tensor": (lambda w, x: torch.ones(3) * x.mean(), False),
    "shape of a weight": (lambda w, x: torch.zeros(w.shape) + x, False),
    "through NumPy, which is not seen": (lambda w, x: torch.from_numpy(w.detach().numpy() * np.ones(2)), False),
}


@pytest.mark.parametrize("name", CASES)
def test_hidden_features_are_told_from_inputs(name):
    compute, expected = CASES[name]
    w, x = nn.Parameter(torch.randn(2, 2)), torch.randn(2, 2)
    with torch.no_grad(), Taint([w]) as taint:
        found = compute(w, x)
        assert taint.holds(found) == expected
        assert not taint.holds(x)


def test_buffers_do_not_taint_since_inputs_are_normalised_by_them():
    module = nn.BatchNorm1d(2, affine=False).eval()
    with torch.no_grad(), Taint(weights_of(module)) as taint:
        assert not taint.holds(module(torch.randn(3, 2)))
    assert weights_of(nn.Linear(2, 2))
