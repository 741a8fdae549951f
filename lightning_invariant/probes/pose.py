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
LEAST = 20
"""Samples below which nothing is learned."""


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

    Both are fitted on every second sample and asked about the others. Elements of finite groups are classes, those of
    others are predicted entry by entry (the entries of matrices, permutation matrices and long sign patterns).

    Args:
        features: Features of moved inputs, in an order that has nothing to do with the elements.
        group: What moved the inputs.
        g: The element of each (B, *element_shape).

    Returns:
        The skill, (accuracy - chance) / (1 - chance) for classes and R² otherwise, not below 0; and its noise.

    Raises:
        ValueError: Fewer than 20 samples, or features that are not finite.
    """
    if len(features) < LEAST or len(g) != len(features):
        raise ValueError(f"Expected at least {LEAST} samples with an element each but got {len(features)}, {len(g)}.")
    g = g.to(features.device)
    targets = _targets(group, g)
    fit, asked = slice(0, None, 2), slice(1, None, 2)
    nearest = knn_predict(features[fit], targets[fit], features[asked], k=NEIGHBOURS)
    linear = ridge_fit(features[fit], targets[fit], alpha=1e-2).predict(features[asked])
    truth = targets[asked]
    if targets.is_floating_point():
        return PoseSkill(max(0.0, r2(nearest, truth), r2(linear, truth)), 4 / len(truth) ** 0.5)
    chance = float(truth.bincount().max()) / len(truth)
    best = max(accuracy(nearest, truth), accuracy(linear, truth))
    left = max(1.0 - chance, 1.0 / len(truth))
    return PoseSkill(max(0.0, best - chance) / left, 4 * (chance * (1 - chance) / len(truth)) ** 0.5 / left)


def _targets(group: Group, g: Tensor) -> Tensor:
    if isinstance(group, FiniteGroup) or (group.order is not None and group.order <= LISTED):
        return g.unique(dim=0, return_inverse=True)[1]
    if isinstance(group, Symmetric):
        # The whole matrix of a long permutation would be larger than the features.
        return torch.nn.functional.one_hot(g[:, :8], group.n).flatten(1).float()
    return g.flatten(1).float()
