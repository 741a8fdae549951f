"""The measures as torchmetrics: fed batch by batch, bounded in memory, the same on any number of processes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_invariant.groups import Representation
from lightning_invariant.metrics.agreement import distance_spearman, distortion
from lightning_invariant.metrics.invariance import equivariance_error, invariance_error
from lightning_invariant.metrics.orbits import orbit_distance
from lightning_invariant.metrics.rank import effective_rank

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

LIMIT = 1024
"""Rows kept unless told otherwise."""


class _SampledRows(Metric, ABC):
    """Keeps the rows whose contents have the smallest hash: a sample that no order or sharding of the data changes.

    Args:
        limit: Rows kept.

    Raises:
        ValueError: The limit is below 2.
    """

    is_differentiable = False
    full_state_update = False
    rows: list[Tensor]
    keys: list[Tensor]

    def __init__(self, limit: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if limit < 2:
            raise ValueError(f"Expected to keep at least 2 rows but got {limit}.")
        self.limit = limit
        self.add_state("rows", default=[], dist_reduce_fx="cat")
        self.add_state("keys", default=[], dist_reduce_fx="cat")

    @abstractmethod
    def value(self, rows: Float[Tensor, "B K"]) -> Tensor:
        """The measure on the rows kept."""

    def compute(self) -> Tensor:
        """The measure; NaN before two rows have been seen."""
        if len(self.rows) == 0 or len(dim_zero_cat(self.rows)) < 2:
            return torch.tensor(float("nan"), device=self.device)
        rows, _ = self._smallest(dim_zero_cat(self.rows), dim_zero_cat(self.keys))
        return self.value(rows)

    def _keep(self, rows: Tensor) -> None:
        rows = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
        both = torch.cat([*self.rows, rows]), torch.cat([*self.keys, _hash(rows)])
        rows, keys = self._smallest(*both)
        self.rows, self.keys = [rows], [keys]

    def _smallest(self, rows: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        order = keys.argsort(stable=True)[: self.limit]
        return rows[order], keys[order]


class InvarianceError(_SampledRows):
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


class EquivarianceError(_SampledRows):
    """`equivariance_error` of a layer.

    Args:
        representation: How the group is said to act on the latents.
    """

    higher_is_better = False

    def __init__(self, representation: Representation | str, limit: int = LIMIT, **kwargs: Any) -> None:
        super().__init__(limit, **kwargs)
        self.representation = Representation.parse(representation)

    def update(self, z_moved: Float[Tensor, "B *shape"], z: Float[Tensor, "B *shape"], g: Tensor) -> None:
        """Latents of the moved inputs, of the inputs, and the element or elements that moved them."""
        flat = self.representation.flatten(z)
        expected = self.representation.move(flat, g.to(z.device))
        self._keep(torch.cat([self.representation.flatten(z_moved), expected, flat], dim=1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        moved, expected, still = rows.chunk(3, dim=1)
        # The latents' own distances set the scale, and the gap is the same whichever side has been moved.
        unmoved = self.representation.group.identity()
        error = equivariance_error(moved - expected + still, still, self.representation, unmoved)
        return torch.tensor(error, device=rows.device)


class EffectiveRank(_SampledRows):
    """`effective_rank` of features; compare only runs with one limit."""

    higher_is_better = True

    def update(self, f: Float[Tensor, "B K"]) -> None:
        """Features."""
        self._keep(f.flatten(1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        return torch.tensor(effective_rank(rows), device=rows.device)


class _OrbitAgreement(_SampledRows):
    """Features against the orbit distances of the latents that they were made from.

    Args:
        representation: What acts on the latents.
        limit: Rows kept; the cost grows with its square.
    """

    def __init__(self, representation: Representation | str, limit: int = 256, **kwargs: Any) -> None:
        super().__init__(limit, **kwargs)
        self.representation = Representation.parse(representation)

    def update(self, f: Float[Tensor, "B K"], z: Float[Tensor, "B *shape"]) -> None:
        """Features and the latents that they were made from."""
        self._keep(torch.cat([self.representation.flatten(z), f.flatten(1)], dim=1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        z, f = rows[:, : self.representation.size], rows[:, self.representation.size :]
        far = orbit_distance(z, z, self.representation, pairwise=True)
        return torch.tensor(self.agreement(f, far), device=rows.device)

    @staticmethod
    @abstractmethod
    def agreement(f: Float[Tensor, "B K"], orbit_distances: Float[Tensor, "B B"]) -> float:
        """The measure of two sets of distances."""


class OrbitSpearman(_OrbitAgreement):
    """`distance_spearman` of features and orbits."""

    higher_is_better = True

    @staticmethod
    def agreement(f: Tensor, orbit_distances: Tensor) -> float:
        """Rank correlation."""
        return distance_spearman(f, orbit_distances)


class OrbitDistortion(_OrbitAgreement):
    """99th over 1st percentile of feature distance over orbit distance; 1 is isometric."""

    higher_is_better = False

    @staticmethod
    def agreement(f: Tensor, orbit_distances: Tensor) -> float:
        """The ratio of percentiles."""
        return distortion(f, orbit_distances).percentiles


def _hash(rows: Float[Tensor, "B K"]) -> Tensor:
    """63-bit keys from the bits of each row: integer arithmetic, so equal rows have equal keys everywhere."""
    bits = rows.contiguous().view(torch.int32 if rows.element_size() == 4 else torch.int64).long()
    places = torch.arange(1, bits.shape[1] + 1, device=rows.device)
    mixed = (bits ^ (places * 0x9E3779B97F4A7C1)) * 0x2545F4914F6CDD1D
    mixed = (mixed ^ (mixed >> 29)) * 0x369DEA0F31A53F85
    keys = (mixed ^ (mixed >> 32)).sum(dim=1) * 0x5851F42D4C957F2D
    return (keys ^ (keys >> 31)) & (2**63 - 1)
