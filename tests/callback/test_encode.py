import sys
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from lightning_invariant import Representation
from lightning_invariant.callback.content import Content
from lightning_invariant.callback.encode import latents, undisturbed
from lightning_invariant.callback.path import LatentPath
from lightning_invariant.callback.source import Source
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


def source(layer, representation="Z2: 4 signs"):
    content = Content(None, None, None, whole=not isinstance(layer, str), say=lambda key, text: None)
    return Source(layer, Representation.parse(representation), content, None, None, ragged=False)


def encode(reads, net, x, route, **settings):
    reads.attach(net)
    rows = torch.arange(len(x))
    return latents(reads, net, lambda part: {"x": x[part]}, rows, route=route, precision=nullcontext, **settings)


@pytest.mark.parametrize("route", ["network", "layer"])
def test_latents_of_any_number_of_inputs(route):
    net, x = network().eval(), torch.randn(11, 3)
    assert torch.allclose(encode(source("0"), net, x, route, chunk=4), net[0](x), atol=1e-6)


def test_latents_by_a_function_of_network_and_batch():
    net, x = network().eval(), torch.randn(11, 3)
    reads = source(lambda network, batch: network[0](batch[0]))
    reads.content.columns((x, torch.zeros(11)))
    reads.content._leaves = {0: "x"}
    assert torch.allclose(encode(reads, net, x, "function", chunk=4), net[0](x), atol=1e-6)


def test_processes_with_fewer_inputs_make_as_many_forwards():
    net, x, calls = network().eval(), torch.randn(3, 3), []
    net[0].register_forward_pre_hook(lambda module, inputs: calls.append(len(inputs[0])))
    assert encode(source("0"), net, x, "network", forwards=4, chunk=2).shape == (3, 4)
    assert calls == [2, 1, 1, 1]


def test_what_the_user_compiled_is_not_compiled_again():
    compiled = []

    def backend(graph, inputs):
        compiled.append(1)
        return graph.forward

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = network()

        def forward(self, x):
            return self.inner(x)

    net = Net()
    net.compile(backend=backend)
    net(torch.randn(4, 3))
    before = len(compiled)
    assert before
    assert "torch._dynamo" in sys.modules
    with undisturbed(net):
        net(torch.randn(7, 3))
    assert len(compiled) == before
    net.eval()(torch.randn(7, 3))
    assert len(compiled) > before


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
        encode(source("layer", "Z2: 3 signs"), net, torch.ones(2, 3), "network")
    with pytest.raises(LayerError, match="to call layer 'layer'"):
        LatentPath(net, tap, "network", lambda z: z)(torch.ones(2, 3))


def test_the_exportable_path_gives_the_same_latents():
    net, tap, x = network().eval(), Tap("1"), torch.randn(5, 3)
    tap.attach(net)
    path = LatentPath(net, tap, "network", lambda z: z.flatten(1))
    assert torch.equal(path(x), net[1](net[0](x)))
