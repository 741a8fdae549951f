from __future__ import annotations

import json
import math

import pytest

from lightning_invariant.metrics.certificate import Certificate, finite
from lightning_invariant.projections import MaxFilter


def certificate(**changes):
    projection = MaxFilter("C4: 2 regular")
    values = {
        "representation": "C4: 2 regular",
        "projection": projection.config(),
        "guarantee": projection.guarantee,
        "measured": {"invariance error": 1e-7, "pose probe": None},
        "samples": {"latents": 300},
        "seed": 3,
    }
    return Certificate(**(values | changes))


def test_it_survives_json():
    made = certificate()
    assert Certificate.from_dict(json.loads(json.dumps(made.to_dict(), allow_nan=False))) == made
    assert made != certificate(seed=4)
    assert "torch" in made.versions


def test_the_table_shows_declared_beside_measured():
    text = certificate().table()
    for part in ("MaxFilter", "bi-Lipschitz", "1e-07", "not measured", "300", "2205.14039"):
        assert part in text


def test_it_does_not_follow_later_changes_of_what_it_was_made_from():
    measured = {"distortion": 1.0}
    made = certificate(measured=measured)
    measured["distortion"] = 9.0
    made.to_dict()["measured"]["distortion"] = 9.0
    assert made.measured == {"distortion": 1.0}


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.1", True])
def test_numbers_are_finite_or_none(value):
    with pytest.raises(ValueError, match="finite number or None for 'x'"):
        certificate(measured={"x": value})


def test_infinite_measurements_become_none():
    assert finite(math.inf) is finite(math.nan) is finite(None) is None
    assert finite(0.5) == 0.5


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"seed": "3"}, {"measured": [1]}, {"samples": {"latents": -1}}, {"guarantee": {"group": "C4"}}],
)
def test_damaged_certificates_are_refused(change):
    with pytest.raises(ValueError, match="Expected"):
        Certificate.from_dict(certificate().to_dict() | change)


def test_a_missing_key_is_refused():
    data = certificate().to_dict()
    del data["seed"]
    with pytest.raises(ValueError, match="exactly the certificate keys"):
        Certificate.from_dict(data)
