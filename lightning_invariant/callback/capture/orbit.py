"""Latents of a call under every element of a group, where the layer is given as an `OrbitLayer`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_invariant.batch import clone, leaves
from lightning_invariant.batch import replace as replaced
from lightning_invariant.errors import ActionError
from lightning_invariant.groups.actions import member_action

if TYPE_CHECKING:
    from lightning_invariant.batch import RowLayout
    from lightning_invariant.groups.actions import MemberAction
    from lightning_invariant.orbit_layer import OrbitLayer


@dataclass(frozen=True)
class Orbit:
    """Makes one call for each element h of a group, its arguments transformed by h^-1, and joins the latents.

    Args:
        member: How the group transforms the arguments.
        transforms: For each element the path of each argument to its transform, which torch.export can trace; None
            where arguments are no tensors with samples first.
    """

    member: MemberAction
    transforms: tuple[dict[str, Callable[[Tensor], Tensor]], ...] | None

    @classmethod
    def of(cls, layer: OrbitLayer, action: Any, example: Any, layout: RowLayout | None) -> Orbit:
        """Find out how the group transforms the arguments of a call.

        Args:
            layer: Gives the group.
            action: What the user says of it.
            example: Arguments of a few rows.
            layout: Which of them have rows.

        Raises:
            ActionError: It is not known how.
        """
        member = member_action(layer.group, example, action, layout)
        if member.unknown or (not member.actions and member.function is None):
            reason = member.question or f"{member}, so that all turned inputs would be the same."
            raise ActionError(f"Expected to know how OrbitLayer transforms the arguments of the call: {reason}")
        elements = layer.group.inverse(layer.group.elements())
        plain = all(member.layout.axes.get(path, 0) == 0 for path in member.actions)
        if member.function is not None or not plain:
            return cls(member, None)
        return cls(member, tuple({path: act.by(g) for path, act in member.actions.items()} for g in elements))

    def latents(self, call: Callable[[Any], Tensor], arguments: Any) -> Tensor:
        """Return flat latents of regular fields, (B, D * order).

        Args:
            call: From arguments to flat latents (B, D).
            arguments: As they come.
        """
        return torch.stack([call(turned) for turned in self._turned(arguments)], dim=2).flatten(1)

    def _turned(self, arguments: Any) -> Iterator[Any]:
        if self.transforms is None:
            group = self.member.group
            for g in group.inverse(group.elements()):
                yield self.member.transform(clone(arguments), g)
            return
        known = leaves(arguments)
        for by_path in self.transforms:
            yield replaced(arguments, {path: transform(known[path]) for path, transform in by_path.items()})
