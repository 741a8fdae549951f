"""Pairs of graphs that colour refinement cannot tell apart, as adjacency matrices."""

import torch


def graph(n, edges):
    a = torch.zeros(n, n, dtype=torch.float64)
    for i, j in edges:
        a[i, j] = a[j, i] = 1.0
    return a


def ring(size, start=0):
    return [(start + i, start + (i + 1) % size) for i in range(size)]


def square(joined):
    """A graph on the places of a 4 x 4 board that says of two steps whether they are joined."""
    places = [(i, j) for i in range(4) for j in range(4)]
    steps = {(u, v): ((v[0] - u[0]) % 4, (v[1] - u[1]) % 4) for u in places for v in places if u != v}
    return graph(16, [(4 * u[0] + u[1], 4 * v[0] + v[1]) for (u, v), step in steps.items() if joined(*step)])


TWINS = {
    "rings": (graph(6, ring(6)), graph(6, ring(3) + ring(3, 3))),
    "bicycles": (graph(10, [*ring(10), (0, 5)]), graph(10, [*ring(5), *ring(5, 5), (0, 5)])),
    "srg": (
        square(lambda i, j: (i == 0) != (j == 0)),
        square(lambda i, j: (i, j) in {(0, 1), (0, 3), (1, 0), (3, 0), (1, 1), (3, 3)}),
    ),
}
"""A ring of six and two triangles; decalin and bicyclopentyl; the 4 x 4 rook graph and the Shrikhande graph."""
