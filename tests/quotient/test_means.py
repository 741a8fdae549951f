"""Fréchet means and principal components against an independent optimiser and data whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from lightning_invariant import quotient
from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation

REPRESENTATIONS = [
    "C8: 4 regular",
    "D4: 1x1 + 2 regular",
    "S9: 9 points x 3",
    "S5: 5 points x 2 + 1 pairs",
    "Z2^5: 3 signs + 1 trivial",
    "O3: 5 vectors",
    "SO2: 2x1 + 1x2",
    "SO3: 2x1 + 1x2",
    "S4 x SO3: 1 points*vectors",
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(representation: Representation, z: torch.Tensor) -> torch.Tensor:
    return representation.transform(z, representation.group.sample(len(z), generator(9)))


@pytest.mark.parametrize("text", REPRESENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_mean_of_transformed_copies_is_the_latent(text, dtype):
    representation = Representation.parse(text)
    z = representation.random(1, generator()).to(dtype)
    copies = scattered(representation, z.repeat(12, 1))
    found = quotient.mean(copies, representation)
    slack = 1e-9 if dtype == torch.float64 else 1e-5
    assert found.converged
    assert found.latent.dtype == dtype
    assert found.variance < slack**2
    assert torch.allclose(found.latent, copies[0], atol=slack)
    assert (copies.mean(dim=0) - found.latent).norm() > 0.1


def variance_by_listing(m: np.ndarray, orbits: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared distance to the nearest of each orbit's points (N, G, D), and its gradient."""
    gaps = m - orbits
    squares = (gaps**2).sum(axis=2)
    nearest = squares.argmin(axis=1)
    rows = np.arange(len(orbits))
    return squares[rows, nearest].mean(), 2 * gaps[rows, nearest].mean(axis=0)


@pytest.mark.parametrize(
    "text", ["C8: 2 regular", "D4: 1x1 + 1 regular", "S4: 4 points x 2", "S4: 1 pairs", "Z2^3: 2 signs"]
)
def test_no_independent_optimiser_finds_a_smaller_variance(text):
    representation = Representation.parse(text)
    z = representation.random(1, generator()) + 0.5 * representation.random(12, generator(1))
    z = scattered(representation, z.double())
    rho = representation.matrices(representation.group.elements())
    orbits = torch.einsum("gij,bj->bgi", rho, z).numpy()
    best = min(
        minimize(variance_by_listing, start, args=(orbits,), jac=True, method="BFGS").fun
        for start in [*z.numpy(), *np.random.default_rng(0).normal(size=(20, representation.size))]
    )
    found = quotient.mean(z, representation, starts=12)
    assert found.converged
    assert variance_by_listing(found.latent.numpy(), orbits)[0] == pytest.approx(found.variance, rel=1e-9)
    assert found.variance <= best * (1 + 1e-6)
    assert found.variance < 0.9 * (z - z.mean(dim=0)).square().sum(dim=1).mean()


@pytest.mark.parametrize("text", ["O3: 4 vectors", "SO2: 2x1 + 1x2"])
def test_continuous_means_are_stationary_and_no_nudge_lowers_the_variance(text):
    representation = Representation.parse(text)
    z = representation.random(1, generator()) + 0.3 * representation.random(20, generator(1))
    z = scattered(representation, z.double())
    found = quotient.mean(z, representation)
    assert found.converged
    for seed in range(30):
        nudged = found.latent + 0.02 * representation.random(1, generator(100 + seed)).double()[0]
        assert quotient.distance(z, nudged.expand_as(z), representation).square().mean() > found.variance


@pytest.mark.parametrize("text", ["C8: 2 regular", "S5: 5 points x 2", "D4: 3 regular"])
def test_the_mean_reports_its_parts(text):
    representation = Representation.parse(text)
    z = representation.random(10, generator()).double().reshape(10, *representation.shape)
    found = quotient.mean(z, representation)
    assert found.latent.shape == representation.shape
    assert found.aligned.shape == z.shape
    assert torch.equal(representation.transform(z, found.element), found.aligned)
    assert torch.allclose(found.aligned.mean(dim=0), found.latent)
    assert torch.allclose(quotient.align(found.latent[None], z[:1], representation).latents[0], found.latent)
    few = quotient.mean(z, representation, iterations=1, starts=1)
    assert few.iterations == 5 or few.variance >= found.variance


def test_more_starts_never_raise_the_variance():
    representation = Representation.parse("C8: 2 regular")
    z = representation.random(30, generator()).double()
    one, many = (quotient.mean(z, representation, starts=starts).variance for starts in (1, 30))
    assert many < one


@pytest.mark.parametrize("text", ["S6: 6 points x 2", "S6: 6 points + 1 pairs", "S6 x SO2: 1 points*1"])
def test_means_of_masked_sets_do_not_see_hidden_points(text):
    representation = Representation.parse(text)
    mask = (torch.arange(6) < 4).expand(8, -1)
    small = Representation.parse(text.replace("6", "4"))
    inner = small.random(1, generator()).double() + 0.1 * small.random(8, generator(1)).double()
    padded = pad(small, representation, inner)
    found = quotient.mean(padded, representation, mask)
    expected = quotient.mean(inner, small)
    assert found.variance == pytest.approx(expected.variance, rel=1e-9)
    assert found.mask.tolist() == mask[0].tolist()
    assert found.aligned_mask.sum() == mask.sum()
    assert quotient.mean(padded, representation).variance != pytest.approx(expected.variance, rel=1e-3)


def pad(small: Representation, large: Representation, z: torch.Tensor) -> torch.Tensor:
    """Latents of sets of 6 of which the last two points are noise."""
    out = 5 * large.random(len(z), generator(3)).double()
    for part, (where, block) in zip(small.split(z), zip(large.slices, large, strict=True), strict=True):
        view = out[:, where]
        if block.dim == 36:
            view.view(len(z), 6, 6)[:, :4, :4] = part.reshape(len(z), 4, 4)
        elif block.copies_last:
            view.view(len(z), 6, -1)[:, :4] = part
        else:
            view.view(len(z), 6, 2)[:, :4] = part.reshape(len(z), 4, 2)
    return out


@pytest.mark.parametrize("text", REPRESENTATIONS)
def test_a_line_in_the_quotient_has_one_component(text):
    representation = Representation.parse(text)
    start, other = (representation.random(1, generator(seed)).double() for seed in (0, 1))
    end = quotient.align(start + 0.2 * other, start, representation).latents
    t = torch.linspace(0, 1, 15, dtype=torch.float64)[:, None]
    z = scattered(representation, start + t * (end - start))
    found = quotient.pca(z, representation, 2)
    assert found.explained_variance_ratio[0] > 1 - 1e-9
    line = found.coordinates[:, 0] * (found.coordinates[-1, 0] - found.coordinates[0, 0]).sign()
    assert torch.allclose(line - line[0], t[:, 0] * (end - start).norm(), atol=1e-6)
    flat = z - z.mean(dim=0)
    raw = torch.linalg.svdvals(flat).square()
    assert raw[0] / raw.sum() < 0.95


def test_components_can_be_undone_and_applied_to_other_latents():
    representation = Representation.parse("S5: 5 points x 2")
    z = representation.random(1, generator()) + 0.2 * representation.random(20, generator(1))
    z = scattered(representation, z.double()).reshape(20, 5, 2)
    found = quotient.pca(z, representation, 10)
    back = found.inverse_transform(found.coordinates)
    assert back.shape == z.shape
    assert quotient.distance(back, z, representation).max() < 1e-9
    assert torch.allclose(found.transform(z), found.coordinates, atol=1e-9)
    assert (found.components.amax(dim=1) == found.components.abs().amax(dim=1)).all()
    assert torch.allclose(found.components @ found.components.mT, torch.eye(10, dtype=torch.float64), atol=1e-9)
    assert found.explained_variance_ratio.sum() == pytest.approx(1)
    assert found.explained_variance.sum() == pytest.approx(found.mean.variance)
    few = quotient.pca(z, representation, 2)
    rest = quotient.distance(few.inverse_transform(few.coordinates), z, representation).square().mean()
    assert rest <= few.mean.variance - few.explained_variance.sum() + 1e-9
    moved = scattered(representation, z.flatten(1)).reshape(z.shape)
    assert torch.allclose(few.transform(moved), few.coordinates, atol=1e-9)


def test_components_of_masked_sets_take_masks():
    representation = Representation.parse("S4: 4 points x 2")
    z, mask = representation.random(10, generator()).double(), (torch.arange(4) < 3).expand(10, -1)
    found = quotient.pca(z, representation, 2, mask)
    assert torch.allclose(found.transform(z, mask), found.coordinates, atol=1e-9)
    with pytest.raises(LatentError, match="Expected a mask"):
        found.transform(z)


def test_what_does_not_fit_is_refused():
    z = torch.zeros(3, 8)
    with pytest.raises(ValueError, match="Expected samples"):
        quotient.mean(z[:0], "C8: regular")
    with pytest.raises(ValueError, match="1 to 3 components"):
        quotient.pca(z, "C8: regular", 4)
    z[1, 0] = torch.nan
    with pytest.raises(LatentError, match=r"rows \[1\]"):
        quotient.mean(z, "C8: regular")
