"""A loaded encoder compares inputs modulo the group."""

import pytest
import torch

from lightning_invariant import InvariantEncoder, quotient
from lightning_invariant.errors import ArtifactError
from tests.hub import padded


@pytest.fixture(scope="module")
def encoder() -> InvariantEncoder:
    return InvariantEncoder.from_pretrained("digits-c4")


def images(seed: int) -> torch.Tensor:
    return torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_a_rotated_image_is_aligned_to_the_image(encoder):
    x = images(0)
    turned = x.rot90(1, (2, 3))
    found = encoder.align(turned, x)
    assert torch.allclose(found.latents, encoder.latent(x).flatten(1), atol=1e-4)
    assert bool((found.distance < 1e-4).all())
    assert float((encoder.latent(turned) - encoder.latent(x)).norm()) > 0.1


def test_a_path_is_as_long_as_the_distance_between_the_orbits(encoder):
    x, y = images(0), images(1)
    walk = encoder.path(x, y, steps=5)
    assert walk.latents.shape == (4, 5, encoder.projection.representation.size)
    z, w = encoder.latent(x).flatten(1), encoder.latent(y).flatten(1)
    far = quotient.distance(z, w, encoder.projection.representation)
    steps = walk.latents.double().diff(dim=1).norm(dim=2).sum(1)
    assert torch.allclose(steps, far, atol=1e-5)
    assert bool((far < (z - w).double().norm(dim=1) + 1e-9).all())


def test_encoders_of_several_inputs_name_the_function_to_use(tmp_path):
    encoder = padded.export(tmp_path)
    with pytest.raises(ArtifactError, match=r"quotient\.path"):
        encoder.path(torch.zeros(2, 5, 2), torch.zeros(2, 5, 2))
