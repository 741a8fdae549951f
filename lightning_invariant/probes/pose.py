"""Whether features still tell by which group element the input was moved: invariant ones don't."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import FiniteGroup, Symmetric
from lightning_invariant.metrics.elements import LISTED
from lightning_invariant.probes.knn import knn_predict
from lightning_invariant.probes.ridge import ridge_fit
from lightning_invariant.probes.samples import full_precision
from lightning_invariant.probes.scores import accuracy, r2

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group

NEIGHBOURS = 5
LEAST = 4
"""Samples below which there is nothing to fit and to ask."""


class PoseSkill(NamedTuple):
    """How well the element can be predicted.

    Args:
        skill: 0 is chance, 1 is always right.
        noise: What chance alone reaches in one of some thousand samples.
    """

    skill: float
    noise: float


@full_precision
def pose_skill(features: Float[Tensor, "B K"], group: Group, g: Tensor) -> PoseSkill:
    """Predict the group element from features of moved inputs: the better of ridge and 5 nearest neighbours.

    Both are fitted on every second sample and asked about the others, and the other way round. Elements of finite
    groups are classes, those of others are predicted entry by entry (the entries of matrices, permutation matrices and
    long sign patterns).

    Args:
        features: Features of moved inputs, in an order that has nothing to do with the elements.
        group: What moved the inputs.
        g: The element of each (B, *element_shape).

    Returns:
        The skill, (accuracy - chance) / (1 - chance) for classes and R² otherwise, not below 0; and its noise.

    Raises:
        ValueError: Fewer than 4 samples, or features that are not finite.
    """
    if len(features) < LEAST or len(g) != len(features):
        raise ValueError(f"Expected at least {LEAST} samples with an element each but got {len(features)}, {len(g)}.")
    targets = _targets(group, g.to(features.device))
    halves = slice(0, None, 2), slice(1, None, 2)
    truth = torch.cat([targets[half] for half in halves[::-1]])
    scores = []
    for predict in (_neighbours, _ridge):
        parts = [predict(features[fit], targets[fit], features[asked]) for fit, asked in (halves, halves[::-1])]
        scores.append((r2 if targets.is_floating_point() else accuracy)(torch.cat(parts), truth))
    if targets.is_floating_point():
        return PoseSkill(max(0.0, *scores), 4 / len(truth) ** 0.5)
    chance = float(truth.bincount().max()) / len(truth)
    left = max(1.0 - chance, 1.0 / len(truth))
    return PoseSkill(max(0.0, max(scores) - chance) / left, 4 * (chance * (1 - chance) / len(truth)) ** 0.5 / left)


def _neighbours(features: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
    return knn_predict(features, targets, queries, k=NEIGHBOURS)


def _ridge(features: Tensor, targets: Tensor, queries: Tensor) -> Tensor:
    return ridge_fit(features, targets, alpha=1e-2).predict(queries)


def _targets(group: Group, g: Tensor) -> Tensor:
    if isinstance(group, FiniteGroup) or (group.order is not None and group.order <= LISTED):
        return g.unique(dim=0, return_inverse=True)[1]
    if isinstance(group, Symmetric):
        # The whole matrix of a long permutation would be larger than the features.
        return torch.nn.functional.one_hot(g[:, :8], group.n).flatten(1).float()
    return g.flatten(1).float()
