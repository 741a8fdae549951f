"""What recipes share whose group moves inputs exactly: outlines that are shifted, volumes that are turned."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from benchmarks.paper.class_probes import (
    ALONE,
    BEST,
    EXACT,
    RAW,
    Answers,
    Samples,
    alone_lines,
    answered,
    answers,
    gap_row,
    line_rows,
    map_lines,
    scores,
)
from benchmarks.paper.recipes import encoded
from benchmarks.paper.sections import Claim, Headline, Row
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import equivariance_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.paper.averages import Table
    from benchmarks.paper.recipes import Fitted
    from lightning_invariant.groups.actions import InputAction

EQUIVARIANT, HELD, CHECKED = "equivariant", 1e-4, 100
ERROR = "largest equivariance error"


class Task(NamedTuple):
    """What is asked of two networks, the equivariant one and the one that is invariant by itself.

    Args:
        name: First words of the headings of its tables.
        fits: The networks, by `EQUIVARIANT` and `ALONE`.
        action: How the group moves inputs.
        representation: How it moves latents.
    """

    name: str
    fits: Mapping[str, Fitted]
    action: InputAction
    representation: str


def titles(name: str) -> tuple[str, str, str]:
    """Headings of the probes, the gaps and the classifiers."""
    return f"{name}: probes", f"{name}: projected minus raw latents, with the 95% interval", f"{name}: the networks"


def rows_of(task: Task, bank: Samples, queries: Samples, seed: int) -> list[Row]:
    """All tables, for queries that random elements move.

    Args:
        task: What is asked.
        bank: Samples as they come, for the probes.
        queries: Others as they come.
        seed: Of the elements.
    """
    probes, gaps, heads = titles(task.name)
    group, text = Representation.parse(task.representation).group, task.representation
    moved = queries.moved(task.action, group, torch.Generator().manual_seed(seed))
    encoder = task.fits[EQUIVARIANT].network.encoder
    lines = map_lines(encoder, text, bank, moved)
    lines += alone_lines(task.fits[ALONE].network.encoder, text, bank, moved)
    found, easy = answered(lines), queries.encoded(encoder)
    upright = scores(answers(lines[0].bank, easy), easy.labels)
    rows = [Row(probes, f"{RAW}, queries as they come too", upright, {"size": easy.rows.shape[1]})]
    rows += line_rows(probes, lines, found)
    rows.append(gap_row(gaps, "all labels", found[BEST], found[RAW], lines[0].queries))
    return rows + [_network(heads, label, task, queries, moved) for label in task.fits]


def _network(table: str, label: str, task: Task, queries: Samples, moved: Samples) -> Row:
    """Accuracy of a network's own classifier, and the largest error of its encoder over the elements."""
    network, x = task.fits[label].network, queries.x[:CHECKED]
    values = {}
    for name, part in (("as they come", queries), ("moved", moved)):
        guess = encoded(network, part.x).argmax(dim=1)
        values[name] = scores(Answers(guess, None, None), part.labels)["kNN"]
    z, errors = encoded(network.encoder, x), []
    for g in Representation.parse(task.representation).group.elements()[1:]:
        every = g.expand(len(x))
        after = encoded(network.encoder, task.action.transform(x, every))
        errors += equivariance_errors(after, z, task.representation, every).values()
    return Row(table, label, values | {ERROR: max(errors)})


def claims_of(name: str, tables: Sequence[Table]) -> list[Claim]:
    """The gap, the exact metric, and how exact the network is."""
    probes, gaps, heads = (next(table for table in tables if table.title == title) for title in titles(name))
    lower, gap = gaps.cell("all labels", "kNN gap from"), gaps.mean("all labels", "kNN gap")
    exact = probes.mean(BEST, "kNN") - probes.mean(EXACT, "kNN")
    worst = max(heads.mean(label, ERROR) for label in heads.lines)
    ends = ", ".join(f"{value:+.3f}" for value in lower.values)
    return [
        Claim(
            f"{name}: the interval of the kNN gap excludes 0 in every seed",
            f"gap {gap:+.3f}, lower ends {ends}",
            min(lower.values) > 0,
        ),
        Claim(f"{name}: kNN of {BEST} loses at most 0.02 to the exact metric", f"{exact:+.3f}", exact >= -0.02),
        Claim(f"{name}: equivariant up to {HELD:g} under every element", f"{worst:.1g}", worst <= HELD),
    ]


def headline_of(name: str, asked: str, tables: Sequence[Table]) -> Headline:
    """Neighbours of raw and of projected latents."""
    probes = next(table for table in tables if table.title == titles(name)[0])
    return Headline(asked, probes.cell(RAW, "kNN"), probes.cell(BEST, "kNN"))
