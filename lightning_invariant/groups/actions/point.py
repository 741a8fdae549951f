"""Rotations and reflections of vectors: points, velocities, forces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.coordinates import coordinate_matrices, space_dimension
from lightning_invariant.groups.euclidean import Euclidean

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class PointAction(InputAction):
    """A group of space on vectors (B, ..., d) about the origin: each goes to rho(g) times itself, plus a translation.

    An axis of k d numbers holds k vectors side by side, such as a position and a velocity.

    C_n and D_n act on the plane, d = 2.

    Args:
        group: What acts.
        axis: Which axis counts coordinates; the last one by default.
        translated: Whether these are positions, which E(d) and SE(d) translate too; velocities and forces are not.

    Raises:
        ValueError: The group moves no coordinates.

    Example:
        >>> import torch
        >>> from lightning_invariant.groups import Matrices
        >>> turn = PointAction(Matrices([[[0, -1], [1, 0]]]))
        >>> turn.transform(torch.tensor([[[1.0, 0.0]]]), torch.tensor(1)).tolist()
        [[[0.0, 1.0]]]
    """

    axis: int = -1
    translated: bool = False

    def __post_init__(self) -> None:
        if self.translated and not isinstance(self.group, Euclidean):
            raise ValueError(f"Expected Ed or SEd for positions but got {self.group}; it moves vectors.")
        if space_dimension(self.group) is None:
            raise ValueError(f"Expected a group that moves coordinates (SOd, Od, Cn, Dn) but got {self.group}.")

    def transform(self, x: Float[Tensor, "B *shape"], g: Tensor) -> Float[Tensor, "B *shape"]:
        """Act on vectors.

        Raises:
            ValueError: They do not have as many coordinates as the group moves.
        """
        d = space_dimension(self.group) or 1
        axis = self.axis % x.dim() if -x.dim() <= self.axis < x.dim() else 0
        if axis == 0 or not x.shape[axis] or x.shape[axis] % d or not (x.is_floating_point() or x.is_complex()):
            raise ValueError(
                f"Expected floating-point vectors with {d} coordinates, or a multiple, along axis {self.axis} but got "
                f"{x.dtype} {tuple(x.shape)}."
            )
        each = self._each(g, len(x))
        rho = coordinate_matrices(self.group, each).to(x)
        last = x.movedim(axis, -1)
        moved = last.reshape(len(x), -1, d) @ rho.mT
        if self.translated and isinstance(self.group, Euclidean):
            moved = moved + self.group.shift(each).to(x)[:, None]
        return moved.reshape(last.shape).movedim(-1, axis)
