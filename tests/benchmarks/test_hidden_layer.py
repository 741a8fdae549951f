"""The probe with a hidden layer: what it can tell that a line cannot, wide features, and the random state."""

import pytest
import torch

from benchmarks.paper.hidden_layer import mlp_classes, mlp_values
from lightning_invariant.probes import accuracy, mae


def test_it_tells_quadrants_apart():
    x = torch.randn(600, 2, generator=torch.Generator().manual_seed(0))
    labels = (x[:, 0] * x[:, 1] > 0).long()
    (found,) = mlp_classes(x[:400], labels[:400], [x[400:]], 0)
    assert accuracy(found, labels[400:]) > 0.9
    assert accuracy(found.roll(1), labels[400:]) < 0.7


def test_it_learns_from_many_features_of_unequal_size():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2000, 300, dtype=torch.float64, generator=generator) * torch.logspace(0, -2, 300)
    y = 100 + 10 * x[:, :100] @ torch.randn(100, dtype=torch.float64, generator=generator)
    (found,) = mlp_values(x[:1600], y[:1600], [x[1600:]], 0)
    assert mae(found, y[1600:]) < 0.2 * mae(y[1600:].mean().expand(400), y[1600:])
    assert mae(found.roll(1), y[1600:]) > 0.8 * mae(y[1600:].mean().expand(400), y[1600:])


@pytest.mark.parametrize("rows", [2, 5, 130])
def test_few_rows_are_enough(rows):
    x = torch.randn(rows, 3, generator=torch.Generator().manual_seed(0))
    assert mlp_values(x, x[:, 0], [x], 0)[0].shape == (rows,)


def test_the_same_seed_gives_the_same_and_nobody_elses_random_numbers_move():
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    before = torch.get_rng_state()
    first, again, other = (mlp_values(x, x[:, 0], [x], seed)[0] for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
