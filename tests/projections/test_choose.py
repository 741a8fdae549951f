import json
import time

import pytest
import torch

from lightning_invariant.errors import GroupError, ParseError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import Projection, Reduced, choose
from lightning_invariant.testing import assert_guarantee

EXPECTED = {
    "S9: 9 points": "Sort",
    "S1000: 1000 points + 3 trivial": "Sort",
    "Z2^5: signs": "Absolute",
    "Z2^40: signs": "Absolute",
    "O3: 1 vectors": "Norm",
    "SO2: 4x0 + 1x2": "Norm",
    "O3: 0e + 1o": "Norm",
    "D4: 3 regular/D1(axis=45)": "MaxFilter",
    "D4: 2x2 + 2x2o + 1x1": "MaxFilter",
    "D4: 1x1": "Chamber",
    "D6: 1x1 + 2 trivial": "Chamber",
    "C2: 1 regular": "Chamber",
    "C4: 3 trivial": "Identity",
    "Z2^3 x S3: 1 signs*trivial + 1 trivial*points": "Chamber",
    "S9: 9 points x 16": "FSW",
    "Z2: 5 signs": "SignOuter",
    "O3: 12 vectors": "GramRoot",
    "SO2: 4x0 + 8x1 + 4x2": "CircleMaxFilter",
    "SO3: 8x0 + 4x1 + 2x2": "SphericalBispectrum",
    "C8: 16 regular": "MaxFilter",
    "C4: 1x1": "Cone",
    "D4: 4 trivial + 8 regular": "MaxFilter",
    "D4: 1x1 + 1 det": "MaxFilter",
    "Z2 x Z2: 1 signs*trivial + 2 trivial*signs": "SignOuter",
    "Matrices[[[0,-1],[1,0]]]: 1 vectors": "Cone",
    "Matrices[[[0,-1],[1,0]],[[1,0],[0,-1]]]: 1 vectors": "Chamber",
    "S9 x O3: 1 points*vectors": "Joined",
    "S9 x SO3: 8 points*0 + 4 points*1 + 2 points*2": "Joined",
    "S40 x O3: 1 points*vectors": "GramRows",
    "S40 x SO3: 1 points*vectors": "Joined",
    "S9 x O3: 2 points*3o + 1 points*1o": "GramRows",
    "Sampled: 64 trivial": "SampledMean",
    "SO3: 16x0": "Identity",
    "O3: 16 trivial": "Identity",
    "C3: 1 regular": "Cone",
    "C2: 4 regular": "SignOuter",
    "O3: 4x0o": "SignOuter",
    "O3: 2 det + 1x0e": "SignOuter",
    "SO2: 8x1": "PhaseOuter",
    "O2: 4x1 + 4x2": "CircleMaxFilter",
    "SO2: 2x1 + 2x64": "PhaseInvariants",
    "SO3: 1x2": "SortedEigenvalues",
    "O3: 1x2o + 3x0e": "SortedEigenvalues",
    "O3 x O5: 1 vectors*vectors": "SingularValues",
}

IMAGES = {
    "O2: 8x2": ("O2: 8x1", "GramRoot"),
    "SO2: 8x3 + 2x0": ("SO2: 8x1 + 2x0", "PhaseOuter"),
    "C8: 2x2": ("C4: 2x1", "MaxFilter"),
    "D8: 1x2 + 1 det": ("D4: 1x1 + 1 det", "MaxFilter"),
    "C4: 4 regular/C2": ("C2: 4 regular", "SignOuter"),
    "D4: 2 regular/D2(axis=45) + 1 det": ("D2: 2 regular/D1(axis=90) + 1 det", "SignOuter"),
    "SO2: 2 (1x0 + 1x1 + 1x2)": ("SO2: 2x0 + 2x1 + 2x2", "CircleMaxFilter"),
    "SO2: 2 (1x1 + 1x0) in [[0,0,1],[0,1,0],[1,0,0]]": ("SO2: 2x1 + 2x0", "PhaseOuter"),
    "SO3: 2x0 + 2x1 + 2x0": ("SO3: 4x0 + 2x1", "GramRoot"),
    "O3: 2 (1x0e + 1x1o)": ("O3: 2x0e + 2x1o", "GramRoot"),
    "O3: 8x1e + 2 trivial": ("SO3: 8x1 + 2 trivial", "GramRoot"),
    "S4 x O3: 4 points*trivial + 1 trivial*trivial": ("S4: 4 points x 4 + 1 trivial", "PointSort"),
    "C3 x S4: 2 trivial*points + 2 trivial*trivial": ("S4: 4 points x 2 + 2 trivial", "PointSort"),
    "C2 x SO3 x C2: 3 regular*vectors*trivial": None,
}
"""Representations whose image is simpler: that image, and the map on it."""


@pytest.mark.parametrize("text", IMAGES)
def test_what_acts_as_the_identity_is_divided_out(text):
    if IMAGES[text] is None:
        with pytest.raises(GroupError):
            choose(text)
        return
    projection = choose(text)
    assert isinstance(projection, Reduced)
    assert (str(projection.projection.representation), type(projection.projection).__name__) == IMAGES[text]
    assert str(projection.representation) == text
    assert_guarantee(projection, samples=12)
    again = Projection.from_config(json.loads(json.dumps(projection.config())))
    again.load_state_dict(projection.state_dict())
    z = projection.representation.random(3)
    assert torch.equal(projection(z), again(z))


@pytest.mark.parametrize(
    "text",
    [
        *("C8: 512 regular", "D4: 512 regular", "Z2: 4096 signs", "Z2^64: 64 signs", "S64: 64 points x 64"),
        *("O3: 1365 vectors", "SO3: 1365 vectors", "SO2: 2048x1", "SO2: 1024x1 + 1024x2", "O2: 1024x1 + 1024x2"),
        "SO3: 256x0 + 256x1 + 256x2 + 256x3",
    ],
)
def test_large_latents_have_512_features_at_most_and_are_built_at_once(text):
    start = time.perf_counter()
    projection = choose(text)
    seconds = time.perf_counter() - start
    assert 380 <= projection.out_features <= 512
    assert projection.guarantee.separation is Separation.PAIRWISE
    assert "almost all" in projection.guarantee.note or "from" in projection.guarantee.note
    # On an idle core it takes below 0.2 s.
    assert seconds < 2
    z = projection.representation.random(4, torch.Generator().manual_seed(0)).double()
    g = projection.representation.group.sample(4, torch.Generator().manual_seed(1))
    projection = projection.double()
    assert torch.allclose(projection(projection.representation.transform(z, g)), projection(z), atol=1e-9, rtol=1e-7)


LARGE = {
    "S100000000: 8 trivial": "at most 50000 places",
    "C8: 1000000000000 regular": "at most 16777216 numbers",
    "Z2^100000000: 8 trivial": "at most 100000 independent signs",
    "SO3: " + " + ".join(f"1x{degree}" for degree in range(300)): "degree of at most 32",
    " x ".join(["C2"] * 1000) + ": 1 " + "*".join(["regular"] * 1000): "at most 32 factors",
    "C2^1000: 1 regular": "another group, or the end",
    "C100000: 1 regular": "matrix entries",
    "C4: " + " + ".join(["1 regular"] * 999): None,
    "O3: " + " + ".join(["1 vectors"] * 999): None,
    "S20000: 20000 points": None,
    "S8 x C2: 3 points*regular": "at most 4194304 matrix entries",
    "S7 x C2: 3 points*regular": None,
    "C7 x C11 x C13: 1 regular*regular*regular": None,
    "C100 x C100: 1 regular*regular": "matrix entries",
    "S7 x C14: 1 points*regular": "matrix entries",
    "S8 x S8: 1 points*points": "a projection is known",
    "E3: 5000 positions": None,
    "S1000: 1 pairs": None,
}


@pytest.mark.parametrize("text", LARGE, ids=lambda text: text[:40])
def test_large_degrees_are_answered_or_refused_at_once(text):
    start = time.process_time()
    if LARGE[text] is None:
        choose(text)
    else:
        with pytest.raises((GroupError, ParseError), match=LARGE[text]):
            choose(text)
    # On an idle core each takes below 1 s.
    assert time.process_time() - start < 3


def test_isometric_maps_of_large_latents_keep_everything():
    assert choose("S4096: 4096 points").out_features == 4096
    assert choose("D4: 4096 trivial").out_features == 4096


def test_the_distortion_is_stated():
    assert "distortion at most 1.41" in choose("SO2: 8x1").reason
    assert "measured at random latents" in choose("C8: 4 regular").reason


def test_a_size_below_one_is_refused():
    with pytest.raises(ValueError, match="at least 1 feature"):
        choose("C8: 4 regular", size=0)


@pytest.mark.parametrize(("representation", "name"), EXPECTED.items())
def test_choice_and_reason(representation, name):
    projection = choose(representation)
    assert type(projection).__name__ == name
    assert projection.reason.startswith(f"{projection.representation.group}: ")
    assert projection.reason.endswith(".")
    isometric = name in ("Sort", "Absolute", "Norm", "Chamber", "Identity", "SortedEigenvalues", "SingularValues")
    assert (projection.guarantee.separation is Separation.ISOMETRIC) == isometric


def test_twice_the_size_is_the_default_of_finite_groups():
    projection = choose("C8: 16 regular")
    assert projection.out_features == 256
    assert projection.guarantee.separation is Separation.BILIPSCHITZ
    assert "bi-Lipschitz" in projection.reason


def test_size_is_kept_and_a_small_one_weakens_the_reason():
    projection = choose("C8: 16 regular", size=32)
    assert projection.out_features == 32
    assert projection.guarantee.separation is Separation.PAIRWISE
    assert "from 256 on" in projection.reason


@pytest.mark.parametrize("size", [20, 256])
def test_a_wished_size_is_shared_by_rows_and_frames(size):
    projection = choose("S9 x O3: 1 points*vectors + 4 points*0e", size=size)
    assert projection.out_features == size
    assert projection.guarantee.separation is Separation.GENERIC


def test_size_replaces_a_fixed_map_that_is_larger():
    assert type(choose("Z2: 5 signs", size=15)).__name__ == "SignOuter"
    mixed = choose("Z2: 5 signs", size=12)
    assert (type(mixed).__name__, mixed.out_features, mixed.guarantee.separation) == ("Mixed", 10, Separation.PAIRWISE)


def test_of_maps_that_fit_the_one_with_the_stronger_guarantee_is_taken():
    assert choose("S9: 9 points x 16").guarantee.separation is Separation.BILIPSCHITZ
    large = choose("S9: 9 points x 16", size=1512)
    assert (type(large).__name__, large.guarantee.separation) == ("PointSort", Separation.BILIPSCHITZ)


def test_size_reaches_point_features():
    assert choose("S9: 9 points x 16", size=45).out_features == 45


def test_isometric_maps_keep_their_own_size():
    assert choose("S9: 9 points", size=4).out_features == 9


@pytest.mark.parametrize("representation", ["O5 x C2: 1 vectors*regular", "S30 x C2: 1 points*regular"])
def test_nothing_known_names_what_is(representation):
    with pytest.raises(GroupError, match=r"Expected a representation for which .* known are finite groups"):
        choose(representation)
