"""The bounds that certificates rest on, against samples of the functions that they bound."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_invariant.groups.harmonics import rotation_matrices
from lightning_invariant.quotient import branch_and_bound, rotations
from lightning_invariant.quotient.branch_and_bound import maximise


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crosses(degrees: tuple[int, ...], d: int, count: int = 4) -> dict[int, torch.Tensor]:
    size = {2: lambda _: 2, 3: lambda k: 2 * k + 1}[d]
    return {k: torch.randn(count, size(k), size(k), generator=generator(k)).double() for k in degrees}


LANDSCAPES = {
    "circle": lambda: rotations._circle(crosses((1, 3, 7), 2)),
    "sphere": lambda: rotations._sphere(crosses((1, 2), 3)),
    "high degree": lambda: rotations._sphere(crosses((4,), 3)),
}


@pytest.mark.parametrize("name", list(LANDSCAPES))
@pytest.mark.parametrize("radius", [0.5, 0.1, 0.02])
def test_no_value_in_a_cell_is_above_its_bound(name, radius):
    land = LANDSCAPES[name]()
    search = branch_and_bound._Search(land)
    search.value.fill_(-1e9)
    rows = torch.arange(len(land.scale)).repeat_interleave(50)
    elements = land.exponential(land.centres[torch.randint(len(land.centres), (len(rows),), generator=generator())])
    expansion = search._expansion(rows, elements)
    bound = search._bound(rows, expansion, radius)
    rough = expansion[:, 0].clone()
    top = rough.clone()
    for seed in range(100):
        step = torch.randn(len(rows), land.m, generator=generator(seed)).double()
        step = radius * step / step.norm(dim=1, keepdim=True) * (seed % 5 + 1) / 5
        values = search._expansion(rows, land.compose(land.exponential(step), elements))[:, 0]
        top = torch.maximum(top, values)
    assert (top <= bound + 1e-9).all()
    # Not much above either: the error is of third order.
    assert ((bound - top) <= 2 * land.third[rows] * radius**3 / 3 + 0.2 * (bound - rough)).double().mean() > 0.8


@pytest.mark.parametrize("name", list(LANDSCAPES))
def test_expansions_are_the_derivatives(name):
    land = LANDSCAPES[name]()
    search, rows = branch_and_bound._Search(land), torch.arange(len(land.scale))
    elements = land.exponential(land.centres[:1].expand(len(rows), -1) * 0.7)
    expansion = search._expansion(rows, elements)
    for seed in range(5):
        v = torch.nn.functional.normalize(torch.randn(1, land.m, generator=generator(seed)).double(), dim=1)
        h = 1e-4
        ahead, behind = (
            search._expansion(rows, land.compose(land.exponential(sign * h * v).expand_as(elements), elements))[:, 0]
            for sign in (1, -1)
        )
        slope = expansion[:, 1 : 1 + land.m] @ v[0]
        bend = torch.einsum("i,bij,j->b", v[0], expansion[:, search.entry], v[0])
        assert torch.allclose((ahead - behind) / (2 * h), slope, atol=1e-4 * float(land.third.max()))
        assert torch.allclose((ahead + behind - 2 * expansion[:, 0]) / h**2, bend, atol=1e-3 * float(land.third.max()))


@pytest.mark.parametrize("name", list(LANDSCAPES))
def test_the_maximum_is_certified_and_no_sample_is_above_it(name):
    land = LANDSCAPES[name]()
    element, value, bound = maximise(land, certify=True)
    assert torch.equal(value, bound)
    reached = (land.features(element) * land.coefficients[:, 0]).sum(dim=1)
    assert torch.allclose(reached, value, rtol=1e-12)
    dense = land.features(
        land.exponential(math.pi * (2 * torch.rand(20000, land.m, generator=generator()).double() - 1))
    )
    sampled = (land.coefficients[:, 0] @ dense.mT).amax(dim=1)
    assert (sampled <= value + 1e-9).all()
    assert (sampled > 0.9 * value).all()
    _, quick, loose = maximise(land, certify=False)
    assert torch.equal(loose, land.scale)
    assert (quick <= value + 1e-9).all()


def test_where_the_local_search_fails_the_certificate_does_not(monkeypatch):
    """From one start that climbs to a wrong peak."""
    monkeypatch.setattr(branch_and_bound, "STARTS", 1)
    monkeypatch.setattr(branch_and_bound, "STEPS", 0)
    land = rotations._sphere(crosses((3, 4), 3, 12))
    certified, quick = (maximise(land, certify=certify)[1] for certify in (True, False))
    monkeypatch.undo()
    assert torch.allclose(certified, maximise(land, certify=True)[1], rtol=1e-6)
    assert (quick < certified - 1e-3).any()


@pytest.mark.parametrize("degree", [1, 2, 5])
def test_generators_are_those_of_the_rotation_matrices(degree):
    v = 0.3 * torch.randn(4, 3, generator=generator()).double()
    expected = torch.linalg.matrix_exp(torch.einsum("ca,aij->cij", v, rotations.generators(degree)))
    assert torch.allclose(rotation_matrices(degree, rotations.rotation_of(v)), expected, atol=1e-12)
    assert torch.allclose(rotations.rotation_of(torch.zeros(1, 3).double())[0], torch.eye(3).double())
