"""Errors, rank and collapse as torchmetrics: bounded in memory, the same on any number of processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups import Representation
from lightning_invariant.metrics.invariance import equivariance_error, equivariance_errors, invariance_error
from lightning_invariant.metrics.rank import collapse, effective_rank
from lightning_invariant.metrics.sampled_rows import LIMIT, SampledRows

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class InvarianceError(SampledRows):
    """`invariance_error` of features, at most `limit` samples.

    Example:
        >>> metric = InvarianceError()
        >>> metric.update(torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [3.0]]))
        >>> metric.compute()
        tensor(0.5000)
    """

    higher_is_better = False

    def update(self, f_moved: Float[Tensor, "B K"], f: Float[Tensor, "B K"]) -> None:
        """Features of the moved inputs and of the inputs."""
        if f_moved.shape != f.shape:
            raise ValueError(f"Expected two equal shapes but got {tuple(f_moved.shape)} and {tuple(f.shape)}.")
        self._keep(torch.cat([f_moved.flatten(1), f.flatten(1)], dim=1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        return torch.tensor(invariance_error(*rows.chunk(2, dim=1)), device=rows.device)


class _MovedLatents(SampledRows):
    """Keeps latents of inputs and of moved inputs with the element that moved each.

    Args:
        representation: How the group is said to act on the latents.
        limit: Rows kept.
    """

    higher_is_better = False

    def __init__(self, representation: Representation | str, limit: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(limit, **kwargs)
        self.representation = Representation.parse(representation)

    def update(self, z_moved: Float[Tensor, "B *shape"], z: Float[Tensor, "B *shape"], g: Tensor) -> None:
        """Latents of the moved inputs, of the inputs, and the element or elements that moved them."""
        flat, flat_moved = self.representation.flatten(z), self.representation.flatten(z_moved)
        each = g.expand(len(flat), *self.representation.group.element_shape).reshape(len(flat), -1)
        self._keep(torch.cat([flat_moved, flat, each.to(flat)], dim=1))

    def _parts(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size, group = self.representation.size, self.representation.group
        g = rows[:, 2 * size :].reshape(len(rows), *group.element_shape).to(group.element_dtype)
        return rows[:, :size], rows[:, size : 2 * size], g


class EquivarianceError(_MovedLatents):
    """`equivariance_error` of a layer."""

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        moved, still, g = self._parts(rows)
        return torch.tensor(equivariance_error(moved, still, self.representation, g), device=rows.device)


class EquivarianceErrors(_MovedLatents):
    """`equivariance_errors` of a layer: a dict from each group element, or class of elements, to its error."""

    def value(self, rows: Tensor) -> dict[str, Tensor]:
        """Over the rows kept."""
        moved, still, g = self._parts(rows)
        errors = equivariance_errors(moved, still, self.representation, g)
        return {name: torch.tensor(error, device=rows.device) for name, error in errors.items()}


class EffectiveRank(SampledRows):
    """`effective_rank` of features; compare only runs with one limit."""

    higher_is_better = True

    def update(self, f: Float[Tensor, "B K"]) -> None:
        """Features."""
        self._keep(f.flatten(1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        return torch.tensor(effective_rank(rows), device=rows.device)


class Collapse(SampledRows):
    """`collapse` of features."""

    higher_is_better = False

    def update(self, f: Float[Tensor, "B K"]) -> None:
        """Features."""
        self._keep(f.flatten(1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        return torch.tensor(collapse(rows), device=rows.device)
