from __future__ import annotations

from itertools import permutations

import pytest
import torch

from lightning_invariant import quotient
from lightning_invariant.errors import GroupError, LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.quotient import finite
from lightning_invariant.quotient.alignment import find_nearest
from lightning_invariant.quotient.found import Found
from lightning_invariant.quotient.solver import LISTED, Solver, solver_for

EXACT = [
    "C8: 4 regular",
    "D4: 1x1 + 2 regular + 1 det",
    "S9: 9 points x 3",
    "S6: 6 points x 2 + 1 pairs",
    "Z2^5: 3 signs",
    "O3: 5 vectors + 1 det",
    "SO2: 2x1 + 1x2 + 3x0",
    "S4 x SO3: 1 points*vectors + 1 points*0",
    "C4 x S9: 1 regular*points",
]
SEARCHED = ["SO3: 2x1 + 1x2", "S8 x O3: 1 points*vectors", "S12: 1 pairs"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two(text: str, count: int = 6) -> tuple[Representation, torch.Tensor, torch.Tensor]:
    representation = Representation.parse(text)
    z, w = (representation.random(count, generator(seed)).double() for seed in (0, 1))
    return representation, z, w


@pytest.mark.parametrize("text", [*EXACT, *SEARCHED])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_aligned_latent_is_in_the_orbit_and_at_the_distance(text, dtype):
    representation, z, w = two(text)
    z, w = z.to(dtype), w.to(dtype)
    found = quotient.align(z, w, representation)
    assert found.latents.dtype == dtype
    assert found.element.shape == (len(z), *representation.group.element_shape)
    assert torch.equal(found.latents, representation.transform(z, found.element))
    reached = (found.latents - w).double().norm(dim=1)
    assert torch.allclose(reached, found.distance, rtol=0, atol=1e-12 if dtype == torch.float64 else 1e-5)
    assert found.exact.all() == (text in EXACT)
    assert (found.lower <= found.distance).all()
    assert (found.distance < (z - w).double().norm(dim=1)).any()


@pytest.mark.parametrize("text", EXACT)
def test_a_transformed_latent_is_brought_back(text):
    representation, z, _ = two(text)
    moved = representation.transform(z, representation.group.sample(len(z), generator(2)))
    assert not torch.allclose(moved, z, atol=0.1)
    assert torch.allclose(quotient.align(moved, z, representation).latents, z, atol=1e-9)


def test_the_lower_bound_is_what_the_gap_says():
    representation, z, w = two("C8: 2 regular")
    exact = quotient.distance(z, w, representation)

    def lazy(z, w, *_):
        best = solver_for(representation).solve(z, w, None, False)
        gap = (z * (representation.transform(w, best.element) - w)).sum(dim=1)
        return Found(torch.zeros(len(z), dtype=torch.int64), gap)

    found = find_nearest(Solver("lazy", False, False, lazy), representation, z, w, None, certify=False)
    assert torch.allclose(found.lower, exact)
    assert torch.allclose(found.distance, (z - w).norm(dim=1))
    assert (found.lower < found.distance).any()


def test_all_latents_can_be_aligned_to_one_in_its_layout():
    z = torch.randn(5, 3, 4, generator=generator())
    found = quotient.align(z, z[:1], "C4: 3 regular")
    assert found.latents.shape == z.shape
    assert torch.equal(found.latents[0], z[0])
    graphs = torch.randn(5, 4, 4, 2, generator=generator())
    assert quotient.align(graphs, graphs[:1], "S4: 2 pairs").latents.shape == graphs.shape


@pytest.mark.parametrize("text", [*EXACT, *SEARCHED])
def test_a_path_is_as_long_as_the_distance_and_stays_at_constant_speed(text):
    representation, z, w = two(text)
    walk = quotient.path(z, w, representation, steps=5)
    steps = walk.latents.diff(dim=1).norm(dim=2)
    assert torch.allclose(steps.sum(dim=1), walk.length, rtol=0, atol=1e-6)
    assert torch.allclose(walk.length, quotient.distance(z, w, representation), rtol=0, atol=1e-6)
    assert (steps.amax(dim=1) - steps.amin(dim=1)).max() < 1e-9
    assert torch.equal(walk.latents[:, 0], z)
    assert quotient.distance(walk.latents[:, -1], w, representation).max() < 1e-6
    if text in EXACT:
        # Every piece of a shortest path is a shortest path.
        middle = quotient.distance(walk.latents[:, 1], walk.latents[:, 3], representation)
        assert torch.allclose(middle, walk.length / 2, rtol=0, atol=1e-6)
    straight = (z - w).norm(dim=1)
    assert (walk.length < straight - 1e-3).any()


def test_paths_keep_the_layout_and_need_two_ends():
    z = torch.randn(3, 4, 4, 2, generator=generator())
    assert quotient.path(z, z.flip(0), "S4: 2 pairs", steps=3).latents.shape == (3, 3, 4, 4, 2)
    with pytest.raises(ValueError, match="at least 2 steps"):
        quotient.path(z, z, "S4: 2 pairs", steps=1)
    with pytest.raises(LatentError, match="as many latents"):
        quotient.path(z, z[:1], "S4: 2 pairs", steps=3)


MASKED = [
    "S5: 5 points x 2",
    "S5: 5 points",
    "S5: 5 points x 2 + 1 pairs + 2 trivial",
    "S5 x SO2: 1 points*1 + 1 points*0",
    "C3 x S5: 1 regular*points",
    "S9 x O2: 1 points*1",
    "O2 x S9: 1 vectors*points + 1 trivial*points",
]


@pytest.mark.parametrize("text", MASKED)
def test_what_stands_at_hidden_points_does_not_matter(text):
    representation, z, w = two(text, 8)
    n = next(
        f.n for f in getattr(representation.group, "factors", [representation.group]) if hasattr(f, "n") and f.n > 3
    )
    masks = tuple(torch.rand(8, n, generator=generator(seed)).argsort(dim=1) < n - 2 for seed in (3, 4))
    noise = [hidden_noise(representation, mask, seed) for mask, seed in zip(masks, (5, 6), strict=True)]
    found = quotient.align(w, z, representation, (masks[1], masks[0]))
    other = quotient.align(w + noise[1], z + noise[0], representation, (masks[1], masks[0]))
    assert torch.equal(found.latents, other.latents)
    assert torch.equal(found.distance, other.distance)
    assert torch.equal(found.mask, masks[0])
    assert not torch.equal(found.distance, quotient.distance(z + noise[0], w + noise[1], representation))
    g = representation.group.sample(8, generator(7))
    order = g if g.shape[1:] == (n,) and g.dtype == torch.int64 else symmetric_part(representation, g)
    moved_mask = masks[1].gather(1, order.argsort(dim=1))
    again = quotient.distance(z, representation.transform(w, g), representation, (masks[0], moved_mask))
    assert torch.allclose(again, found.distance, atol=1e-9) or not found.exact.all()


def symmetric_part(representation, g):
    parts = representation.group.split(g)
    return next(
        p
        for p, f in zip(parts, representation.group.factors, strict=True)
        if str(f).startswith("S") and "O" not in str(f)
    )


def hidden_noise(representation, mask, seed):
    """Noise at hidden points and at pairs with a hidden point, found by which numbers a swap of hidden points moves."""
    from lightning_invariant.quotient.found import hide

    noise = 10 * torch.randn(len(mask), representation.size, generator=generator(seed)).double()
    return noise - hide(representation, noise, mask)


def test_masked_sets_of_equal_size_equal_brute_force_over_bijections_of_visible_points():
    z, w = (torch.randn(6, 5, 2, generator=generator(seed)).double() for seed in (0, 1))
    masks = tuple(torch.rand(6, 5, generator=generator(seed)).argsort(dim=1) < 3 for seed in (3, 4))
    expected = []
    for x, y, a, b in zip(z, w, *masks, strict=True):
        expected.append(min(float((x[a] - y[b][list(p)]).norm()) for p in permutations(range(3))))
    found = quotient.distance(z, w, "S5: 5 points x 2", masks)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64))
    padded = quotient.distance(z * masks[0][..., None], w * masks[1][..., None], "S5: 5 points x 2")
    assert (padded < found - 1e-3).any(), "zeros in the place of hidden points let visible ones match nothing"
    table = quotient.distance(z, w, "S5: 5 points x 2", masks, pairwise=True)
    assert torch.allclose(table.diagonal(), found)


@pytest.mark.parametrize("search", ["_by_moving", "_by_cross_products"])
def test_listed_groups_match_visible_points_too(search, monkeypatch):
    for name in ("_by_moving", "_by_cross_products"):
        monkeypatch.setattr(finite, name, getattr(finite, search))
    z, w = (torch.randn(6, 4, 2, generator=generator(seed)).double() for seed in (0, 1))
    masks = tuple(torch.rand(6, 4, generator=generator(seed)).argsort(dim=1) < 2 for seed in (3, 4))
    found = quotient.distance(z.mT.flatten(1), w.mT.flatten(1), "C1 x S4: 2 regular*points", masks)
    assert solver_for(Representation.parse("C1 x S4: 2 regular*points")).name == LISTED
    assert torch.allclose(found, quotient.distance(z, w, "S4: 4 points x 2", masks))


def test_masked_graphs_equal_the_smaller_graphs():
    small = [torch.randn(4, 4, 4, generator=generator(seed)).double() for seed in (0, 1)]
    expected = quotient.distance(*small, "S4: 1 pairs")
    padded = [torch.nn.functional.pad(a, (0, 2, 0, 2), value=7.0) for a in small]
    mask = (torch.arange(6) < 4).expand(4, -1)
    order = torch.tensor([3, 5, 0, 2, 4, 1])
    moved = Representation.parse("S6: 1 pairs").transform(padded[1], order)
    masks = (mask, mask[:, order.argsort()])
    assert torch.allclose(quotient.distance(padded[0], moved, "S6: 1 pairs", masks), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_hidden_points_may_hold_nan_and_the_dtype_is_kept(dtype):
    z = torch.randn(3, 4, 2, generator=generator(), dtype=dtype)
    mask = (torch.arange(4) < 3).expand(3, -1)
    hidden = z.masked_fill(~mask[..., None], torch.nan)
    found = quotient.align(hidden, z[:1], "S4: 4 points x 2", (mask, mask[:1]))
    assert found.latents.dtype == dtype
    assert torch.equal(found.latents[0, :3], z[0, :3])
    assert not found.latents[:, 3].any()
    assert found.distance.isfinite().all()
    walk = quotient.path(hidden, hidden.flip(0), "S4: 4 points x 2", 3, mask)
    assert walk.latents.dtype == dtype
    assert walk.latents.isfinite().all()
    assert quotient.mean(hidden, "S4: 4 points x 2", mask).latent.dtype == dtype


def test_points_left_over_are_compared_with_zero():
    z, w = torch.tensor([[[1.0], [9.0], [0.0]]]), torch.tensor([[[2.0], [1.0], [5.0]]])
    masks = torch.tensor([[True, False, False]]), torch.tensor([[True, True, True]])
    # The point 1 meets 5, which costs 16, since 5 alone would cost 25; 2 and 1 are left.
    assert quotient.distance(z, w, "S3: 3 points", masks).item() == pytest.approx(21**0.5)


def test_paths_of_masked_sets_end_in_the_matched_points():
    representation, z, w = two("S5: 5 points x 2")
    mask = (torch.arange(5) < 3).expand(6, -1)
    walk = quotient.path(z, w, representation, 4, mask)
    assert torch.equal(walk.mask, mask)
    assert not walk.latents[..., 6:].any()
    steps = walk.latents.diff(dim=1).norm(dim=2).sum(dim=1)
    assert torch.allclose(steps, walk.length, atol=1e-9)


def test_masks_that_do_not_fit_are_refused():
    z = torch.zeros(2, 8)
    with pytest.raises(LatentError, match=r"boolean mask of shape \(2, 4\)"):
        quotient.align(z, z, "S4: points x 2", torch.ones(2, 4))
    with pytest.raises(LatentError, match=r"boolean mask of shape \(2, 4\)"):
        quotient.align(z, z, "S4: points x 2", torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(GroupError, match="leave the mask out"):
        quotient.align(z, z, "C8: regular", torch.ones(2, 8, dtype=torch.bool))
    with pytest.raises(LatentError, match="one latent to align to or as many"):
        quotient.align(torch.zeros(3, 8), z, "C8: regular")
