from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import spearmanr

from lightning_invariant import quotient
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import (
    collapse,
    distance_spearman,
    distortion,
    effective_rank,
    hard_negative_ratio,
    hard_negatives,
    has_hard_negatives,
    orbit_retrieval,
    spearman,
    spectrum,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_isometry_has_no_distortion_and_a_stretch_has_its_own():
    z = torch.randn(40, 3, generator=generator(), dtype=torch.float64)
    distances = torch.cdist(z, z)
    same = distortion(5 * z, distances)
    assert same.extremes == pytest.approx(1, abs=1e-6)
    assert same.low == pytest.approx(5)
    assert distance_spearman(z, distances) == pytest.approx(1)
    stretched = distortion(z * torch.tensor([1.0, 1.0, 4.0]), distances)
    assert 1 <= stretched.smallest <= stretched.low <= stretched.high <= stretched.largest <= 4
    assert stretched.extremes > 2
    assert math.isinf(distortion(torch.zeros(40, 2), distances).percentiles)


def test_samples_of_one_orbit_are_left_out():
    z = torch.tensor([[1.0, 2.0, 3.0], [3.0, 1.0, 2.0], [0.0, 0.0, 5.0]])
    found = distortion(z.sort(dim=1).values, quotient.distance(z, z, "S3: points", pairwise=True))
    assert found.extremes == pytest.approx(1)
    with pytest.raises(ValueError, match="all orbit distances are zero"):
        distortion(z, torch.zeros(3, 3))


@pytest.mark.parametrize("levels", [5, 10_000])
def test_spearman_is_scipy_s_with_and_without_ties(levels):
    a = torch.randint(levels, (300,), generator=generator()).double()
    b = a + torch.randint(levels, (300,), generator=generator(1)).double()
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic, abs=1e-12)
    assert spearman(a, -b) == pytest.approx(-spearman(a, b))
    assert spearman(a, torch.ones(300)) == 0
    with pytest.raises(ValueError, match="equally long"):
        spearman(a, b[:-1])


@pytest.mark.parametrize(
    "text", ["C8: 4 regular", "S6: points x 3", "D4: 1x1 + 2 regular", "Z2^4: 3 signs", "SO2: 2x1"]
)
def test_hard_negatives_leave_the_orbit_but_every_copy_stays_in_its_own(text):
    representation = Representation.parse(text)
    z = representation.random(30, generator())
    apart = hard_negatives(z, representation, generator(1))
    assert has_hard_negatives(representation)
    assert quotient.distance(z, apart, representation).median() > 0.1
    for block, part, other in zip(representation, representation.split(z), representation.split(apart), strict=True):
        points = "points" in str(block)
        for copy in range(block.copies):
            one = Representation.parse(f"{representation.group}: {str(block).replace(str(block.copies), '1', 1)}")
            if points:
                one = Representation.parse(f"{representation.group}: points")
            a, b = (x[..., copy] if points else x[:, copy] for x in (part, other))
            assert quotient.distance(a, b, one).max() < 1e-5


@pytest.mark.parametrize("text", ["C8: regular", "C8: 5 trivial + regular", "S5: points", "O3: 1 vectors"])
def test_a_single_moving_copy_has_no_hard_negatives(text):
    representation = Representation.parse(text)
    z = representation.random(5, generator())
    assert not has_hard_negatives(representation)
    assert quotient.distance(z, hard_negatives(z, representation, generator(1)), representation).max() < 1e-5
    assert hard_negative_ratio(lambda x: x, z, representation) is None


def test_a_channelwise_map_merges_hard_negatives_and_the_orbit_distance_does_not():
    representation = Representation.parse("C8: 8 regular")
    z = representation.random(50, generator())
    anchors = representation.random(64, generator(2))

    def channelwise(x):
        return x.reshape(-1, 8, 8).sort(dim=-1).values.flatten(1)

    def joint(x):
        return quotient.distance(x, anchors, representation, pairwise=True)

    assert hard_negative_ratio(channelwise, z, representation, generator(1)) == pytest.approx(0, abs=1e-6)
    assert hard_negative_ratio(joint, z, representation, generator(1)) > 0.5
    assert hard_negative_ratio(lambda x: torch.ones(len(x), 3), z, representation, generator(1)) == 0
    moved = representation.transform(z, representation.group.sample(50, generator(3)))
    negatives = hard_negatives(z, representation, generator(1))
    for project, expected in ((channelwise, 0.0), (joint, 1.0)):
        assert orbit_retrieval(project(moved), project(z)) == 1
        assert orbit_retrieval(project(moved), project(z), project(negatives)) == expected
    assert orbit_retrieval(moved, z) < 0.6


def test_collapsed_features_retrieve_nothing():
    assert orbit_retrieval(torch.ones(5, 2), torch.ones(5, 2)) == 0


def test_effective_rank_is_centred_and_bounded():
    f = torch.randn(200, 5, generator=generator())
    assert 4.5 < effective_rank(f) <= 5
    assert effective_rank(f + 100) == pytest.approx(effective_rank(f), rel=1e-3)
    assert effective_rank(f[:, :1] @ torch.ones(1, 5)) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.full((10, 5), 0.3)) == 0
    assert effective_rank(torch.zeros(10, 5)) == 0


def test_collapse_is_the_share_of_the_variance_along_one_line():
    f = torch.randn(400, 5, generator=generator())
    assert 0.2 < collapse(f) < 0.3
    for offset in (1.0, 1e3):
        assert collapse(f + offset) == pytest.approx(collapse(f), rel=1e-3)
    stretched = f * torch.tensor([3.0, 1.0, 1.0, 1.0, 1.0])
    assert collapse(stretched) == pytest.approx(9 / 13, abs=0.05)
    assert collapse(f[:, :1] @ torch.ones(1, 5)) == pytest.approx(1)
    assert collapse(torch.full((10, 5), 0.3)) == collapse(torch.zeros(3, 2)) == 1


def test_the_spectrum_has_both():
    f = torch.randn(50, 80, generator=generator())
    assert spectrum(f) == (effective_rank(f), collapse(f))


@pytest.mark.parametrize("measure", [effective_rank, collapse])
def test_one_sample_is_too_few(measure):
    with pytest.raises(ValueError, match="at least 2"):
        measure(torch.zeros(1, 3))


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="orbit distances"):
        distortion(torch.zeros(3, 2), torch.zeros(3, 2))
    with pytest.raises(ValueError, match="equal shapes"):
        orbit_retrieval(torch.zeros(3, 2), torch.zeros(2, 2))
