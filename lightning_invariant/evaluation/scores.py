"""Which samples are scored: those with a label that a fit without their own group can know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.probes import Kind, target_kind

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped

    from lightning_invariant.evaluation.latents import Latents


@dataclass(frozen=True)
class ScoredLabels:
    """Labels in the form that probes take.

    Args:
        kind: What the labels are.
        known: Rows of the bank whose label is known, int64 (n,).
        targets: Labels of these, shape (n,) or (n, T).
        groups: Groups of these, int64 (n,).
        asked: Queries that are scored, int64 (m,).
        own: Place among `known` of each, int64 (m,).
        lonely: Classes that only one group has: left out of the scores, for no other sample could tell.
        smallest: Rows of the rarest class that is scored; None where labels are no classes.
    """

    kind: Kind
    known: Int[Tensor, "n"]
    targets: Shaped[Tensor, "n *T"]
    groups: Int[Tensor, "n"]
    asked: Int[Tensor, "m"]
    own: Int[Tensor, "m"]
    lonely: tuple[int, ...] = ()
    smallest: int | None = None

    @property
    def truth(self) -> Shaped[Tensor, "m *T"]:
        """Labels of the queries that are scored."""
        return self.targets[self.own]


def scored_labels(latents: Latents) -> ScoredLabels | str:
    """Labels as probes take them, or the reason why nothing can be scored."""
    if latents.labels is None:
        return "there are no labels"
    labels = latents.labels.to(latents.bank.device)
    if labels.is_complex() or labels.ndim > 2:
        return f"labels of {labels.dtype} and shape {tuple(labels.shape)} are neither classes nor values"
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    valid = known_labels(labels)
    known = valid.nonzero()[:, 0]
    if len(known) < 2:
        return f"only {len(known)} samples have a label (negative classes and NaN count as unknown)"
    targets = labels[known]
    if targets.dtype == torch.bool:
        targets = targets.long() if targets.ndim == 1 else targets.float()
    elif targets.ndim == 2 and not targets.is_floating_point():
        targets = targets.float()
    if bool((targets == targets[:1]).all()):
        return f"all {len(known)} labels are equal, so that there is nothing to predict"
    every = torch.arange(len(labels), device=labels.device) if latents.groups is None else latents.groups
    groups = every.to(labels.device)[known]
    if bool((groups == groups[0]).all()):
        return "all samples with a label are of one group, so that nothing is left when it is left out"
    place = valid.cumsum(0) - 1
    asked = valid[latents.own].nonzero()[:, 0]
    own = place[latents.own[asked]]
    kind = target_kind(targets)
    if kind != "classes":
        return ScoredLabels(kind, known, targets, groups, asked, own) if len(own) else "no query has a label"
    classes, number = targets.unique(return_inverse=True)
    pairs = torch.stack([number, groups.unique(return_inverse=True)[1]], dim=1).unique(dim=0)
    alone = pairs[:, 0].bincount(minlength=len(classes)) < 2
    told = ~alone[number[own]]
    if not bool(told.any()):
        return "every class that was asked about has samples of one group only, so that no other sample could tell it"
    smallest = int(number.bincount()[~alone].min())
    lonely = tuple(classes[alone].tolist())
    return ScoredLabels(kind, known, targets, groups, asked[told], own[told], lonely, smallest)


def known_labels(labels: Shaped[Tensor, "N *T"]) -> Bool[Tensor, "N"]:
    """Which labels are known: not negative classes, and not values that are no number."""
    if labels.is_floating_point():
        valid = labels.isfinite()
    else:
        valid = labels >= 0 if labels.ndim == 1 else torch.ones_like(labels, dtype=torch.bool)
    return valid if labels.ndim == 1 else valid.all(dim=1)
