import pytest
import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation
from lightning_invariant.projections import (
    Absolute,
    Chamber,
    ChannelMax,
    ChannelNorm,
    Norm,
    OrbitMean,
    RandomFeatures,
    Sort,
)
from lightning_invariant.projections.finite.chamber import fold, passes_needed, simple_roots

B3 = "Matrices[[[0,1,0],[0,0,1],[1,0,0]],[[0,1,0],[1,0,0],[0,0,1]],[[-1,0,0],[0,1,0],[0,0,1]]]"
"""Signed permutations of three numbers, of order 48."""


def generator():
    return torch.Generator().manual_seed(0)


def test_chamber_of_signed_permutations_is_sorting_of_absolute_values_in_other_coordinates():
    chamber = Chamber(f"{B3}: 1 vectors")
    assert len(chamber.table) == 3
    z, w = torch.randn(2, 50, 3, dtype=torch.float64, generator=generator())
    features, sizes = chamber(z) - chamber(w), z.abs().sort().values - w.abs().sort().values
    assert torch.allclose(features.norm(dim=1), sizes.norm(dim=1), atol=1e-9)


@pytest.mark.parametrize(
    ("text", "roots"), [("D5: 1x1", 2), ("S4: 4 points", 3), ("Z2^4: signs", 4), ("C2: 1 regular", 1)]
)
def test_simple_roots_are_as_many_as_the_rank(text, roots):
    found = simple_roots(Representation.parse(text))
    assert found is not None
    assert len(found) == roots


@pytest.mark.parametrize(
    "text", ["C4: 1x1", "C8: 2 regular", "S4: 4 points x 2", "D4: 1x1 + 1 det", "Z2: 2 signs", "SO2: 1x1", "D4: 2x1"]
)
def test_actions_that_reflections_do_not_generate_are_found_out(text):
    assert simple_roots(Representation.parse(text)) is None
    with pytest.raises(GroupError, match="Expected a finite action that reflections generate"):
        Chamber(text)


def test_one_pass_less_does_not_fold():
    roots = simple_roots(Representation.parse("S6: 6 points"))
    assert roots is not None
    z = torch.randn(500, 6, dtype=torch.float64, generator=generator())
    passes = passes_needed(roots)
    assert (fold(z, roots, passes) @ roots.mT).min() > -1e-9
    worst = -torch.linalg.pinv(roots) @ torch.ones(5, dtype=torch.float64)
    assert (fold(worst[None], roots, passes - 1) @ roots.mT).min() < -1e-3


@pytest.mark.parametrize("text", ["O3: 1 vectors", "SO3: 1x1", "O2: 1x2"])
def test_norm_is_the_orbit_distance(text):
    projection = Norm(text)
    d = projection.representation.size
    x, y = torch.randn(2, d, dtype=torch.float64, generator=generator())
    ends = [v / v.norm() for v in (x, y)]
    # Two mirrors turn y into the direction of x; irreps of the plane reach every angle, whatever their frequency.
    middle = (ends[0] + ends[1]) / (ends[0] + ends[1]).norm()
    eye = torch.eye(d, dtype=torch.float64)
    turn = (eye - 2 * torch.outer(ends[0], ends[0])) @ (eye - 2 * torch.outer(middle, middle))
    nearest = (x - turn @ y).norm()
    assert torch.allclose(nearest, (projection(x[None]) - projection(y[None])).norm())


@pytest.mark.parametrize(
    ("kind", "text", "match"),
    [
        (Sort, "S4: 4 points x 2", "one number a point"),
        (Sort, "S4: 4 points + 4 points", "one number a point"),
        (Absolute, "Z2: 3 signs", "one number a sign"),
        (Norm, "O3: 2 vectors", "one vector"),
        (Norm, "SO3: 1x2", "one vector"),
        (ChannelMax, "SO2: 2x1", "regular, points and trivial terms"),
        (ChannelNorm, "Sampled: 4 trivial", "a group of matrices"),
        (OrbitMean, "SO2: 2x1", "some vector that nothing moves"),
    ],
)
def test_other_representations_are_refused_with_a_remedy(kind, text, match):
    with pytest.raises(GroupError, match=f"Expected .*{match}.*but .*; use"):
        kind(text)


def test_unknown_nonlinearities_are_refused():
    with pytest.raises(ValueError, match="Expected a nonlinearity among"):
        RandomFeatures("C4: 2 regular", nonlinearity="sine")


def test_mean_is_the_mean():
    z = torch.randn(5, 3, 8, dtype=torch.float64, generator=generator())
    assert torch.allclose(OrbitMean("C8: 3 regular")(z), z.mean(dim=2) * 8**0.5)
