"""Probes: what is fitted on a bank of latents, and asked about samples that were left out of the fit.

| targets | kind | predictions | main score |
|---|---|---|---|
| integers (N,) | classes | classes | accuracy |
| floats (N,) or (N, T) | values | values | R², and the mean absolute error beside it |
| 0 and 1, (N, T) | labels | scores of each label | mean average precision over the labels that occur |
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import torch

from lightning_invariant.probes.knn import Metric, Weights, knn_predict
from lightning_invariant.probes.linear import LinearModel
from lightning_invariant.probes.logistic import logistic_fit
from lightning_invariant.probes.ridge import ridge_fit, ridge_leave_out
from lightning_invariant.probes.samples import checked_groups, checked_targets, full_precision
from lightning_invariant.probes.scores import accuracy, mean_average_precision, r2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jaxtyping import Float, Int, Shaped
    from torch import Tensor

    Rows = Sequence[Tensor]

Kind = Literal["classes", "values", "labels"]
FOLDS = 10
"""Fits of a logistic probe, each without a tenth of the groups."""


def target_kind(targets: Shaped[Tensor, "N *T"]) -> Kind:
    """Return what targets are: integers (N,) are classes, a matrix of 0 and 1 several labels, all else values.

    Example:
        >>> target_kind(torch.tensor([0, 2])), target_kind(torch.tensor([0.1, 2.0])), target_kind(torch.eye(2))
        ('classes', 'values', 'labels')
    """
    if targets.ndim == 1 and not targets.is_floating_point():
        return "classes"
    return "labels" if targets.ndim == 2 and bool(((targets == 0) | (targets == 1)).all()) else "values"


class Probe(ABC):
    """A way to predict targets from latents."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The name under which its scores are logged."""

    def predict(
        self, bank: Float[Tensor, "N K"], targets: Shaped[Tensor, "N *T"], queries: Sequence[Float[Tensor, "M K"]]
    ) -> list[Shaped[Tensor, "M *T"]]:
        """Fit on the whole bank and predict each set of queries.

        Args:
            bank: Features with known targets.
            targets: Classes, values or labels of the bank.
            queries: Sets of features.

        Returns:
            Predictions for each set: classes, values, or scores of each label.

        Raises:
            ValueError: Samples that do not fit, or a kind of target that the probe cannot learn.
        """
        return self._predict(bank, _as_floats(targets), queries)

    def leave_out(
        self,
        bank: Float[Tensor, "N K"],
        targets: Shaped[Tensor, "N *T"],
        queries: Sequence[Float[Tensor, "M K"]],
        own: Sequence[Int[Tensor, "M"]],
        groups: Int[Tensor, "N"] | None = None,
    ) -> list[Shaped[Tensor, "M *T"]]:
        """Predict each query from a fit without the group of its own row.

        Args:
            bank: Features with known targets.
            targets: Classes, values or labels of the bank.
            queries: Sets of features: samples of the bank as they are or in another form.
            own: For each set the rows of the bank that its queries belong to.
            groups: Group of each row; every row is its own group if None.

        Returns:
            Predictions for each set: classes, values, or scores of each label.

        Raises:
            ValueError: Samples that do not fit, one group that holds every row, or a kind of target that the probe
                cannot learn.
        """
        groups = checked_groups(groups, len(bank), bank.device, several=True)
        return self._leave_out(bank, _as_floats(targets), queries, own, groups)

    @abstractmethod
    def _predict(self, bank: Tensor, targets: Tensor, queries: Rows) -> list[Tensor]:
        """As `predict`; targets are classes or floats."""

    @abstractmethod
    def _leave_out(self, bank: Tensor, targets: Tensor, queries: Rows, own: Rows, groups: Tensor) -> list[Tensor]:
        """As `leave_out`; targets are classes or floats, and every row has a group."""


@dataclass(frozen=True)
class KNN(Probe):
    """The k nearest neighbours.

    Args:
        k: Number of neighbours.
        metric: "euclidean", or "cosine" for the angle alone.
        weights: "uniform", or "distance": inverse distance (Euclidean) or a softmax over similarities (cosine).
        name: Under which scores are logged; "knn" with what differs from the default in front if empty.

    Raises:
        ValueError: k below 1, or an unknown metric or weighting.

    Example:
        >>> KNN(k=5, metric="cosine").key
        'cosine_knn'
    """

    k: int = 5
    metric: Metric = "euclidean"
    weights: Weights = "uniform"
    name: str = ""

    def __post_init__(self) -> None:
        for value, choices in ((self.metric, get_args(Metric)), (self.weights, get_args(Weights))):
            if value not in choices:
                raise ValueError(f"Expected one of {choices} but got {value!r}; KNN() takes Euclidean, uniform votes.")
        if not isinstance(self.k, int) or self.k < 1:
            raise ValueError(f"Expected k as an integer of at least 1 but got {self.k!r}; 20 is usual.")

    @property
    def key(self) -> str:
        """The given name, or one by metric and weights."""
        parts = ("weighted" * (self.weights == "distance"), "cosine" * (self.metric == "cosine"), "knn")
        return self.name or "_".join(filter(None, parts))

    def _predict(self, bank: Tensor, targets: Tensor, queries: Rows) -> list[Tensor]:
        return self._votes(bank, targets, queries, None, None)

    def _leave_out(self, bank: Tensor, targets: Tensor, queries: Rows, own: Rows, groups: Tensor) -> list[Tensor]:
        return self._votes(bank, targets, queries, groups, groups[torch.cat(list(own)).to(groups.device)])

    def _votes(
        self, bank: Tensor, targets: Tensor, queries: Rows, groups: Tensor | None, own: Tensor | None
    ) -> list[Tensor]:
        found = knn_predict(
            bank,
            targets,
            torch.cat(list(queries)),
            k=self.k,
            metric=self.metric,
            weights=self.weights,
            groups=groups,
            query_groups=own,
        )
        return list(found.split([len(rows) for rows in queries]))


@dataclass(frozen=True)
class Ridge(Probe):
    """Ridge regression; its scores are logged as "linear".

    Args:
        alpha: Penalty relative to the mean eigenvalue; chosen by leave-one-out error on the bank if None.
    """

    alpha: float | None = None

    @property
    def key(self) -> str:
        """It is "linear"."""
        return "linear"

    def _predict(self, bank: Tensor, targets: Tensor, queries: Rows) -> list[Tensor]:
        model = ridge_fit(bank, targets, alpha=self.alpha)
        return [model.predict(rows) for rows in queries]

    def _leave_out(self, bank: Tensor, targets: Tensor, queries: Rows, own: Rows, groups: Tensor) -> list[Tensor]:
        # Rows of the bank itself are predicted for nothing.
        upright = [torch.equal(rows, bank[place]) for rows, place in zip(queries, own, strict=True)]
        asked = [(rows, place) for rows, place, known in zip(queries, own, upright, strict=True) if not known]
        left = ridge_leave_out(
            bank,
            targets,
            [rows for rows, _ in asked],
            [place for _, place in asked],
            groups=groups,
            alpha=self.alpha,
        )
        others = iter(left.queries)
        scores = [left.bank[place] if known else next(others) for place, known in zip(own, upright, strict=True)]
        if left.classes is not None:
            return [left.classes[rows.argmax(1)] for rows in scores]
        return [rows[:, 0] if targets.ndim == 1 else rows for rows in scores]


@dataclass(frozen=True)
class Logistic(Probe):
    """Logistic regression, for classes and labels, one fit each; left out are tenths of the groups, not single ones.

    Args:
        penalty: Weight of the squared norm of the weights.
        seed: Of the split into tenths.
    """

    penalty: float = 1e-4
    seed: int = 0

    @property
    def key(self) -> str:
        """It is "logistic"."""
        return "logistic"

    def _predict(self, bank: Tensor, targets: Tensor, queries: Rows) -> list[Tensor]:
        kind, targets = target_kind(targets), checked_targets(targets, len(bank))
        if kind == "values":
            raise ValueError(
                "Expected classes or labels of 0 and 1 for logistic regression but got values; use 'linear'."
            )
        if kind == "classes":
            model = logistic_fit(bank, targets, penalty=self.penalty)
            return [model.predict(rows) for rows in queries]
        models = [self._label_model(bank, column) for column in targets.long().unbind(1)]
        return [torch.stack([_label_scores(model, rows) for model in models], dim=1) for rows in queries]

    def _leave_out(self, bank: Tensor, targets: Tensor, queries: Rows, own: Rows, groups: Tensor) -> list[Tensor]:
        _, numbers = torch.unique(groups, return_inverse=True)
        count = int(numbers.max()) + 1
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        fold_of = (order % min(FOLDS, count)).to(numbers.device)[numbers]
        found: list[Tensor | None] = [None] * len(queries)
        for fold in fold_of.unique():
            asked, kept = [fold_of[rows] == fold for rows in own], fold_of != fold
            sets = [rows[chosen] for rows, chosen in zip(queries, asked, strict=True)]
            parts = iter(self._predict(bank[kept], targets[kept], [rows for rows in sets if len(rows)]))
            for number, chosen in enumerate(asked):
                if not bool(chosen.any()):
                    continue
                part, whole = next(parts), found[number]
                if whole is None:
                    whole = found[number] = part.new_zeros((len(chosen), *part.shape[1:]))
                whole[chosen] = part
        return [part for part in found if part is not None]

    def _label_model(self, bank: Tensor, column: Tensor) -> LinearModel | None:
        return None if len(column.unique()) == 1 else logistic_fit(bank, column, penalty=self.penalty)


PROBES: dict[str, Probe] = {
    probe.key: probe
    for probe in (
        KNN(),
        KNN(weights="distance"),
        KNN(metric="cosine"),
        KNN(metric="cosine", weights="distance"),
        Ridge(),
        Logistic(),
    )
}
"""Probes that can be asked for by name."""


def register_probe(probe: Probe) -> None:
    """Let a probe be asked for by its name, as in `InvariantCallback(probes=["knn", "mine"])`.

    Args:
        probe: Of any subclass; scores are logged under its `key`.

    Raises:
        ValueError: Another probe has that name.
    """
    if PROBES.get(probe.key, probe) != probe:
        raise ValueError(f"Expected a new name for a probe but {probe.key!r} is {PROBES[probe.key]}.")
    PROBES[probe.key] = probe


DEFAULT_PROBES: tuple[Probe, ...] = (KNN(), Ridge())


def parse_probes(probes: Iterable[Probe | str]) -> tuple[Probe, ...]:
    """Return probes that are given by name or as they are.

    Raises:
        ValueError: A name that is not known, no probe, or two under one name.

    Example:
        >>> parse_probes(["knn", KNN(k=5, name="knn5")])[1]
        KNN(k=5, metric='euclidean', weights='uniform', name='knn5')
    """
    if isinstance(probes, (str, Probe)):
        probes = (probes,)
    found = []
    for probe in probes:
        if not isinstance(probe, Probe) and probe not in PROBES:
            raise ValueError(f"Expected a probe among {', '.join(PROBES)}, or one such as KNN(k=5), but got {probe!r}.")
        found.append(probe if isinstance(probe, Probe) else PROBES[probe])
    keys = [probe.key for probe in found]
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"Expected one or more probes of different names but got {keys}; KNN takes name='knn5'.")
    return tuple(found)


@full_precision
def probe_score(predictions: Shaped[Tensor, "M *T"], targets: Shaped[Tensor, "M *T"]) -> float:
    """Return the accuracy of classes, R² of values, mean average precision of labels.

    Raises:
        ValueError: Empty or mismatched input, or labels of which none occurs.
    """
    kind = target_kind(targets)
    if kind == "labels":
        return mean_average_precision(predictions, targets)
    return accuracy(predictions, targets) if kind == "classes" else r2(predictions, targets)


def _label_scores(model: LinearModel | None, rows: Tensor) -> Tensor:
    """Log odds; all equal where there was nothing to learn."""
    if model is None:
        return rows.new_zeros(len(rows))
    scores = model.scores(rows)
    return scores[:, 1] - scores[:, 0]


def _as_floats(targets: Tensor) -> Tensor:
    return targets if targets.ndim == 1 or targets.is_floating_point() else targets.float()
