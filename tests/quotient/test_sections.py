from __future__ import annotations

import pytest
import torch

from lightning_invariant import projections as P
from lightning_invariant import quotient
from lightning_invariant.errors import GroupError, LatentError

MAPS = [
    P.Sort("S4: 2 trivial + 4 points"),
    P.Absolute("Z2^3: signs + 1 trivial"),
    P.Chamber("D4: 1x1"),
    P.ArgmaxCanonical("C4: 2 regular"),
    P.Identity("SO3: 3x0"),
    P.Norm("O3: 1 trivial + 1 vectors"),
    P.SortedEigenvalues("SO3: 2x0 + 1x2"),
    P.SortedEigenvalues("O3: 1x2o + 1x0e"),
    P.SingularValues("O3 x O4: 1 vectors*vectors"),
    P.SingularValues("SO3 x SO3: 1 vectors*vectors + 1 trivial*trivial"),
    P.Cone("C4: 1x1 + 2 trivial"),
    P.Cone("C3: 1 regular"),
    P.PhaseOuter("SO2: 4x1 + 2x0"),
    P.choose("O2: 3x4"),
    P.SignOuter("Z2^3: 3 signs + 2 trivial + 1 signs"),
    P.SignOuter("C2: 3 regular"),
    P.SignOuter("O3: 3x0o + 1x0e"),
    P.Gram("O3: 2 trivial + 5 vectors"),
    P.Gram("SO3: 2 vectors"),
    P.GramRoot("O3: 2 vectors"),
    P.GramRoot("SO3: 5x1 + 1x0"),
    P.GramRoot("SO2: 2x1 + 1x1"),
]


def latents(projection, seed=0):
    return projection.representation.random(40, torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize("projection", MAPS, ids=repr)
def test_a_section_gives_a_latent_of_the_same_orbit(projection):
    projection, z = projection.double(), latents(projection)
    found = quotient.section(projection, projection(z))
    assert found.shape == z.shape
    assert torch.allclose(projection(found), projection(z), atol=1e-9)
    if not isinstance(projection, P.SingularValues):
        # Rotations from both sides are found by turns, which come near slowly; the features are isometric.
        assert quotient.distance(found, z, projection.representation).max() < 1e-6
    single = quotient.section(projection, projection(z).float())
    assert single.dtype == torch.float32
    assert torch.allclose(projection(single.double()), projection(z), atol=1e-4)


def test_mirror_images_keep_their_hand():
    projection, z = P.GramRoot("SO3: 4 vectors").double(), latents(P.GramRoot("SO3: 4 vectors"))
    mirrored = z.reshape(-1, 4, 3) * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    for side in (z, mirrored.flatten(1)):
        assert quotient.distance(quotient.section(projection, projection(side)), side, "SO3: 4 vectors").max() < 1e-6


def test_averages_of_features_have_a_latent():
    projection, z = P.GramRoot("O3: 4 vectors").double(), latents(P.GramRoot("O3: 4 vectors"))
    between = projection(z)[:20].lerp(projection(z)[20:], 0.5)
    found = quotient.section(projection, between)
    assert ((projection(found) - between).norm(dim=1) < between.norm(dim=1)).all()


def test_maps_that_cannot_be_undone_are_refused():
    projection = P.MaxFilter("C4: 2 regular")
    with pytest.raises(GroupError, match="can be undone"):
        quotient.section(projection, projection(torch.zeros(1, 8)))
    with pytest.raises(LatentError, match=r"shape \(B, 4\)"):
        quotient.section(P.Sort("S4: points"), torch.zeros(1, 3))
