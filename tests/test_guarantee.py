import json
from dataclasses import replace

import pytest

from lightning_invariant import Guarantee, Separation

STRONG = Guarantee("C4", Separation.BILIPSCHITZ, lipschitz=1.0, distortion=3.0, source="a")


def test_it_survives_json():
    assert Guarantee.from_dict(json.loads(json.dumps(STRONG.to_dict()))) == STRONG


def test_composition_keeps_the_weaker():
    weak = Guarantee(
        "C4", Separation.LOSSY, "sampled", lipschitz=2.0, continuous=False, differentiable="nowhere", source="b"
    )
    both = STRONG.then(weak)
    assert (both.separation, both.invariance, both.continuous) == (Separation.LOSSY, "sampled", False)
    assert (both.lipschitz, both.distortion, both.source) == (2.0, None, "a; b")
    assert both.differentiable == "nowhere"
    assert STRONG.then(STRONG).distortion == 9.0


def test_separations_are_ordered():
    order = ["LOSSY", "PAIRWISE", "GENERIC", "INJECTIVE", "BILIPSCHITZ", "ISOMETRIC"]
    assert [separation.name for separation in sorted(Separation)] == order


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"separation": Separation.GENERIC, "distortion": 0.5}, "at least 1"),
        ({"separation": Separation.ISOMETRIC, "distortion": 2.0}, "distortion 1"),
        ({"separation": Separation.GENERIC, "invariance": "perhaps"}, "exact"),
    ],
)
def test_contradictions_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Guarantee("C4", **settings)


@pytest.mark.parametrize(
    "data", [{}, {"group": "C4"}, {"group": "C4", "separation": "magic"}, STRONG.to_dict() | {"x": 1}]
)
def test_unreadable_data_is_refused(data):
    with pytest.raises(ValueError, match="Expected"):
        Guarantee.from_dict(data)


def test_it_reads_as_a_sentence():
    assert str(STRONG) == "invariant under C4, bi-Lipschitz, distortion at most 3"


def test_what_is_estimated_is_no_longer_exact_and_says_so():
    exact = Guarantee(group="C4", separation=Separation.INJECTIVE)
    estimated = replace(exact, invariance="estimated")
    assert exact.then(estimated).invariance == estimated.then(exact).invariance == "estimated"
    assert estimated.then(replace(exact, invariance="sampled")).invariance == "sampled"
    assert str(estimated).startswith("invariant, as far as the action was estimated, under C4")
    assert Guarantee.from_dict(estimated.to_dict()) == estimated
