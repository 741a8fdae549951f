"""Whether features still tell by which group element the input was transformed: invariant ones don't."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from lightning_invariant.groups import FiniteGroup, Product, Symmetric
from lightning_invariant.metrics.elements import LISTED
from lightning_invariant.probes.probe import KNN, Ridge
from lightning_invariant.probes.samples import full_precision
from lightning_invariant.probes.scores import accuracy, r2

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group

PROBES = (KNN(k=5), Ridge(alpha=1e-2))
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
    """Predict the group element from features of transformed inputs: the better of ridge and 5 nearest neighbours.

    Each sample is predicted from all others. Elements of finite groups are classes, those of others are predicted
    entry by entry (the entries of matrices, permutation matrices and long sign patterns).

    Args:
        features: Features of transformed inputs.
        group: What transformed the inputs.
        g: The element of each (B, *element_shape).

    Returns:
        The skill, (accuracy - chance) / (1 - chance) for classes and R² otherwise, not below 0; and its noise.

    Raises:
        ValueError: Fewer than 4 samples, samples that all have one element, features that are not finite, or orders of
            padded sets of unlike size.
    """
    if len(features) < LEAST or len(g) != len(features):
        raise ValueError(f"Expected at least {LEAST} samples with an element each but got {len(features)}, {len(g)}.")
    if _tells_sizes(group, g):
        raise ValueError(
            f"Expected sets of one size but elements of {group} leave the places behind smaller ones alone, so that "
            "who knows the size of a set knows something of its element."
        )
    truth = _targets(group, g.to(features.device))
    if bool((truth == truth[:1]).all()):
        raise ValueError(f"Expected at least 2 different elements of {group} but got one; transform more samples.")
    rows = torch.arange(len(features), device=features.device)
    predictions = [probe.leave_out(features, truth, [features], [rows])[0] for probe in PROBES]
    if truth.is_floating_point():
        return PoseSkill(max(0.0, *(r2(found, truth) for found in predictions)), 4 / len(truth) ** 0.5)
    chance = float(truth.bincount().max()) / len(truth)
    best, left = max(accuracy(found, truth) for found in predictions), 1.0 - chance
    return PoseSkill(max(0.0, best - chance) / left, 4 * (chance * (1 - chance) / len(truth)) ** 0.5 / left)


def _tells_sizes(group: Group, g: Tensor) -> bool:
    """Whether orders leave their last place alone more often than chance does."""
    factors = group.factors if isinstance(group, Product) else (group,)
    parts = group.split(g) if isinstance(group, Product) else [g]
    for factor, part in zip(factors, parts, strict=True):
        if isinstance(factor, Symmetric) and factor.n > 1:
            chance = 1 / factor.n
            share = float((part[:, -1] == factor.n - 1).double().mean())
            if share > chance + 5 * (chance * (1 - chance) / len(part)) ** 0.5:
                return True
    return False


def _targets(group: Group, g: Tensor) -> Tensor:
    if isinstance(group, FiniteGroup) or (group.order is not None and group.order <= LISTED):
        return g.unique(dim=0, return_inverse=True)[1]
    if isinstance(group, Symmetric):
        # The whole matrix of a long permutation would be larger than the features.
        return torch.nn.functional.one_hot(g[:, :8], group.n).flatten(1).float()
    return g.flatten(1).float()
