"""Forwards on a private copy change nothing of the live network, nor anybody's random numbers."""

import random
import threading

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.nn.utils import weight_norm
from torch.utils.data import TensorDataset

from lightning_invariant.callback.capture.private_copy import (
    PrivateCopy,
    drawn_since,
    kept_as_it_is,
    private_copy,
    random_states,
    reseed,
)


class Restless(pl.LightningModule):
    """A forward that changes whatever it can reach."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("mean", torch.zeros(4))
        self.calls, self.seen, self.state = 0, [], None

    def forward(self, x):
        self.calls += 1
        self.seen.append(x)
        self.mean.mul_(0.5).add_(x.mean(0))
        self.state = x if self.state is None else self.state + x
        self.linear.weight.data.mul_(1.01)
        self.log("seen", float(self.calls))
        self.extra = nn.Linear(4, 4)
        return self.linear(x) + np.random.rand() + random.random() + torch.rand(1)


def footprint(module):
    tensors = {name: value.clone() for name, value in module.state_dict().items()}
    return tensors, module.calls, len(module.seen), module.state, set(module._modules)


def same(one, other):
    return all(torch.equal(one[0][name], other[0][name]) for name in one[0]) and one[1:] == other[1:]


def numbers():
    return torch.rand(3).tolist(), np.random.rand(), random.random()


@pytest.mark.parametrize("live", [False, True])
def test_a_restless_forward_leaves_the_live_network_alone(live):
    module, x = Restless(), torch.ones(2, 4)
    before = footprint(module)
    copied = PrivateCopy(module, is_live=True) if live else private_copy(module)
    with copied.running(0):
        copied.network(x)
        copied.network(x)
    assert same(before, footprint(module))
    module(x)
    assert not same(before, footprint(module))


def test_random_numbers_go_on_as_if_nothing_had_run():
    reseed(3)
    expected = numbers()
    reseed(3)
    with random_states(0):
        numbers()
    assert numbers() == expected
    assert numbers() != expected


def test_random_states_come_back_after_an_exception():
    reseed(3)
    expected = numbers()
    reseed(3)

    def failing():
        with random_states(0):
            numbers()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert numbers() == expected


@pytest.mark.parametrize("draw", [lambda: torch.rand(1), np.random.rand, random.random, None])
def test_what_draws_random_numbers_is_known(draw):
    with random_states(0):
        reseed(5)
        if draw is not None:
            draw()
        assert drawn_since(5) == (draw is not None)


def test_what_deepcopy_refuses_is_replaced():
    module = nn.Sequential(weight_norm(nn.Linear(4, 4)))
    module.lock, module.file = threading.Lock(), open(__file__)  # noqa: SIM115
    module(torch.ones(1, 4))  # leaves a weight that is no leaf
    module.kept = module(torch.ones(1, 4))
    copied = private_copy(module)
    assert not copied.is_live
    assert copied.network.lock is not module.lock
    with copied.running(0):
        assert torch.allclose(copied.network(torch.ones(1, 4)), module(torch.ones(1, 4)))
    module.file.close()


def test_what_cannot_be_copied_runs_live_with_the_reason():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise TypeError("no copies of me")

    copied = private_copy(nn.Sequential(Stubborn(2, 2)))
    assert copied.is_live
    assert "no copies of me" in copied.reason
    assert private_copy(nn.Linear(2, 2), sharded=True).is_live


def test_data_sets_and_optimizers_are_not_copied():
    module = nn.Linear(2, 2)
    module.data = TensorDataset(torch.zeros(5))
    module.optimizer = torch.optim.SGD(module.parameters(), 0.1)
    copied = private_copy(module)
    assert copied.network.data is module.data
    assert copied.network.optimizer is module.optimizer
    assert copied.network.weight is not module.weight


def test_a_copied_lightning_module_logs_nothing_and_reads_its_trainer():
    class Logs(pl.LightningModule):
        def forward(self, x):
            self.log("x", 1.0)
            self.trainer.mark = "mine"
            return x + self.current_epoch

    class Fake:
        current_epoch, mark, logger = 7, "theirs", "real"

    trainer, module = Fake(), Logs()
    copied = private_copy(module, trainer)
    with copied.running(0):
        assert copied.network(torch.zeros(1)).item() == 7
    assert trainer.mark == "theirs"
    assert copied.network.trainer.mark == "mine"
    assert copied.network.trainer.logger != "real"
    assert module._trainer is None


def test_a_copy_has_no_gradients_and_the_modes_of_the_live_network():
    module = nn.Sequential(nn.Linear(2, 2), nn.Dropout()).eval()
    module[1].train()
    copied = private_copy(module)
    assert [part.training for part in copied.network.modules()] == [False, False, True]
    with copied.running(0):
        assert not copied.network(torch.ones(1, 2)).requires_grad


def test_live_tensors_are_put_back_to_the_bit():
    module = nn.BatchNorm1d(3).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with kept_as_it_is(module):
        module(torch.randn(8, 3))
        assert not torch.equal(module.running_mean, before["running_mean"])
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
