"""S_n on pairs of points, with features of points beside them: the quadratic assignment problem.

The squared distance of two latents under a permutation is the sum of squared differences of matched points and of
matched pairs. A local search finds a good permutation; partial permutations whose bound is no better are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.groups.finite_blocks import Pairs, Points
from lightning_invariant.quotient.found import BONUS, Found
from lightning_invariant.quotient.points import best_orders

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.quotient.found import Masks

EXACT = 9
"""Largest n whose partial permutations are always followed to the end."""
SMALL = 16
"""Largest n whose partial permutations are followed a little when no certificate is asked for."""
NUMBERS = 2**22
"""Numbers that are held at one time."""
PARTIAL, FEW = 2**19, 2**12
"""Most partial permutations at one time, with and without a certificate; S_9 has fewer than the first. Beyond it the
search ends with the bound reached."""
TOLERANCE = 1e-12
"""Permutations that are better by less than this share of the squared norms are not looked for."""
STARTS, GROWN, SWAPS = 24, 32, 4
"""Permutations that the local search starts from, most that are grown for more points beside them, and most swaps from
each as a multiple of n."""


@dataclass(frozen=True)
class _Graphs:
    """P pairs of graphs; visibility is one more feature of points.

    Args:
        x: Features of points on the side of z, (P, n, p).
        y: On the side of w.
        a: Features of pairs on the side of z, (P, n, n, c).
        b: On the side of w.
    """

    x: Float[Tensor, "P n p"]
    y: Float[Tensor, "P n p"]
    a: Float[Tensor, "P n n c"]
    b: Float[Tensor, "P n n c"]

    @property
    def n(self) -> int:
        return self.a.shape[1]

    def rows(self, index: Tensor | slice) -> _Graphs:
        return _Graphs(self.x[index], self.y[index], self.a[index], self.b[index])

    def point_costs(self) -> Tensor:
        """Cost of matching point i of z to point j of w by their own features, (P, n, n)."""
        diagonal = [side.diagonal(dim1=1, dim2=2).mT for side in (self.a, self.b)]
        u, v = torch.cat([self.x, diagonal[0]], dim=-1), torch.cat([self.y, diagonal[1]], dim=-1)
        return (u[:, :, None] - v[:, None]).square().sum(dim=-1)

    def cost(self, match: Tensor) -> Tensor:
        """Cost of matching point i of z to point match[i] of w, (P,)."""
        rows = torch.arange(len(match), device=match.device)[:, None]
        points = (self.x - self.y[rows, match]).square().sum(dim=(1, 2))
        pairs = self.a - self.b[rows[:, :, None], match[:, :, None], match[:, None, :]]
        return points + pairs.square().sum(dim=(1, 2, 3))


def match_graphs(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None, *, certify: bool) -> Found:
    """Return the best permutation found for paired rows (P, D).

    Args:
        representation: Of S_n on pairs, and on points.
        z: Latents.
        w: Latents.
        masks: Which points exist.
        certify: Whether partial permutations are followed for more than `EXACT` points as far as `PARTIAL` allows.

    References:
        Gilmore 1962 and Lawler 1963 for the bound; Finke, Burkard and Rendl 1987 for that by eigenvalues.
    """
    graphs = _graphs(representation, z, w, masks)
    found = []
    for rows in torch.arange(len(z), device=z.device).split(
        max(1, NUMBERS // ((STARTS + GROWN) * graphs.a[:1].numel()))
    ):
        some = graphs.rows(rows)
        match, cost = _swap_search(some)
        least = torch.maximum(_bound(some), _eigenvalue_bound(some))
        if graphs.n <= SMALL or certify:
            most = PARTIAL if graphs.n <= EXACT or certify else FEW
            match, cost, least = _follow(some, match, cost, least, most)
        found.append(Found(match.argsort(dim=1), ((cost - least) / 2).clamp(min=0)))
    return Found(*(torch.cat(column) for column in zip(*found, strict=True)))


def _graphs(representation: Representation, z: Tensor, w: Tensor, masks: Masks | None) -> _Graphs:
    sides, n = [], representation.group.n  # type: ignore[attr-defined]
    for number, side in enumerate((z, w)):
        blocks = list(zip(representation, representation.split(side), strict=True))
        points = [part for block, part in blocks if isinstance(block, Points)]
        if masks is not None:
            points.append((BONUS**0.5 * masks[number].to(side))[..., None])
        pairs = [part.unflatten(1, (n, n)) for block, part in blocks if isinstance(block, Pairs)]
        sides.append(
            (torch.cat(points, dim=-1) if points else side.new_zeros(len(side), n, 0), torch.cat(pairs, dim=-1))
        )
    (x, a), (y, b) = sides
    return _Graphs(x, y, a, b)


def _swap_search(graphs: _Graphs) -> tuple[Tensor, Tensor]:
    """Swaps of two matches as long as one lowers the cost, from several starts; the best match and its cost."""
    count, n = graphs.x.shape[:2]
    generator = torch.Generator().manual_seed(0)
    random = torch.rand(STARTS - 3, n, generator=generator, dtype=torch.float64).argsort(dim=1).to(graphs.x.device)
    starts = torch.cat([torch.arange(n, device=random.device)[None], random])[None].expand(count, -1, -1)
    # Unlike points are told apart by their own features and their sorted pairs, more of them by walks of two and three.
    costs = graphs.point_costs() + _row_costs(graphs.a, graphs.b)
    walks = costs + sum(_row_costs(u, v) for u, v in zip(_walks(graphs.a), _walks(graphs.b), strict=True))
    near = [best_orders(-some).argsort(dim=1)[:, None] for some in (costs, walks)]
    if n > EXACT:
        near.append(_grown(graphs, walks))
    match = torch.cat([*near, starts], dim=1)
    tried, match = match.shape[1], match.flatten(0, 1)
    many = graphs.rows(torch.arange(count, device=match.device).repeat_interleave(tried))
    rows = torch.arange(len(match), device=match.device)
    for _ in range(SWAPS * n):
        gain, swap = _swap_gains(many.rows(rows), match[rows]).flatten(1).max(dim=1)
        better = gain > TOLERANCE
        rows, swap = rows[better], swap[better]
        if len(rows) == 0:
            break
        i, j = swap // n, swap % n
        match[rows, i], match[rows, j] = match[rows, j], match[rows, i]
    cost, best = many.cost(match).reshape(count, tried).min(dim=1)
    return match.reshape(count, tried, n)[torch.arange(count, device=best.device), best], cost


def _grown(graphs: _Graphs, costs: Tensor) -> Tensor:
    """Matches (P, S, n) that grow from one pair of points, point by point to the likest one that is left.

    Points that look alike from afar, as in a grid, are told apart by their walks to the points that are matched.
    """
    count, n = graphs.x.shape[:2]
    rows, order = torch.arange(count, device=costs.device), _connected_order(graphs)
    a, b = (torch.cat([side, *_walks(side)], dim=-1) for side in (graphs.a, graphs.b))
    place = torch.linspace(0, n - 1, min(n, GROWN), device=costs.device).round().long().expand(count, -1)
    taken = costs.new_zeros(count, place.shape[1], n, dtype=torch.bool)
    grown, places = costs.new_zeros(count, place.shape[1], n, n), []
    for step in range(n):
        point = order[:, step]
        if step:
            price = costs[rows, point][:, None] + grown[rows, :, point]
            place = price.masked_fill(taken, torch.inf).argmin(dim=2)
        places.append(place)
        taken.scatter_(2, place[..., None], True)
        for side, other in ((a, b), (a.transpose(1, 2), b.transpose(1, 2))):
            mine, theirs = side[rows, :, point], other.transpose(1, 2)[rows[:, None], place]
            grown += (mine[:, None, :, None] - theirs[:, :, None]).square().sum(dim=-1)
    match = torch.stack(places, dim=2)
    return torch.empty_like(match).scatter_(2, order[:, None].expand_as(match), match)


def _walks(a: Tensor) -> list[Tensor]:
    """Features of pairs along walks of two and of three steps, channel by channel, with the norm of one step."""
    one = a.movedim(-1, 1)
    scale = one.flatten(2).norm(dim=2)[..., None, None].clamp(min=torch.finfo(a.dtype).tiny)
    two = one @ one / scale
    return [walk.movedim(1, -1) for walk in (two, two @ one / scale)]


def _swap_gains(graphs: _Graphs, match: Tensor) -> Tensor:
    """How much the product grows when the matches of r and s are exchanged, (P, n, n)."""
    rows = torch.arange(len(match), device=match.device)[:, None]
    y = graphs.y[rows, match]
    a = graphs.a.movedim(-1, 1)
    b = graphs.b[rows[:, :, None], match[:, :, None], match[:, None, :]].movedim(-1, 1)
    m = graphs.x @ y.mT
    total = m + m.mT - m.diagonal(dim1=1, dim2=2)[:, :, None] - m.diagonal(dim1=1, dim2=2)[:, None, :]
    for cross in (a.mT @ b, a @ b.mT):
        d = cross.diagonal(dim1=2, dim2=3)
        total = total + (cross + cross.mT - d[..., :, None] - d[..., None, :]).sum(dim=1)
    # The sums over all points count r and s themselves wrongly.
    ar, br = (side.diagonal(dim1=2, dim2=3)[..., :, None] for side in (a, b))
    as_, bs = ar.mT, br.mT
    wrong = (ar - a) * (b - br) + (a.mT - as_) * (bs - b.mT) + (ar - a.mT) * (b.mT - br) + (a - as_) * (bs - b)
    right = (ar - as_) * (bs - br) + (a - a.mT) * (b.mT - b)
    return total + (right - wrong).sum(dim=1)


def _row_costs(a: Tensor, b: Tensor) -> Tensor:
    """Least cost of the pairs (i, k), k != i, if those of row i are matched to those of row j: sorted, (P, n, n)."""
    n = a.shape[1]
    if n == 1:
        return a.new_zeros(len(a), 1, 1)
    other = ~torch.eye(n, dtype=torch.bool, device=a.device)
    u, v = (side[:, other].unflatten(1, (n, n - 1)).sort(dim=2).values.flatten(2) for side in (a, b))
    return u.square().sum(dim=2)[:, :, None] + v.square().sum(dim=2)[:, None, :] - 2 * u @ v.mT


def _least_assignment(costs: Tensor) -> Tensor:
    """A lower bound on the least sum of an assignment, from reduced rows and columns: (P, n, n) to (P,)."""
    rows = costs.amin(dim=2)
    return rows.sum(dim=1) + (costs - rows[:, :, None]).amin(dim=1).sum(dim=1)


def _bound(graphs: _Graphs) -> Tensor:
    """Gilmore and Lawler: each point is matched as if its pairs could be matched by themselves."""
    costs = graphs.point_costs() + _row_costs(graphs.a, graphs.b)
    place = best_orders(-costs).argsort(dim=1)
    return costs.gather(2, place[..., None]).sum(dim=(1, 2))


def _eigenvalue_bound(graphs: _Graphs) -> Tensor:
    """No permutation brings symmetric matrices nearer than their sorted eigenvalues, nor sets than their spectra."""
    a, b = (side.movedim(-1, 1) for side in (graphs.a, graphs.b))
    even = [torch.linalg.eigvalsh((side + side.mT) / 2) for side in (a, b)]
    odd = [torch.linalg.svdvals((side - side.mT) / 2) for side in (a, b)]
    points = [torch.linalg.svdvals(side) for side in (graphs.x, graphs.y)]
    return sum((u - v).square().flatten(1).sum(dim=1) for u, v in (even, odd, points))  # type: ignore[return-value]


def _follow(graphs: _Graphs, match: Tensor, cost: Tensor, least: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    """Partial permutations, point after point, without those that cannot be better; match, cost and lower bound."""
    open_ = (cost > least + TOLERANCE).nonzero()[:, 0]
    for rows in open_.split(max(1, 2**14 // graphs.n**2)):
        match[rows], cost[rows], least[rows] = _branch(graphs.rows(rows), match[rows], cost[rows], least[rows], most)
    least[cost <= least + TOLERANCE] = cost[cost <= least + TOLERANCE]
    return match, cost, least


def _branch(graphs: _Graphs, match: Tensor, cost: Tensor, least: Tensor, most: int) -> tuple[Tensor, Tensor, Tensor]:
    count, n, device = len(cost), graphs.n, cost.device
    order = _connected_order(graphs)
    rows = torch.arange(count, device=device)[:, None]
    a, x = graphs.a[rows[:, :, None], order[:, :, None], order[:, None, :]], graphs.x[rows, order]
    ordered = _Graphs(x, graphs.y, a, graphs.b)
    start = torch.arange(n, device=device).expand(count, -1)
    level = _Level(rows[:, 0], start[:, :0], start, cost.new_zeros(count), ordered.point_costs(), least)
    for _ in range(n):
        level = level.next(ordered, cost)
        if len(level.pair) > most:
            if count > 1:
                halves = (rows[: count // 2, 0], rows[count // 2 :, 0])
                parts = [_branch(graphs.rows(half), match[half], cost[half], least[half], most) for half in halves]
                match, cost, least = (torch.cat(column) for column in zip(*parts, strict=True))
                return match, cost, least
            reached = torch.minimum(level.bound.min(), cost)
            return match, cost, torch.maximum(least, reached)
    best = cost.scatter_reduce(0, level.pair, level.done, "amin")
    winners = (level.done <= best[level.pair]) & (level.done < cost[level.pair])
    pair = level.pair[winners]
    match = match.clone()
    match[pair] = torch.empty_like(match[pair]).scatter_(1, order[pair], level.taken[winners])
    return match, best, best.clone()


@dataclass(frozen=True)
class _Level:
    """Partial permutations that match the first k points, and may still be better than the best known.

    Args:
        pair: Which pair of graphs, (F,).
        taken: What the first k points are matched to, (F, k).
        free: What is left, (F, m).
        done: Cost of what is matched, (F,).
        costs: Cost of each further match by the points' features and by their pairs with matched points, (F, m, m).
        bound: Lower bound on the cost of every completion, (F,).
    """

    pair: Tensor
    taken: Tensor
    free: Tensor
    done: Tensor
    costs: Tensor
    bound: Tensor

    def next(self, graphs: _Graphs, known: Tensor) -> _Level:
        """Match one more point in every way.

        Args:
            graphs: With the points of z in the order of matching.
            known: Best known cost of each pair, (P,).
        """
        m = self.free.shape[1]
        size = m**2 * m * (graphs.a.shape[-1] + 2)
        parts = [
            _Level(*fields)._children(graphs, known)
            for fields in zip(*(field.split(max(1, NUMBERS // size)) for field in self._fields), strict=True)
        ]
        return _Level(*(torch.cat(column) for column in zip(*(part._fields for part in parts), strict=True)))

    @property
    def _fields(self) -> tuple[Tensor, ...]:
        return (self.pair, self.taken, self.free, self.done, self.costs, self.bound)

    def _children(self, graphs: _Graphs, known: Tensor) -> _Level:
        m, device = self.free.shape[1], self.free.device
        k = graphs.n - m
        pair = self.pair.repeat_interleave(m)
        done = (self.done[:, None] + self.costs[:, 0]).flatten()
        hopeful = done < known[pair] - TOLERANCE
        parent, choice = hopeful.nonzero()[:, 0] // m, hopeful.nonzero()[:, 0] % m
        pair, done, target = pair[hopeful], done[hopeful], self.free[parent, choice]
        left = torch.arange(m - 1, device=device) + (torch.arange(m - 1, device=device) >= choice[:, None])
        free = self.free[parent].gather(1, left)
        taken = torch.cat([self.taken[parent], target[:, None]], dim=1)
        if m == 1:
            return _Level(pair, taken, free, done, done.new_zeros(len(done), 0, 0), done)
        costs = self.costs[parent, 1:].gather(2, left[:, None, :].expand(-1, m - 1, -1))
        i, j = pair[:, None], target[:, None]
        for mine, other in (
            (graphs.a[:, k + 1 :, k][pair], graphs.b[i, free, j]),
            (graphs.a[:, k, k + 1 :][pair], graphs.b[i, j, free]),
        ):
            costs = costs + (mine[:, :, None] - other[:, None]).square().sum(dim=-1)
        rest = graphs.b[i[:, :, None], free[:, :, None], free[:, None, :]]
        bound = done + _least_assignment(costs + _row_costs(graphs.a[:, k + 1 :, k + 1 :][pair], rest))
        kept = bound < known[pair] - TOLERANCE
        return _Level(*(field[kept] for field in (pair, taken, free, done, costs, bound)))


def _connected_order(graphs: _Graphs) -> Tensor:
    """An order of the points of z in which each is tied to earlier ones as strongly as possible, (P, n)."""
    weight = graphs.a.square().sum(dim=-1)
    weight = weight + weight.mT
    total = weight.sum(dim=2)
    tied, order = 1e-3 * total, []
    for _ in range(graphs.n):
        best = tied.argmax(dim=1, keepdim=True)
        order.append(best)
        tied = tied + weight.gather(1, best[:, :, None].expand(-1, -1, graphs.n))[:, 0]
        tied = tied.scatter(1, best, -torch.inf)
    return torch.cat(order, dim=1)
