"""The largest value of smooth functions on a circle or on SO(3), with a certificate, for many functions at once.

A function is a finite sum of matrix coefficients, so near any element it is known to second order, and a bound on its
third derivative says how far it can be from that. Cells that cannot hold the maximum are dropped, others are divided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product as cartesian
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

TOLERANCE = 1e-12
"""Cells are dropped when they promise no more than this share of the largest possible value above the best found."""
SLACK = 1e-14
"""Values that differ by less than this share of the scale are equal."""
NUMBERS = 2**22
"""Numbers that are held at one time."""
CELLS = 4096
"""Most cells of one function; beyond it, such as along a curve of maxima, they are left and their bound is reported."""
LEVELS, STEPS, STARTS = 48, 8, 8
"""Most divisions; Newton's steps of a climb; cells that are climbed from before anything is divided."""


@dataclass(frozen=True)
class Landscape:
    """P functions f(g) = <c, phi(g)>, given by f(exp(v) g) = f + <gradient, v> + <v, Hessian v> / 2 + O(|v|^3).

    Args:
        features: phi, from elements (c, *element_shape) to (c, Q).
        coefficients: c, then those of the m first derivatives, then those of the second ones, the upper triangle of the
            Hessian row by row: (P, 1 + m + m (m + 1) / 2, Q).
        third: Bound on the third derivative of f(exp(t v) g) for |v| = 1, (P,).
        scale: Bound on |f|, (P,).
        exponential: From coordinates (c, m) to elements.
        compose: The product of elements.
        centres: Coordinates of the centres of cubes that cover the group, (N, m). exp(u) and exp(v) are at most |u - v|
            apart.
        half: Half the side of a cube.
        reach: Largest norm of the coordinates that are needed.
    """

    features: Callable[[Tensor], Tensor]
    coefficients: Float[Tensor, "P J Q"]
    third: Float[Tensor, " P"]
    scale: Float[Tensor, " P"]
    exponential: Callable[[Tensor], Tensor]
    compose: Callable[[Tensor, Tensor], Tensor]
    centres: Float[Tensor, "N m"]
    half: float
    reach: float

    @property
    def m(self) -> int:
        """Dimension of the group."""
        return self.centres.shape[1]


def maximise(landscape: Landscape, *, certify: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best elements found, their values, and certified bounds on the maxima.

    Args:
        landscape: The functions.
        certify: Whether to divide cells until the bound is met; otherwise the best cells are climbed, and the bound is
            the scale.

    Returns:
        Elements (P, *element_shape), values (P,), bounds (P,); a bound equals the value where no element has a larger
        one by more than `TOLERANCE` of the scale.
    """
    search, half = _Search(landscape), landscape.half
    search.start()
    if not certify:
        search.polish()
        return search.element, search.value, torch.maximum(landscape.scale, search.value)
    cells = search.first()
    for _ in range(LEVELS):
        if len(cells.rows) == 0:
            break
        half /= 2
        cells = search.divide(cells, half)
    search.give_up(cells)
    search.polish()
    return search.element, search.value, torch.maximum(search.left, search.value)


class _Cells(NamedTuple):
    """Cells of one size: the function that each belongs to, its centre, and a bound on the function in it."""

    rows: Tensor
    centres: Tensor
    bound: Tensor

    def where(self, index: Tensor) -> _Cells:
        return _Cells(*(column[index] for column in self))

    def pieces(self, size: int) -> Iterator[_Cells]:
        columns = (column.split(max(1, size)) for column in self)
        return (_Cells(*piece) for piece in zip(*columns, strict=True))

    @staticmethod
    def join(cells: list[_Cells]) -> _Cells:
        return _Cells(*(torch.cat(column) for column in zip(*cells, strict=True)))


class _Search:
    def __init__(self, landscape: Landscape) -> None:
        self.land, count, m = landscape, len(landscape.coefficients), landscape.m
        device = landscape.coefficients.device
        self.value = torch.full((count,), -torch.inf, dtype=torch.float64, device=device)
        self.left = self.value.clone()
        """Bound over the cells that were given up."""
        self.element = landscape.exponential(landscape.centres[:1]).repeat_interleave(count, dim=0)
        rows, columns = torch.triu_indices(m, m, device=device)
        self.entry = torch.zeros(m, m, dtype=torch.int64, device=device)
        self.entry[rows, columns] = torch.arange(1 + m, 1 + m + len(rows), device=device)
        self.entry[columns, rows] = self.entry[rows, columns]

    def start(self) -> None:
        """Climb from the best centres of the cells that cover the group."""
        land, radius, count = self.land, self.land.m**0.5 * self.land.half, len(self.value)
        values = [land.coefficients[:, 0] @ land.features(land.exponential(part)).mT for part in self._parts()]
        every, values = torch.arange(count, device=self.value.device), torch.cat(values, dim=1)
        for number in values.topk(min(STARTS, values.shape[1]), dim=1).indices.unbind(dim=1):
            self._climb(every, land.exponential(land.centres[number]), radius)

    def first(self) -> _Cells:
        """Those of the cells that cover the group that may hold a maximum."""
        land, radius = self.land, self.land.m**0.5 * self.land.half
        count, terms, _ = land.coefficients.shape
        every, kept = torch.arange(count, device=land.coefficients.device), []
        for part in self._parts():
            phi = land.features(land.exponential(part))
            expansion = (land.coefficients.flatten(0, 1) @ phi.mT).unflatten(0, (count, terms)).mT.flatten(0, 1)
            rows = every.repeat_interleave(len(part))
            bound = self._bound(rows, expansion, radius)
            kept.append(self._contested(_Cells(rows, part.repeat(count, 1), bound)))
        return _Cells.join(kept)

    def _parts(self) -> tuple[Tensor, ...]:
        """The centres, as many together as memory is given to."""
        count, terms, size = self.land.coefficients.shape
        return self.land.centres.split(max(1, NUMBERS // max(1, count * terms, 4 * size)))

    def divide(self, cells: _Cells, half: float) -> _Cells:
        """Return the parts of cells that may still hold a maximum; where they are too many they are given up."""
        land, radius = self.land, self.land.m**0.5 * half
        corners = torch.tensor(list(cartesian((-half, half), repeat=land.m)), dtype=torch.float64).to(cells.centres)
        kept = []
        for some in cells.pieces(NUMBERS // (len(corners) * land.coefficients[0].numel())):
            rows = some.rows.repeat_interleave(len(corners))
            centres = (some.centres[:, None] + corners).flatten(0, 1)
            near = centres.norm(dim=1) <= land.reach + radius
            rows, centres = rows[near], centres[near]
            elements = land.exponential(centres)
            expansion = self._expansion(rows, elements)
            top = self.value.scatter_reduce(0, rows, expansion[:, 0], "amax")
            best = ((expansion[:, 0] >= top[rows]) & (expansion[:, 0] > self.value[rows])).nonzero()[:, 0]
            if len(best):
                self._climb(rows[best], elements[best], radius)
            kept.append(self._contested(_Cells(rows, centres, self._bound(rows, expansion, radius))))
        parts = self._contested(_Cells.join(kept))
        crowded = (torch.bincount(parts.rows, minlength=len(self.value)) > CELLS)[parts.rows]
        self.give_up(parts.where(crowded))
        return parts.where(~crowded)

    def give_up(self, cells: _Cells) -> None:
        """Leave cells undivided."""
        self.left = self.left.scatter_reduce(0, cells.rows, cells.bound, "amax")

    def _contested(self, cells: _Cells) -> _Cells:
        return cells.where(cells.bound > self._beaten(cells.rows))

    def _beaten(self, rows: Tensor) -> Tensor:
        return (self.value + TOLERANCE * self.land.scale)[rows]

    def _expansion(self, rows: Tensor, elements: Tensor) -> Tensor:
        """Value, gradient and Hessian, (c, J)."""
        return (self.land.coefficients[rows] @ self.land.features(elements)[:, :, None])[..., 0]

    def _climb(self, rows: Tensor, elements: Tensor, radius: float) -> Tensor:
        """Newton's steps from elements, and the last elements; the best on the way are kept."""
        for step in range(STEPS + 1):
            expansion = self._expansion(rows, elements)
            top = self.value.scatter_reduce(0, rows, expansion[:, 0], "amax")
            winners = (expansion[:, 0] >= top[rows]) & (expansion[:, 0] > self.value[rows])
            self.element[rows[winners]], self.value = elements[winners], top
            if step == STEPS:
                break
            weights, axes, slopes = self._axes(expansion)
            # Uphill along every axis, as if f were bent downwards along all of them.
            least = 1e-9 * self.land.scale[rows, None] + torch.finfo(weights.dtype).tiny
            move = slopes / weights.abs().clamp(min=least)
            move = move * (radius / move.norm(dim=1, keepdim=True).clamp(min=radius))
            elements = self.land.compose(self.land.exponential((axes @ move[..., None])[..., 0]), elements)
        return elements

    def polish(self) -> None:
        """At a top values agree long before elements do: where Newton's last element is as good, it is taken."""
        every, radius = torch.arange(len(self.value), device=self.value.device), self.land.m**0.5 * self.land.half
        elements = self._climb(every, self.element.clone(), radius)
        good = self._expansion(every, elements)[:, 0] >= self.value - SLACK * self.land.scale
        self.element[good] = elements[good]

    def _axes(self, expansion: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The Hessian's eigenvalues and axes, and the slope along each axis."""
        m = self.land.m
        hessian, gradient = expansion[:, self.entry], expansion[:, 1 : 1 + m]
        if m == 1:
            return hessian[:, 0], torch.ones_like(hessian), gradient
        weights, axes = torch.linalg.eigh(hessian)
        return weights, axes, (axes.mT @ gradient[..., None])[..., 0]

    def _bound(self, rows: Tensor, expansion: Tensor, radius: float) -> Tensor:
        """The largest value within a radius that expansion and third derivative allow."""
        land, m = self.land, self.land.m
        rest = expansion[:, 0] + land.third[rows] * radius**3 / 6
        hessian, slope = expansion[:, self.entry], expansion[:, 1 : 1 + m].norm(dim=1)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        # No eigenvalue is above the largest of these sums; eigenvalues are computed where this does not settle it.
        steepest = (hessian.abs().sum(dim=2) - diagonal.abs() + diagonal).amax(dim=1).clamp(min=0)
        bound = rest + slope * radius + steepest * radius**2 / 2
        open_ = (bound > self._beaten(rows)).nonzero()[:, 0]
        weights, _, slopes = self._axes(expansion[open_])
        # Along each axis the top of a parabola, or its end.
        end = torch.where(weights < 0, slopes.abs() / weights.abs().clamp(min=1e-300), torch.inf).clamp(max=radius)
        tops = (slopes.abs() * end + weights * end**2 / 2).sum(dim=1)
        bound[open_] = torch.minimum(bound[open_], rest[open_] + tops)
        return bound
