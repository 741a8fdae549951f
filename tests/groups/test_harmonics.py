import math

import pytest
import torch

from lightning_invariant.groups.harmonics import rotation_matrices, spherical_harmonics


@pytest.mark.parametrize("degree", [0, 1, 2, 5, 8])
def test_orthonormal_on_the_sphere(degree):
    # Gauss-Legendre in y and equal angles integrate products of degree 16 exactly.
    import numpy as np

    nodes, weights = (torch.tensor(a) for a in np.polynomial.legendre.leggauss(20))
    angles = torch.arange(40, dtype=torch.float64) * 2 * math.pi / 40
    y, angle = (t.reshape(-1) for t in torch.meshgrid(nodes, angles, indexing="ij"))
    ring = (1 - y**2).sqrt()
    values = spherical_harmonics(degree, torch.stack([ring * angle.cos(), y, ring * angle.sin()], dim=-1))
    weight = weights.repeat_interleave(40) * 2 * math.pi / 40
    assert torch.allclose(
        (values * weight[:, None]).T @ values, torch.eye(2 * degree + 1, dtype=torch.float64), atol=1e-12
    )


def test_degree_one_is_the_vector_itself():
    points = torch.nn.functional.normalize(torch.randn(7, 3, dtype=torch.float64), dim=1)
    assert torch.allclose(spherical_harmonics(1, points), points * math.sqrt(3 / (4 * math.pi)))


@pytest.mark.parametrize("degree", [1, 3, 8])
def test_matrices_move_the_harmonics(degree):
    from lightning_invariant.groups import SO3

    rotation = SO3().sample(1, torch.Generator().manual_seed(0))
    points = torch.nn.functional.normalize(torch.randn(9, 3, dtype=torch.float64), dim=1)
    moved = spherical_harmonics(degree, points @ rotation[0].T)
    expected = spherical_harmonics(degree, points) @ rotation_matrices(degree, rotation)[0].T
    assert torch.allclose(moved, expected, atol=1e-12)
    assert not torch.allclose(moved, spherical_harmonics(degree, points), atol=1e-3)
