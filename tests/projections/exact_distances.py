"""Orbit distances by methods of their own, and published pairs that low-order invariants cannot tell apart."""

import numpy as np
import torch

KITE = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
TRAPEZOID = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 2.0], [2.0, 2.0]])
"""A kite and a trapezoid with the distances 1, 1, 2, 5, 5, 8 (squared), after Boutin and Kemper 2004."""

HOMOMETRIC = ((0, 1, 3, 4), (0, 1, 2, 5))
"""Two sets of places on a ring of 8 with the same differences, Patterson 1944; no turn or mirror relates them."""


def assignment_distance(x, y):
    """min over orders of |X - pi Y| for two sets (n, d)."""
    from scipy.optimize import linear_sum_assignment

    cost = torch.cdist(x.double(), y.double()).square().numpy()
    return float(np.sqrt(cost[linear_sum_assignment(cost)].sum()))


def procrustes_distance(x, y, *, special=False):
    """min over g in O(d) or SO(d) of |X - Y g| for two configurations (n, d), rows as vectors."""
    x, y = x.double(), y.double()
    u, s, vt = torch.linalg.svd(y.mT @ x)
    if special and torch.linalg.det(u @ vt) < 0:
        s = torch.cat([s[:-1], -s[-1:]])
    return float((x.square().sum() + y.square().sum() - 2 * s.sum()).clamp(min=0).sqrt())


def sign_distance(v, w):
    """min over a common sign of |v - s w|."""
    return float(min((v - w).double().norm(), (v + w).double().norm()))


def ratios(projection, distance, size, generator, pairs=300):
    """Feature distance over orbit distance on random pairs, half of them near to each other, in float64."""
    x = torch.randn(pairs, *size, generator=generator, dtype=torch.float64)
    y = torch.randn(pairs, *size, generator=generator, dtype=torch.float64)
    near = torch.arange(pairs)[:, None] % 2 == 0
    y = torch.where(near.reshape(pairs, *[1] * len(size)), x + 0.01 * y, y)
    features = (projection(x) - projection(y)).norm(dim=1)
    return features / torch.tensor([distance(a, b) for a, b in zip(x, y, strict=True)])


def squared_distances(points):
    """Sorted squared distances of all pairs."""
    return torch.pdist(points).square().sort().values
