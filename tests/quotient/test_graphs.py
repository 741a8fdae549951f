"""Distances between graphs: a certified solver for few points, bounds for more."""

from __future__ import annotations

import itertools

import pytest
import torch

from lightning_invariant import quotient
from lightning_invariant.groups import Representation
from lightning_invariant.quotient import pairs
from tests.projections.graphs import TWINS, graph, ring


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def shuffled(a: torch.Tensor, seed: int = 0) -> torch.Tensor:
    order = torch.randperm(len(a), generator=generator(seed))
    return a[order][:, order]


def random_graphs(count: int, n: int, seed: int) -> torch.Tensor:
    edges = (torch.rand(count, n, n, generator=generator(seed)) < 0.4).double().triu(1)
    return edges + edges.mT


def by_listing(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """The least distance over all orders of b (B, n, n), one after another."""
    orders = torch.tensor(list(itertools.permutations(range(a.shape[1]))))
    return torch.stack([(a - b[:, p][:, :, p]).flatten(1).norm(dim=1) for p in orders]).amin(dim=0)


@pytest.mark.parametrize("n", [1, 2, 4, 6, 7])
@pytest.mark.parametrize("kind", ["weights", "graphs"])
def test_small_graphs_equal_brute_force(n, kind):
    if kind == "graphs":
        a, b = random_graphs(12, n, 0), random_graphs(12, n, 1)
    else:
        a, b = (torch.randn(12, n, n, generator=generator(seed)).double() for seed in (0, 1))
    found = quotient.bounds(a, b, f"S{n}: 1 pairs")
    assert torch.allclose(found.upper, by_listing(a, b), atol=1e-12)
    assert torch.equal(found.lower, found.upper)
    if n > 2:
        assert ((a - b).flatten(1).norm(dim=1) > found.upper + 0.1).any()


@pytest.mark.parametrize("name", ["rings", "bicycles"])
def test_twin_graphs_have_a_certified_distance(name):
    a, b = (shuffled(side, seed)[None] for seed, side in enumerate(TWINS[name]))
    lower, upper = quotient.bounds(a, b, f"S{a.shape[1]}: 1 pairs")
    # Two edges are exchanged for two others, each counted in both directions.
    assert lower.item() == upper.item() == pytest.approx(8**0.5)
    same = quotient.bounds(a, shuffled(a[0], 5)[None], f"S{a.shape[1]}: 1 pairs")
    assert same.upper.item() == 0


def test_strongly_regular_twins_are_certainly_different_graphs():
    a, b = (shuffled(side, seed)[None] for seed, side in enumerate(TWINS["srg"]))
    lower, upper = quotient.bounds(a, b, "S16: 1 pairs", certify=False)
    assert 0 < lower <= upper
    assert quotient.distance(a, shuffled(a[0], 7)[None], "S16: 1 pairs").item() == 0


@pytest.mark.parametrize("n", [20, 40])
def test_large_graphs_have_bounds_and_find_themselves_again(n):
    a, b = random_graphs(3, n, 0), random_graphs(3, n, 1)
    text = f"S{n}: 1 pairs"
    lower, upper = quotient.bounds(a, b, text, certify=False)
    assert (lower > 0).all()
    assert (lower < upper).all()
    for seed in range(5):
        assert (lower <= (a - torch.stack([shuffled(x, seed) for x in b])).flatten(1).norm(dim=1)).all()
    again = torch.stack([shuffled(x, 3) for x in a])
    assert quotient.distance(again, a, text).max() == 0
    assert not quotient.is_exact(text)


def test_each_bound_is_below_the_true_distance_and_not_trivial():
    representation = Representation.parse("S6: 6 points x 2 + 2 pairs")
    z, w = (torch.nn.functional.normalize(representation.random(40, generator(seed)).double()) for seed in (0, 1))
    graphs = pairs._graphs(representation, z, w, None)
    true = quotient.distance(z, w, representation).square()
    for bound in (pairs._bound(graphs), pairs._eigenvalue_bound(graphs)):
        assert (bound <= true + 1e-12).all()
        assert bound.median() > 0.02


def test_gains_of_swaps_are_the_differences_of_costs():
    representation = Representation.parse("S5: 5 points x 2 + 2 pairs + 1 trivial")
    z, w = (representation.random(6, generator(seed)).double() for seed in (0, 1))
    graphs = pairs._graphs(representation, z, w, None)
    match = torch.stack([torch.randperm(5, generator=generator(seed)) for seed in range(6)])
    gains = pairs._swap_gains(graphs, match)
    for i, j in itertools.product(range(5), repeat=2):
        swapped = match.clone()
        swapped[:, [i, j]] = match[:, [j, i]]
        assert torch.allclose((graphs.cost(match) - graphs.cost(swapped)) / 2, gains[:, i, j])


def test_a_search_that_ends_early_leaves_a_valid_gap(monkeypatch):
    a, b = random_graphs(6, 8, 0), random_graphs(6, 8, 1)
    exact = quotient.distance(a, b, "S8: 1 pairs")
    monkeypatch.setattr(pairs, "PARTIAL", 20)
    lower, upper = quotient.bounds(a, b, "S8: 1 pairs")
    assert (lower <= exact + 1e-12).all()
    assert (upper >= exact - 1e-12).all()
    assert (lower < upper).any()


def test_directed_edges_are_not_taken_for_undirected_ones():
    forward = graph(3, []) + torch.tensor([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    path = torch.tensor([[0.0, 1, 1], [0, 0, 1], [0, 0, 0]], dtype=torch.float64)
    assert quotient.distance(forward[None], forward.mT[None], "S3: 1 pairs").item() == 0
    assert quotient.distance(forward[None], path[None], "S3: 1 pairs").item() == pytest.approx(2**0.5)


def test_a_mean_of_shuffled_noisy_graphs_is_near_the_graph():
    a = graph(8, [*ring(8), (0, 4)])
    noisy = torch.stack([shuffled(a + 0.05 * random_graphs(1, 8, seed)[0], seed) for seed in range(12)])
    found = quotient.mean(noisy, "S8: 1 pairs")
    assert found.converged
    assert quotient.distance(found.latent[None], a[None], "S8: 1 pairs") < 0.25
    assert (noisy.mean(dim=0) - a).norm() > 1


def grid():
    a = torch.zeros(5, 5, 5, 5, dtype=torch.float64)
    for i in range(5):
        for j in range(4):
            a[i, j, i, j + 1] = a[i, j + 1, i, j] = a[j, i, j + 1, i] = a[j + 1, i, j, i] = 1
    return a.reshape(25, 25)


def cube():
    bits = torch.arange(32)[:, None] ^ torch.arange(32)
    return (bits[..., None] == 2 ** torch.arange(5)).any(dim=2).double()


def paley(q=29):
    squares = torch.arange(1, q).square() % q
    return torch.isin((torch.arange(q)[:, None] - torch.arange(q)) % q, squares).double()


@pytest.mark.parametrize("graph", [grid(), cube(), paley()], ids=["grid", "cube", "paley"])
def test_copies_of_large_regular_graphs_are_brought_together(graph):
    n = len(graph)
    representation = Representation.parse(f"S{n}: 1 pairs")
    z = graph.reshape(1, -1).expand(4, -1)
    w = representation.transform(z, representation.group.sample(4, generator=torch.Generator().manual_seed(1)))
    assert quotient.distance(z, w, representation).max() < 1e-12
    w = w.clone()
    w[:, 1] = 1 - w[:, 1]
    assert quotient.distance(z, w, representation).tolist() == pytest.approx([1, 1, 1, 1])
