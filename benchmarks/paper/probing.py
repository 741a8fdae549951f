"""Probes fitted on features of a bank, asked about features of queries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from benchmarks.paper.hidden_layer import mlp_classes
from lightning_invariant import quotient
from lightning_invariant.probes import KNN, Logistic, Ridge, accuracy, knn_vote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

NEIGHBOURS, CHUNK = 5, 250
NAMES = ("kNN", "ridge", "logistic", "MLP")
"""Columns, in order: 5 nearest neighbours, ridge and logistic regression, one hidden layer of 128 units."""


class Labelled:
    """Rows of latents or features with their classes.

    Args:
        rows: Shape (N, D).
        labels: Shape (N,).
    """

    def __init__(self, rows: Tensor, labels: Tensor) -> None:
        self.rows, self.labels = rows, labels

    def mapped(self, project: Callable[[Tensor], Tensor]) -> Labelled:
        """The same samples by their features."""
        with torch.no_grad():
            return Labelled(torch.cat([project(part) for part in self.rows.split(1024)]), self.labels)


def probe_accuracies(bank: Labelled, queries: Sequence[Labelled], seed: int) -> list[dict[str, float]]:
    """Accuracy of each probe in `NAMES` on each set of queries.

    Args:
        bank: What the probes are fitted on.
        queries: Sets of samples.
        seed: Of the MLP.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows, known, labels = [part.rows.to(device) for part in queries], bank.rows.to(device), bank.labels.to(device)
    probes = zip(NAMES, (KNN(NEIGHBOURS), Ridge(), Logistic()), strict=False)
    found = {name: probe.predict(known, labels, rows) for name, probe in probes}
    found["MLP"] = mlp_classes(known, labels, rows, seed)
    return [
        {name: accuracy(found[name][number].cpu(), part.labels) for name in NAMES}
        for number, part in enumerate(queries)
    ]


def quotient_accuracy(representation: str, bank: Labelled, queries: Labelled) -> float:
    """Accuracy of 5 nearest neighbours by the exact distance between orbits, min_g |z - rho(g) w|."""
    votes = []
    for part in queries.rows.split(CHUNK):
        distances = quotient.distance(part, bank.rows, representation, pairwise=True)
        nearest = distances.topk(min(NEIGHBOURS, len(bank.rows)), dim=1, largest=False)
        votes.append(knn_vote(nearest.values, bank.labels[nearest.indices]))
    return accuracy(torch.cat(votes), queries.labels)
