"""The paper's projection: random linear maps of a feature map that quarter turns leave as they are."""

import pytest
import torch
from torch import nn

from benchmarks.paper.linear_invariants import LinearInvariants
from lightning_invariant.zoo.planar_encoder import PlanarEncoder


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return PlanarEncoder("C8", width=2, fields=3).eval()


def test_the_maps_are_invariant_and_linear(encoder):
    maps, x = LinearInvariants(encoder, "C8", 70, seed=1), torch.rand(3, 1, 28, 28)
    with torch.no_grad():
        found, turned = maps(x), maps(x.rot90(1, (2, 3)))
        assert found.shape == (3, 70)
        assert torch.allclose(found, turned, atol=1e-5)
        assert (encoder(x) - encoder(x.rot90(1, (2, 3)))).abs().max() > 1e-3
        assert (found - found.mean(dim=0)).abs().max() > 1e-3
        before = maps.before(x)
        summed = sum(
            convolve(before[:1] + 2 * before[1:2]).mean(dim=2).flatten(1)[0, 0] for convolve in maps.filters[:1]
        )
        assert torch.allclose(summed, found[0, 0] + 2 * found[1, 0], atol=1e-4)


def test_the_seed_draws_the_maps_and_leaves_the_global_state(encoder):
    x = torch.rand(1, 1, 28, 28)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    with torch.no_grad():
        one, same, other = (LinearInvariants(encoder, "C8", 4, seed)(x) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)


def test_another_encoder_is_refused():
    other = nn.Module()
    other.body = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(TypeError, match="got Linear"):
        LinearInvariants(other, "C8", 4)
