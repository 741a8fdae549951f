"""The pose probe as a torchmetric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups.grammar import parse_group
from lightning_invariant.metrics.sampled_rows import LIMIT, SampledRows
from lightning_invariant.probes.pose import LEAST, pose_skill

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Group


class PoseSkill(SampledRows):
    """`pose_skill`: how well features tell by which element the input was moved; 0 is chance, NaN below 4 samples.

    Args:
        group: What moves the inputs, such as "C4".
        limit: Rows kept.

    Example:
        >>> metric = PoseSkill("C2")
        >>> g = torch.arange(100) % 2
        >>> metric.update(g[:, None] + 0.1 * torch.rand(100, 1), g)
        >>> metric.compute()
        tensor(1.)
    """

    higher_is_better = False

    def __init__(self, group: Group | str, limit: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(limit, **kwargs)
        self.group = parse_group(group) if isinstance(group, str) else group

    def update(self, f_moved: Float[Tensor, "B K"], g: Tensor) -> None:
        """Features of the moved inputs, and the element that moved each."""
        f = f_moved.flatten(1)
        self._keep(torch.cat([f, g.reshape(len(f), -1).to(f)], dim=1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        if len(rows) < LEAST:
            return torch.tensor(float("nan"), device=rows.device)
        shape = self.group.element_shape
        size = rows.shape[1] - max(1, torch.Size(shape).numel())
        g = rows[:, size:].reshape(len(rows), *shape).to(self.group.element_dtype)
        return torch.tensor(pose_skill(rows[:, :size], self.group, g).skill, device=rows.device)
