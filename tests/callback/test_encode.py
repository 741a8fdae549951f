from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lightning_invariant.callback.encode import latents, undisturbed
from lightning_invariant.callback.path import LatentPath
from lightning_invariant.callback.tap import Tap
from lightning_invariant.errors import LayerError


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def test_modes_buffers_and_randomness_come_back():
    net = network().train()
    net[1].eval()
    before = torch.random.get_rng_state(), {k: v.clone() for k, v in net.state_dict().items()}
    with undisturbed(net):
        assert not any(module.training for module in net.modules())
        assert not torch.is_grad_enabled()
        net(torch.randn(5, 3))
    assert [m.training for m in net] == [True, False, True, True]
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before[1].items())


def test_they_come_back_after_an_error_too():
    net, state = network().train(), torch.random.get_rng_state()

    def fails():
        with undisturbed(net):
            torch.rand(1)
            raise RuntimeError("user's own")

    with pytest.raises(RuntimeError, match="user's own"):
        fails()
    assert all(m.training for m in net)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("route", ["network", "layer"])
def test_latents_of_any_number_of_inputs(route):
    net, tap, x = network().eval(), Tap("0"), torch.randn(11, 3)
    tap.attach(net)
    found = latents(net, tap, x, route=route, flat=lambda z: z, precision=nullcontext, chunk=4)
    assert torch.allclose(found, net[0](x), atol=1e-6)


def test_a_layer_that_the_network_passes_by_is_an_error():
    class Skips(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return x

    net, tap = Skips(), Tap("layer")
    tap.attach(net)
    with pytest.raises(LayerError, match="to call layer 'layer'"):
        latents(net, tap, torch.ones(2, 3), route="network", flat=lambda z: z, precision=nullcontext)
    with pytest.raises(LayerError, match="to call layer 'layer'"):
        LatentPath(net, tap, "network", lambda z: z)(torch.ones(2, 3))


def test_the_exportable_path_gives_the_same_latents():
    net, tap, x = network().eval(), Tap("1"), torch.randn(5, 3)
    tap.attach(net)
    path = LatentPath(net, tap, "network", lambda z: z.flatten(1))
    assert torch.equal(path(x), net[1](net[0](x)))
