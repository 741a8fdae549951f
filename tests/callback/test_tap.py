import pytest
import torch
from torch import nn

from lightning_invariant import Representation
from lightning_invariant.callback.tap import Tap, find_layer, pooled
from lightning_invariant.errors import LatentError, LayerError


def network():
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 5))


def test_it_records_only_while_armed():
    net, tap = network(), Tap("0")
    tap.attach(net)
    net(torch.zeros(2, 3))
    assert tap.take(2) is None
    tap.arm()
    x = torch.randn(2, 3)
    net(x)
    z, layer_input = tap.take(2)
    assert torch.equal(z, net[0](x))
    assert layer_input is x
    assert not z.requires_grad
    net(x)
    assert tap.take(2) is None


def test_of_several_calls_the_first_with_all_rows_counts():
    net, tap = network(), Tap("0")
    tap.attach(net)
    with tap.armed():
        net(torch.zeros(1, 3))
        first = net[0](torch.ones(2, 3))
        net(torch.zeros(2, 3))
    assert torch.equal(tap.take(2)[0], first)


def test_attaching_twice_and_moving_on_leaves_one_hook():
    one, other, tap = network(), network(), Tap("2")
    tap.attach(one)
    tap.attach(one)
    assert len(one[2]._forward_hooks) == 1
    tap.attach(other)
    assert (len(one[2]._forward_hooks), len(other[2]._forward_hooks)) == (0, 1)
    tap.detach()
    tap.detach()
    assert not other[2]._forward_hooks
    with pytest.raises(LayerError, match="attach"):
        tap.module  # noqa: B018


def test_compiled_layers_are_found_under_their_plain_name_and_recorded():
    net, tap = network(), Tap("0")
    compiled = nn.Sequential(torch.compile(net, backend="eager"))
    assert find_layer(compiled, "0.2") is net[2]
    tap.layer = "0.0"
    tap.attach(compiled)
    for rows in (2, 3, 4):
        with tap.armed():
            compiled(torch.zeros(rows, 3))
        assert tap.take(rows)[0].shape == (rows, 4)


@pytest.mark.parametrize(
    ("pick", "output", "expected"),
    [
        (None, torch.ones(2, 1), 1.0),
        (1, (None, torch.full((2, 1), 5.0)), 5.0),
        ("z", {"z": torch.full((2, 1), 7.0)}, 7.0),
        (lambda out: out["a"][0], {"a": [torch.full((2, 1), 9.0)]}, 9.0),
    ],
)
def test_the_latent_is_picked_out_of_any_output(pick, output, expected):
    class Gives(nn.Module):
        def forward(self, x):
            return output

    net, tap = nn.Sequential(Gives()), Tap("0", pick)
    tap.attach(net)
    with tap.armed():
        net(torch.zeros(2))
    assert float(tap.take(2)[0][0]) == expected


@pytest.mark.parametrize(
    ("pick", "output", "message"),
    [
        (None, (torch.ones(2),), "say which part is the latent with pick="),
        (3, (torch.ones(2),), "tuple of 1"),
        ("z", {"y": torch.ones(2)}, r"keys \['y'\]"),
        (0, None, "NoneType"),
        (None, torch.ones(3, 1), "one latent for each of 2 inputs .* got 3 rows"),
    ],
)
def test_outputs_without_a_latent_say_why(pick, output, message):
    class Gives(nn.Module):
        def forward(self, x):
            return output

    net, tap = nn.Sequential(Gives()), Tap("0", pick)
    tap.attach(net)
    with tap.armed():
        net(torch.zeros(2))
    with pytest.raises(LatentError, match=message):
        tap.take(2)


@pytest.mark.parametrize("shape", [(2, 16, 5, 6), (2, 4, 4, 5, 6), (2, 7, 16), (2, 7, 4, 4)])
@pytest.mark.parametrize("pool", ["mean", "max"])
def test_positions_are_pooled_before_or_behind_the_layout(shape, pool):
    rep, z = Representation.parse("C4: 4 regular"), torch.randn(shape)
    flat = pooled(z, rep, pool)
    assert flat.shape == (2, 16)
    behind = shape[1] == 16 or shape[:3] == (2, 4, 4)
    positions = z.reshape(2, 16, -1) if behind else z.reshape(2, -1, 16).mT
    expected = positions.mean(dim=-1) if pool == "mean" else positions.amax(dim=-1)
    assert torch.allclose(flat, expected, atol=1e-6)


def test_without_pooling_a_map_is_refused_and_with_it_a_misfit_still_is():
    rep = Representation.parse("C4: 4 regular")
    with pytest.raises(LatentError, match="pool='mean'"):
        pooled(torch.zeros(2, 16, 5, 5), rep, None)
    with pytest.raises(LatentError, match="Expected latents"):
        pooled(torch.zeros(2, 15, 5, 5), rep, "mean")
