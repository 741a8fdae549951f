import pytest
import torch

from lightning_invariant.groups import parse_group
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import equivariance_error
from lightning_invariant.zoo.orbit_encoder import OrbitEncoder
from lightning_invariant.zoo.ordinary import SmallCNN, SmallViT


@pytest.mark.parametrize("name", ["C4", "C8", "D4"])
@pytest.mark.parametrize("network", [SmallCNN, SmallViT])
def test_moving_the_image_permutes_the_latents(name, network):
    torch.manual_seed(0)
    group, encoder = parse_group(name), OrbitEncoder(network(6 if network is SmallCNN else 8), name).eval()
    x, action = torch.rand(5, 1, 28, 28), ImageAction(group)
    with torch.no_grad():
        z = encoder(x)
        assert z.shape[2] == group.order
        text = f"{name}: {z.shape[1]} regular"
        for g in group.elements()[action.is_exact(group.elements())][1:]:
            moved = encoder(action.transform(x, g))
            assert equivariance_error(moved, z, text, g) < 1e-3
            assert equivariance_error(moved, z, text, group.identity()) > 0.1
        assert torch.allclose(z[:, :, 0], encoder.encoder(x), atol=1e-4)


def test_other_groups_are_refused():
    with pytest.raises(ValueError, match="rotations of the plane"):
        OrbitEncoder(SmallCNN(4), "SO2")


def test_heads_divide_the_size():
    with pytest.raises(ValueError, match="divide"):
        SmallViT(10, heads=4)
