import pytest

from lightning_invariant.errors import GroupError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import choose

EXPECTED = {
    "S9: 9 points": "Sort",
    "S1000: 1000 points + 3 trivial": "Sort",
    "Z2^5: signs": "Absolute",
    "Z2^40: signs": "Absolute",
    "O3: 1 vectors": "Norm",
    "SO2: 4x0 + 1x2": "Norm",
    "D4: 1x1": "Chamber",
    "D6: 1x1 + 2 trivial": "Chamber",
    "C2: 1 regular": "Chamber",
    "C4: 3 trivial": "Chamber",
    "Z2^3 x S3: 1 signs*trivial + 1 trivial*points": "Chamber",
    "S9: 9 points x 16": "FSW",
    "Z2: 5 signs": "SignOuter",
    "O3: 12 vectors": "GramRoot",
    "SO2: 4x0 + 8x1 + 4x2": "PhaseInvariants",
    "SO3: 8x0 + 4x1 + 2x2": "SphericalBispectrum",
    "C8: 16 regular": "MaxFilter",
    "C4: 1x1": "MaxFilter",
    "D4: 4 trivial + 8 regular": "MaxFilter",
    "D4: 1x1 + 1 det": "MaxFilter",
    "Z2 x Z2: 1 signs*trivial + 2 trivial*signs": "MaxFilter",
    "Matrices[[[0,-1],[1,0]]]: 1 vectors": "MaxFilter",
    "Matrices[[[0,-1],[1,0]],[[1,0],[0,-1]]]: 1 vectors": "Chamber",
    "S9 x O3: 1 points*vectors": "Joined",
    "S9 x SO3: 8 points*0 + 4 points*1 + 2 points*2": "Joined",
    "S40 x O3: 1 points*vectors": "GramRows",
    "S9 x O3: 2 points*3o + 1 points*1o": "GramRows",
    "Sampled: 64 trivial": "SampledMean",
}


@pytest.mark.parametrize(("representation", "name"), EXPECTED.items())
def test_choice_and_reason(representation, name):
    projection = choose(representation)
    assert type(projection).__name__ == name
    assert projection.reason.startswith(f"{projection.representation.group}: ")
    assert projection.reason.endswith(".")
    isometric = name in ("Sort", "Absolute", "Norm", "Chamber")
    assert (projection.guarantee.separation is Separation.ISOMETRIC) == isometric


def test_twice_the_size_is_the_default_of_finite_groups():
    projection = choose("C8: 16 regular")
    assert projection.out_features == 256
    assert projection.guarantee.separation is Separation.BILIPSCHITZ
    assert "bi-Lipschitz" in projection.reason


def test_size_is_kept_and_a_small_one_weakens_the_reason():
    projection = choose("C8: 16 regular", size=32)
    assert projection.out_features == 32
    assert projection.guarantee.separation is Separation.GENERIC
    assert "from 256 on" in projection.reason


@pytest.mark.parametrize("size", [20, 256])
def test_a_wished_size_is_shared_by_rows_and_frames(size):
    projection = choose("S9 x O3: 1 points*vectors + 4 points*0e", size=size)
    assert projection.out_features == size
    assert projection.guarantee.separation is Separation.GENERIC


def test_size_replaces_a_fixed_map_that_is_larger():
    assert type(choose("Z2: 5 signs", size=15)).__name__ == "SignOuter"
    assert type(choose("Z2: 5 signs", size=12)).__name__ == "MaxFilter"


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
