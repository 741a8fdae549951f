"""Signs of eigenvectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_invariant.groups.actions.action import InputAction
from lightning_invariant.groups.signs import Signs

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


@dataclass(frozen=True)
class SignAction(InputAction):
    """Z_2^n on n eigenvectors (B, ..., n): each keeps or changes its sign, all of its entries together.

    Args:
        group: The signs.
        axis: Which axis counts eigenvectors; the last one by default.

    Raises:
        ValueError: Another group.

    Example:
        >>> import torch
        >>> SignAction(Signs(2)).transform(torch.ones(1, 3, 2), torch.tensor([1, -1]))[0, 0].tolist()
        [1.0, -1.0]
    """

    group: Signs
    axis: int = -1

    def __post_init__(self) -> None:
        if not isinstance(self.group, Signs):
            raise ValueError(f"Expected a sign group such as Z2^5 but got {self.group}.")

    def transform(self, x: Float[Tensor, "B *shape"], g: Tensor) -> Float[Tensor, "B *shape"]:
        """Act on eigenvectors.

        Raises:
            ValueError: Not n of them, or numbers without a sign.
        """
        axis = self.axis % x.dim() if -x.dim() <= self.axis < x.dim() else 0
        if axis == 0 or x.shape[axis] != self.group.n or not (x.is_floating_point() or x.is_complex()):
            raise ValueError(
                f"Expected {self.group.n} floating-point eigenvectors along axis {self.axis} for {self.group} but got "
                f"{x.dtype} {tuple(x.shape)}."
            )
        shape = [1] * x.dim()
        shape[0], shape[axis] = len(x), self.group.n
        return x * self._each(g, len(x)).to(x).reshape(shape)
