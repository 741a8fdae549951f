"""Rotations and reflections of point clouds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.actions.coordinates import coordinate_matrices, space_dimension

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PointAction(InputAction):
    """A matrix group on point clouds (B, N, d) about the origin: each point goes to rho(g) times itself.

    C_n and D_n act on the plane, d = 2.

    Raises:
        ValueError: The group moves no coordinates.

    Example:
        >>> import torch
        >>> from lightning_invariant.groups import Matrices
        >>> turn = PointAction(Matrices([[[0, -1], [1, 0]]]))
        >>> turn.move(torch.tensor([[[1.0, 0.0]]]), torch.tensor(1)).tolist()
        [[[0.0, 1.0]]]
    """

    def __post_init__(self) -> None:
        if space_dimension(self.group) is None:
            raise ValueError(f"Expected a group that moves coordinates (SOd, Od, Cn, Dn) but got {self.group}.")

    @overload
    def move(self, x: Tensor, g: Tensor) -> Tensor: ...

    @overload
    def move(self, x: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, ...]: ...

    def move(self, x: Tensor | tuple[Tensor, ...], g: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Act on point clouds (B, N, d), or on the first member of a tuple, such as padded points and their mask.

        Raises:
            ValueError: The points do not have as many coordinates as the group moves.
        """
        if isinstance(x, (tuple, list)):
            return self.move(x[0], g), *x[1:]
        d = space_dimension(self.group)
        if x.dim() != 3 or x.shape[-1] != d or not x.is_floating_point():
            raise ValueError(f"Expected floating-point clouds (B, N, {d}) but got {x.dtype} {tuple(x.shape)}.")
        rho = coordinate_matrices(self.group, self._each(g, len(x)))
        return x @ rho.mT.to(x)
