from __future__ import annotations

import math
import sys
from itertools import permutations

import pytest
import torch

from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import is_exact, orbit_distance
from lightning_invariant.metrics.orbit_rules import largest_product_rule

EXACT = [
    "C8: 3 regular",
    "D4: 2 trivial + 2 regular",
    "T5: 2 regular",
    "C4 x Z2: 2 regular*signs",
    "S4: points x 3",
    "S12: points x 2 + 3 trivial",
    "S12: points",
    "Z2^20: 2 signs + 1 trivial",
    "O3: 4 vectors",
    "SO3: 4 vectors + 2 trivial",
    "SO3: 2x0 + 3x1",
    "O3: 2x0e + 3x1o",
    "SO2: 2x0 + 2x1 + 1x2 + 1x5",
    "O2: 2x1 + 2x3",
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("text", [*EXACT, "SO3: 1x0 + 2x1 + 1x2"])
def test_latents_of_one_orbit_are_at_distance_zero_and_others_are_not(text):
    representation = Representation.parse(text)
    z, w = representation.random(12, generator()).double(), representation.random(12, generator(1)).double()
    g = representation.group.sample(12, generator(2))
    tolerance = 1e-6 if is_exact(representation) else 0.05
    assert orbit_distance(z, representation.move(z, g), representation).max() < tolerance * z.norm(dim=1).mean()
    assert orbit_distance(z, w, representation).min() > 0.1


@pytest.mark.parametrize("text", EXACT)
def test_no_sampled_element_comes_closer_and_the_bound_is_met_when_refined(text):
    representation = Representation.parse(text)
    assert is_exact(representation)
    z, w = representation.random(6, generator()).double(), representation.random(6, generator(1)).double()
    distance = orbit_distance(z, w, representation)
    nearest = torch.full((6,), math.inf, dtype=torch.float64)
    for g in representation.group.sample(2000, generator(2)):
        nearest = torch.minimum(nearest, (z - representation.move(w, g)).norm(dim=1))
    assert (distance <= nearest + 1e-9).all()
    if representation.group.order is None or representation.group.order < 100:
        assert (nearest - distance).max() < 0.3


@pytest.mark.parametrize("text", [*EXACT, "SO3: 1x2"])
def test_pairwise_equals_row_by_row_and_is_symmetric(text):
    representation = Representation.parse(text)
    z, w = representation.random(5, generator()), representation.random(4, generator(1))
    table = orbit_distance(z, w, representation, pairwise=True)
    assert table.shape == (5, 4)
    assert table.dtype == torch.float64
    slack = 1e-7 if is_exact(representation) else 0.05
    for i in range(5):
        rows = orbit_distance(z[i].expand(4, -1), w, representation)
        assert torch.allclose(rows, table[i], atol=slack)
    assert torch.allclose(table, orbit_distance(w, z, representation, pairwise=True).T, atol=slack)


def test_assignment_equals_trying_every_order():
    representation = Representation.parse("S5: points x 2")
    z, w = representation.random(4, generator()).double(), representation.random(4, generator(1)).double()
    z, w = z.reshape(4, 5, 2), w.reshape(4, 5, 2)
    every = [(z - w[:, list(p)]).flatten(1).norm(dim=1) for p in permutations(range(5))]
    expected = torch.stack(every).amin(dim=0)
    assert torch.allclose(orbit_distance(z, w, representation), expected)
    assert not torch.allclose(orbit_distance(z[..., :1], w[..., :1], "S5: points"), expected)


def test_procrustes_tells_mirror_images_apart_only_for_rotations():
    z = torch.randn(3, 4, 3, generator=generator())
    mirrored = z * torch.tensor([1.0, 1.0, -1.0])
    assert orbit_distance(z, mirrored, "O3: 4 vectors").max() < 1e-5
    assert orbit_distance(z, mirrored, "SO3: 4 vectors").min() > 0.1


def test_vectors_and_irreps_of_the_plane_agree():
    z, w = torch.randn(9, 8, generator=generator()), torch.randn(9, 8, generator=generator(1))
    for group in ("SO2", "O2"):
        circle = orbit_distance(z, w, Representation.parse(f"{group}: 4x1"))
        assert torch.allclose(circle, orbit_distance(z, w, f"{group}: 4 vectors"))
        search = largest_product_rule(Representation.parse(f"{group}: 3x1 + 1x2"), None)
        assert search.name == "angle search"


def test_memory_blocks_do_not_change_the_result(monkeypatch):
    representation = Representation.parse("D4: 2 regular")
    z, w = representation.random(7, generator()), representation.random(5, generator(1))
    whole = orbit_distance(z, w, representation, pairwise=True)
    monkeypatch.setattr("lightning_invariant.metrics.orbit_rules.NUMBERS", 1)
    assert torch.allclose(orbit_distance(z, w, representation, pairwise=True), whole)
    monkeypatch.setattr("lightning_invariant.metrics.orbits.BLOCK", 3)
    assert torch.allclose(orbit_distance(z[:5], w, representation), whole.diagonal())


def test_the_sampled_bound_is_declared_and_repeats():
    representation = Representation.parse("SO3: 2x2")
    assert not is_exact(representation)
    assert not is_exact("Sampled: 4 trivial")
    z, w = representation.random(4, generator()), representation.random(4, generator(1))
    first, second = (orbit_distance(z, w, representation, generator=generator(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(orbit_distance(z, w, representation), orbit_distance(z, w, representation))


def test_empty_zero_and_nan():
    assert orbit_distance(torch.zeros(0, 8), torch.zeros(0, 8), "C8: regular").shape == (0,)
    assert orbit_distance(torch.zeros(0, 8), torch.zeros(3, 8), "C8: regular", pairwise=True).shape == (0, 3)
    assert orbit_distance(torch.zeros(2, 8), torch.zeros(2, 8), "C8: regular").tolist() == [0, 0]
    z = torch.zeros(1, 8)
    z[0, 0] = math.nan
    assert not orbit_distance(z, torch.zeros(1, 8), "C8: regular").isfinite().all()


def test_what_does_not_fit_is_refused(monkeypatch):
    z = torch.zeros(2, 8)
    with pytest.raises(ValueError, match="pairwise=True"):
        orbit_distance(z, z[:1], "C8: regular")
    with pytest.raises(LatentError):
        orbit_distance(z, z[:, :4], "C8: regular")
    with pytest.raises(GroupError, match="samples only"):
        orbit_distance(z, z, "Sampled: 8 trivial")
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"lightning-invariant\[checks\]"):
        orbit_distance(z, z, "S4: points x 2")
