from __future__ import annotations

import math
import sys
from itertools import permutations

import pytest
import torch

from lightning_invariant import quotient
from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.groups.harmonics import spherical_harmonics
from lightning_invariant.groups.standard_form import standard_form
from lightning_invariant.quotient.solver import solver_for

EXACT = [
    "C8: 3 regular",
    "C8: 20 regular",
    "C64: 2 regular + 3 trivial",
    "D4: 2 trivial + 2 regular",
    "T5: 2 regular",
    "C4 x Z2: 2 regular*signs",
    "S4: points x 3",
    "S12: points x 2 + 3 trivial",
    "S12: points",
    "S6: points x 2 + 2 pairs + 1 trivial",
    "S8: 1 pairs",
    "Z2^20: 2 signs + 1 trivial",
    "O3: 4 vectors",
    "O4: 3 vectors + 2 det",
    "U3: 2 vectors + 1 trivial",
    "U1: 3 vectors",
    "SU2: 3 vectors + 1 vectors",
    "SO3: 4 vectors + 2 trivial",
    "SO3: 2x0 + 3x1",
    "O3: 2x0e + 3x1o",
    "O3: 1x0e + 1x0o + 2x1o + 1x1e",
    "SO2: 2x0 + 2x1 + 1x2 + 1x5",
    "O2: 2x1 + 2x3",
    "O2: 2 vectors + 1x2 + 1 det",
    "Z2 x S9: 2 signs*points + 1 trivial*trivial",
    "C4 x SO3: 1 regular*1",
    "S4 x O3: 1 points*vectors + 2 points*0e",
    "O3 x S3: 1 vectors*points",
    "Z2^3: 1 trivial",
]
SEARCHED = [
    "SO3: 1x0 + 2x1 + 1x2",
    "O3: 1x0e + 1x1o + 1x2e + 1x3o",
    "S9 x SO3: 1 points*vectors + 2 points*0",
    "S9 x O3: 1 points*1o + 1 points*2e",
    "S11: 1 pairs",
]
UNSEARCHED = ["S9 x S9: 1 points*points", "Z2^20 x S20: 1 signs*points"]
"""Where a latent transformed at random need not be found again: two large factors and nothing to start from."""


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(representation: Representation, count: int, seed: int) -> torch.Tensor:
    return representation.random(count, generator(seed)).double()


@pytest.mark.parametrize("text", [*EXACT, *SEARCHED])
def test_latents_of_one_orbit_are_at_distance_zero_and_others_are_not(text):
    representation = Representation.parse(text)
    z, w = latents(representation, 12, 0), latents(representation, 12, 1)
    same = representation.transform(z, representation.group.sample(12, generator(2)))
    assert quotient.distance(z, same, representation).max() < 1e-9 * z.norm(dim=1).mean()
    assert quotient.distance(z, w, representation).min() > 0.01


@pytest.mark.parametrize("text", [*EXACT, *SEARCHED, *UNSEARCHED])
def test_no_sampled_element_comes_closer_than_the_lower_bound(text):
    representation = Representation.parse(text)
    assert quotient.is_exact(representation) == (text in EXACT)
    z, w = latents(representation, 6, 0), latents(representation, 6, 1)
    nearest = torch.full((6,), math.inf, dtype=torch.float64)
    for g in representation.group.sample(1000, generator(2)):
        nearest = torch.minimum(nearest, (z - representation.transform(w, g)).norm(dim=1))
    lower, upper = quotient.bounds(z, w, representation, certify=False)
    assert (lower <= upper).all()
    assert (lower <= nearest + 1e-9).all()
    assert (upper <= nearest + 1e-9).all()
    if text in EXACT:
        assert torch.equal(lower, upper)
        assert torch.equal(upper, quotient.distance(z, w, representation))


@pytest.mark.parametrize("text", [text for text in EXACT if (Representation.parse(text).group.order or 1000) < 800])
def test_finite_groups_equal_brute_force_with_matrices(text):
    representation = Representation.parse(text)
    z, w = latents(representation, 5, 0), latents(representation, 5, 1)
    rho = representation.matrices(representation.group.elements())
    every = (z[:, None] - torch.einsum("gij,bj->bgi", rho, w)).norm(dim=2)
    found = quotient.align(w, z, representation)
    assert torch.allclose(found.distance, every.amin(dim=1), atol=1e-12)
    assert text == "Z2^3: 1 trivial" or (every.amax(dim=1) > found.distance + 0.1).all()


@pytest.mark.parametrize("text", [*EXACT, "SO3: 1x2"])
def test_pairwise_equals_row_by_row_and_is_symmetric(text):
    representation = Representation.parse(text)
    z, w = representation.random(5, generator()), representation.random(4, generator(1))
    table = quotient.distance(z, w, representation, pairwise=True)
    assert table.shape == (5, 4)
    assert table.dtype == torch.float64
    rows = torch.stack([quotient.distance(z[i].expand(4, -1), w, representation) for i in range(5)])
    assert torch.allclose(rows, table, atol=1e-7)
    assert torch.allclose(table, quotient.distance(w, z, representation, pairwise=True).T, atol=1e-7)
    own = quotient.distance(z, z, representation, pairwise=True)
    assert torch.allclose(own, quotient.distance(z, z.clone(), representation, pairwise=True), atol=1e-7)


def test_assignment_equals_trying_every_order():
    z, w = torch.randn(4, 5, 2, generator=generator()).double(), torch.randn(4, 5, 2, generator=generator(1)).double()
    every = [(z - w[:, list(p)]).flatten(1).norm(dim=1) for p in permutations(range(5))]
    expected = torch.stack(every).amin(dim=0)
    assert torch.allclose(quotient.distance(z, w, "S5: points x 2"), expected)
    assert not torch.allclose(quotient.distance(z[..., :1], w[..., :1], "S5: points"), expected)


def test_procrustes_tells_mirror_images_apart_only_for_rotations():
    z = torch.randn(3, 4, 3, generator=generator())
    mirrored = z * torch.tensor([1.0, 1.0, -1.0])
    assert quotient.distance(z, mirrored, "O3: 4 vectors").max() < 1e-5
    assert quotient.distance(z, mirrored, "SO3: 4 vectors").min() > 0.1


def test_vectors_and_irreps_of_the_plane_agree():
    z, w = torch.randn(9, 8, generator=generator()), torch.randn(9, 8, generator=generator(1))
    for group in ("SO2", "O2"):
        circle = quotient.distance(z, w, f"{group}: 4x1")
        assert torch.allclose(circle, quotient.distance(z, w, f"{group}: 4 vectors"))


@pytest.mark.parametrize("text", ["SO2: 1x1 + 1x3", "SO2: 2x1 + 1x7", "O2: 1x1 + 1x4 + 1x6", "SO2: 1x2 + 1x4"])
def test_planar_irreps_equal_a_dense_grid_of_angles_where_low_frequencies_are_weak(text):
    representation = Representation.parse(text)
    z, w = latents(representation, 200, 0), latents(representation, 200, 1)
    weak = representation.slices[0]
    z[:, weak], w[:, weak] = 0.03 * z[:, weak], 0.03 * w[:, weak]
    same = representation.transform(z, representation.group.sample(200, generator(2)))
    assert quotient.distance(z, same, representation).max() < 1e-12
    flips = (1.0, -1.0) if representation.group == Representation.parse("O2: 1x1").group else (1.0,)
    angles = torch.arange(4096, dtype=torch.float64) * 2 * math.pi / 4096
    nearest = torch.full((200,), math.inf, dtype=torch.float64)
    for flip in flips:
        turned = []
        for block, part in zip(representation, representation.split(w), strict=True):
            c, s = (block.frequency * angles).cos()[:, None, None], (block.frequency * angles).sin()[:, None, None]
            x, y = part[None, ..., 0], flip * part[None, ..., 1]
            turned.append(torch.stack([c * x - s * y, s * x + c * y], dim=-1).flatten(2))
        nearest = torch.minimum(nearest, (z - torch.cat(turned, dim=2)).norm(dim=2).amin(dim=0))
    found = quotient.distance(z, w, representation)
    assert (found <= nearest + 1e-12).all()
    most = max(block.frequency for block in representation) * math.pi / 4096
    assert (nearest.square() - found.square() <= most**2 * z.norm(dim=1) * w.norm(dim=1) + 1e-12).all()


def quadratic_forms(z: torch.Tensor) -> torch.Tensor:
    """The symmetric matrices A with x A x = sum of z_m Y_2m(x), by least squares."""
    x = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator(5)).double(), dim=1)
    rows, columns = torch.triu_indices(3, 3)
    products = x[:, rows] * x[:, columns] * torch.where(rows == columns, 1.0, 2.0)
    entries = torch.linalg.lstsq(products, spherical_harmonics(2, x) @ z.T).solution.T
    a = torch.zeros(len(z), 3, 3, dtype=torch.float64)
    a[:, rows, columns] = a[:, columns, rows] = entries
    return a


def test_one_irrep_of_degree_two_equals_sorted_eigenvalues():
    z, w = (torch.randn(40, 5, generator=generator(seed)).double() for seed in (0, 1))
    a, b = quadratic_forms(z), quadratic_forms(w)
    scale = (z.norm(dim=1) / a.flatten(1).norm(dim=1)).mean()
    expected = scale * (torch.linalg.eigvalsh(a) - torch.linalg.eigvalsh(b)).norm(dim=1)
    lower, upper = quotient.bounds(z, w, "SO3: 1x2")
    assert torch.allclose(upper, expected, atol=1e-9)
    assert torch.equal(lower, upper)
    assert not torch.allclose((z - w).norm(dim=1), expected, atol=0.1)


@pytest.mark.parametrize("text", ["SO3: 2x1 + 2x2", "O3: 1x1o + 1x2e + 1x3o", "SO3: 1x3 + 1x4", "S11: 1 pairs"])
def test_a_certificate_closes_the_gap_where_a_search_leaves_one(text):
    representation = Representation.parse(text)
    z, w = latents(representation, 8, 0), latents(representation, 8, 1)
    lower, upper = quotient.bounds(z, w, representation)
    assert torch.equal(lower, upper)
    quick = quotient.bounds(z, w, representation, certify=False)
    assert (quick.lower <= lower + 1e-9).all()
    assert (quick.upper >= upper - 1e-9).all()
    assert (quick.lower < 0.95 * upper).any()


def test_a_curve_of_nearest_points_leaves_a_gap_that_is_reported(monkeypatch):
    z = torch.zeros(1, 5, dtype=torch.float64)
    z[0, 2] = 1.0
    monkeypatch.setattr("lightning_invariant.quotient.branch_and_bound.CELLS", 64)
    lower, upper = quotient.bounds(z, 2 * z, "SO3: 1x2")
    assert lower.item() == pytest.approx(1.0)
    assert upper.item() == pytest.approx(1.0)
    lower, upper = quotient.bounds(z, z.roll(1), "SO3: 1x2")
    assert 0 < lower < upper < 1
    assert not quotient.align(z, z.roll(1), "SO3: 1x2", certify=True).exact.any()


@pytest.mark.parametrize("text", ["C8: 3 regular", "S5: points x 2", "O3: 3 vectors", "SO2: 1x1 + 1x2", "S5: 1 pairs"])
@pytest.mark.parametrize("scale", [1e-200, 1e-25, 1e19, 1e150])
def test_no_scale_over_or_underflows(text, scale):
    representation = Representation.parse(text)
    z, w = latents(representation, 4, 0), latents(representation, 4, 1)
    expected = quotient.distance(z, w, representation)
    assert torch.allclose(quotient.distance(scale * z, scale * w, representation) / scale, expected)
    table = quotient.distance(scale * z, scale * w, representation, pairwise=True) / scale
    assert torch.allclose(table.diagonal(), expected)


def test_single_precision_agrees_with_double():
    for text in ("C8: 3 regular", "S5: points x 2", "SO3: 2x1", "S5: 1 pairs"):
        representation = Representation.parse(text)
        z, w = representation.random(6, generator()), representation.random(6, generator(1))
        found = quotient.distance(z, w, representation)
        assert torch.equal(found, quotient.distance(z.double(), w.double(), representation))


def test_memory_blocks_do_not_change_the_result(monkeypatch):
    for text in ("D4: 2 regular", "C16: 1 regular", "S5: 1 pairs + points x 2", "SO3: 1x2"):
        representation = Representation.parse(text)
        z, w = representation.random(7, generator()), representation.random(5, generator(1))
        with monkeypatch.context() as patch:
            whole = quotient.distance(z, w, representation, pairwise=True)
            for module, name, value in (
                ("finite", "NUMBERS", 1),
                ("alignment", "NUMBERS", 40),
                ("distances", "BLOCK", 3),
                ("pairs", "NUMBERS", 500),
                ("branch_and_bound", "NUMBERS", 3000),
                ("rotations", "ROWS", 2),
            ):
                patch.setattr(f"lightning_invariant.quotient.{module}.{name}", value)
            assert torch.allclose(quotient.distance(z, w, representation, pairwise=True), whole, atol=1e-9)
            assert torch.allclose(quotient.distance(z[:5], w, representation), whole.diagonal(), atol=1e-9)


def test_a_search_repeats_and_leaves_the_random_state():
    representation = Representation.parse("S9 x SO3: 1 points*vectors")
    z, w = representation.random(3, generator()), representation.random(3, generator(1))
    before = torch.get_rng_state()
    first, second = (quotient.distance(z, w, representation) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)
    assert not quotient.is_exact("Sampled: 4 trivial")


def test_empty_zero_and_nan():
    assert quotient.distance(torch.zeros(0, 8), torch.zeros(0, 8), "C8: regular").shape == (0,)
    assert quotient.distance(torch.zeros(0, 8), torch.zeros(3, 8), "C8: regular", pairwise=True).shape == (0, 3)
    for text in ("C8: regular", "S8: points", "S4: points x 2", "O2: 4 vectors", "SO2: 2x1 + 2x2"):
        zero = torch.zeros(2, 8)
        assert quotient.distance(zero, zero, text).tolist() == [0, 0]
        assert quotient.distance(zero, zero, text, pairwise=True).sum() == 0
        z = torch.ones(2, 8)
        z[0, 0] = math.nan
        found = quotient.distance(z, torch.zeros(2, 8), text)
        assert found[0].isnan()
        assert found[1] == pytest.approx(8**0.5)


def test_sampled_transforms_are_compared_one_by_one():
    z, w = torch.zeros(1, 2), torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    assert quotient.sampled_distance(z, w, "Sampled: 2 trivial").tolist() == [[1.0]]
    with pytest.raises(LatentError, match="at least one transform"):
        quotient.sampled_distance(z, w[:, :0], "Sampled: 2 trivial")


def test_what_does_not_fit_is_refused(monkeypatch):
    z = torch.zeros(2, 8)
    with pytest.raises(ValueError, match="pairwise=True"):
        quotient.distance(z, z[:1], "C8: regular")
    with pytest.raises(LatentError):
        quotient.distance(z, z[:, :4], "C8: regular")
    with pytest.raises(GroupError, match="sampled_distance"):
        quotient.distance(z, z, "Sampled: 8 trivial")
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"lightning-invariant\[checks\]"):
        quotient.distance(z, z, "S4: points x 2")


def test_each_method_is_the_one_meant():
    names = {
        "C8: 3 regular": "all elements",
        "S4 x O3: 1 points*vectors": "rotations for each element of the other factors",
        "S9 x O3: 1 points*vectors": "assignment and rotations by turns",
        "S9 x S9: 1 points*points": "assignment by turns",
        "SO3: 1x2": "rotations by branch and bound",
        "SO3: 2x1": "rotations",
    }
    assert {text: solver_for(Representation.parse(text)).name for text in names} == names


@pytest.mark.parametrize(
    "text", ["SO2: 3 (2x0 + 1x1)", "O3: 2 (1x0e + 1x1o)", "SO2: 2 (1x0 + 1x1) in [[0,1,0],[0,0,1],[1,0,0]]"]
)
def test_mixed_fields_have_the_distances_of_their_standard_form(text):
    declared = Representation.parse(text)
    standard = standard_form(declared)
    generator = torch.Generator().manual_seed(0)
    z, w = declared.random(6, generator).double(), declared.random(6, generator).double()
    found = quotient.distance(z, w, declared)
    expected = quotient.distance(standard.change(declared, z), standard.change(declared, w), standard.representation)
    assert torch.allclose(found, expected, atol=1e-9)
    transformed = declared.transform(z, declared.group.sample(6, generator))
    assert quotient.distance(z, transformed, declared).max() < 1e-6
    aligned = quotient.align(w, z, declared).latents
    assert torch.allclose((z - aligned).norm(dim=1), expected, atol=1e-9)
    assert (found < (z - w).norm(dim=1)).all()
