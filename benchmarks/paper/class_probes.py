"""Probes of classes where samples of one group are alike: scores, balanced too, and gaps with intervals over groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from benchmarks.paper.recipes import encoded
from benchmarks.paper.sections import Row
from lightning_invariant import projections as P
from lightning_invariant import quotient
from lightning_invariant.probes import accuracy, gap_interval, knn_neighbours, knn_vote, ridge_fit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor, nn

    from lightning_invariant.groups import Group
    from lightning_invariant.groups.actions import InputAction

RAW, MEAN, MAXIMUM, BEST, EXACT = "raw", "mean", "channel-wise max", "MaxFilter 512", "exact quotient metric"
"""Lines of the tables: latents as they are, three projections, and neighbours by exact orbit distance."""
ALONE = "invariant by itself"
"""The same network with a maximum over each field before its classifier, trained likewise."""
NEIGHBOURS, RETRIEVED, CHUNK = 5, 10, 250


class Samples(NamedTuple):
    """Inputs with their classes, and groups of which those of one are alike."""

    x: Tensor
    labels: Tensor
    groups: Tensor

    def moved(self, action: InputAction, group: Group, generator: torch.Generator) -> Samples:
        """Each by a random element."""
        return self._replace(x=action.transform(self.x, group.sample(len(self.x), generator)))

    def encoded(self, encoder: nn.Module) -> Grouped:
        """The same samples by their latents."""
        return Grouped(encoded(encoder, self.x), self.labels, self.groups)


def drawn(tensors: tuple[Tensor, ...], count: int, generator: torch.Generator) -> Samples:
    """So many samples at random; each is its own group where the tensors hold no groups."""
    rows = torch.randperm(len(tensors[0]), generator=generator)[:count]
    x, labels, *groups = (column[rows] for column in tensors)
    return Samples(x, labels, groups[0] if groups else rows)


class Grouped(NamedTuple):
    """Rows of latents or features, with classes and groups of samples that are alike.

    Args:
        rows: Shape (N, D).
        labels: Shape (N,).
        groups: Shape (N,).
    """

    rows: Tensor
    labels: Tensor
    groups: Tensor

    def mapped(self, project: Callable[[Tensor], Tensor] | None) -> Grouped:
        """The same samples by their features; as they are if None."""
        if project is None:
            return self
        with torch.no_grad():
            return self._replace(rows=torch.cat([project(part) for part in self.rows.split(1024)]))

    def at(self, rows: Tensor) -> Grouped:
        """Some of the samples."""
        return Grouped(*(column[rows] for column in self))


class Answers(NamedTuple):
    """What probes say of queries.

    Args:
        knn: Class by the 5 nearest, (M,).
        ridge: Class by a ridge, (M,); None where there are no features.
        near: Classes of the 10 nearest, (M, 10), nearest first; None where there are no neighbours.
    """

    knn: Tensor
    ridge: Tensor | None
    near: Tensor | None


def answers(bank: Grouped, queries: Grouped, exact: str | None = None, *, ridge: bool = True) -> Answers:
    """Neighbours and ridge.

    Args:
        bank: What the probes are fitted on.
        queries: Of other groups.
        exact: Representation under whose exact orbit distance neighbours are found; Euclidean distance if None.
        ridge: Whether a ridge is fitted; there is none by exact distances.
    """
    k = min(RETRIEVED, len(bank.rows))
    if exact is None:
        distances, rows = knn_neighbours(bank.rows, queries.rows, k=k)
    else:
        parts = [
            quotient.distance(part, bank.rows, exact, pairwise=True).topk(k, dim=1, largest=False)
            for part in queries.rows.split(CHUNK)
        ]
        distances, rows = (torch.cat(column) for column in zip(*parts, strict=True))
    near = bank.labels[rows]
    linear = None
    if ridge and exact is None:
        linear = ridge_fit(bank.rows, bank.labels, groups=bank.groups).predict(queries.rows)
    return Answers(knn_vote(distances[:, :NEIGHBOURS], near[:, :NEIGHBOURS]), linear, near)


def scores(found: Answers, truth: Tensor) -> dict[str, float]:
    """Accuracies, plain and balanced, and the precision of what is retrieved."""
    values = {"kNN": accuracy(found.knn, truth), "kNN, balanced": balanced(found.knn, truth)}
    if found.ridge is not None:
        values |= {"ridge": accuracy(found.ridge, truth), "ridge, balanced": balanced(found.ridge, truth)}
    if found.near is not None:
        values["precision at 10"] = (found.near == truth[:, None]).double().mean().item()
    return values


def balanced(guess: Tensor, truth: Tensor) -> float:
    """The mean over the classes that occur of the share that is found."""
    return sum(accuracy(guess[truth == label], truth[truth == label]) for label in truth.unique()) / len(truth.unique())


def gap_row(table: str, label: str, better: Answers, worse: Answers, queries: Grouped) -> Row:
    """What one map's probes have over another's, with the ends of the intervals over groups: -1 and 1 for too few."""
    values = {}
    for name, one, other in (("kNN", better.knn, worse.knn), ("ridge", better.ridge, worse.ridge)):
        if one is None or other is None:
            continue
        interval = gap_interval(one, other, queries.labels, queries.groups)
        gap = accuracy(one, queries.labels) - accuracy(other, queries.labels)
        low, high = (-1.0, 1.0) if interval is None else interval
        values |= {f"{name} gap": gap, f"{name} gap from": low, f"{name} gap to": high}
    return Row(table, label, values)


class Line(NamedTuple):
    """Features of bank and queries for one line of a table; by exact distances under `exact` if that is given."""

    label: str
    bank: Grouped
    queries: Grouped
    exact: str | None = None


def map_lines(encoder: nn.Module, text: str, bank: Samples, queries: Samples) -> list[Line]:
    """Latents of one network as they are, by each projection, and by exact distances.

    Args:
        encoder: Gives latents of the representation `text`.
        text: How the group acts on them.
        bank: What probes are fitted on.
        queries: What they are asked about.
    """
    known, asked = bank.encoded(encoder), queries.encoded(encoder)
    maps = {RAW: None, MEAN: P.OrbitMean(text), MAXIMUM: P.ChannelMax(text), BEST: P.MaxFilter(text, 512)}
    lines = [Line(label, known.mapped(project), asked.mapped(project)) for label, project in maps.items()]
    return [*lines, Line(EXACT, known, asked, text)]


def alone_lines(encoder: nn.Module, text: str, bank: Samples, queries: Samples) -> list[Line]:
    """The invariant architecture by its own features, and its latents by the other maps."""
    lines = {line.label: line for line in map_lines(encoder, text, bank, queries)}
    own = lines.pop(MAXIMUM)._replace(label=ALONE)
    return [own, *(lines[label]._replace(label=f"{ALONE}: {label}") for label in (RAW, BEST, EXACT))]


def answered(lines: Sequence[Line]) -> dict[str, Answers]:
    """What the probes of each line say."""
    return {line.label: answers(line.bank, line.queries, line.exact) for line in lines}


def line_rows(table: str, lines: Sequence[Line], found: Mapping[str, Answers]) -> list[Row]:
    """The scores of each line, with its number of features."""
    return [
        Row(table, line.label, scores(found[line.label], line.queries.labels), {"size": line.bank.rows.shape[1]})
        for line in lines
    ]
