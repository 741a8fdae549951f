"""Agreement with orbits as torchmetrics: distances, retrieval, and hard negatives."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.groups import Representation
from lightning_invariant.metrics.agreement import distance_spearman, distortion
from lightning_invariant.metrics.orbits import orbit_distance
from lightning_invariant.metrics.sampled_rows import SampledRows
from lightning_invariant.metrics.separation import orbit_retrieval, relative_distance

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


class _OrbitAgreement(SampledRows):
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


class OrbitRetrieval(SampledRows):
    """`orbit_retrieval`: whether moved samples find their own before all others and all hard negatives."""

    higher_is_better = True

    def __init__(self, limit: int = 512, **kwargs: Any) -> None:
        super().__init__(limit, **kwargs)

    def update(self, f_moved: Float[Tensor, "B K"], f: Float[Tensor, "B K"], negatives: Float[Tensor, "B K"]) -> None:
        """Features of the moved inputs, of the inputs, and of a hard negative of each (`hard_negatives`)."""
        self._keep(torch.cat([f_moved.flatten(1), f.flatten(1), negatives.flatten(1)], dim=1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        return torch.tensor(orbit_retrieval(*rows.chunk(3, dim=1)), device=rows.device)


class HardNegativeRatio(SampledRows):
    """Distance of features to those of their hard negatives over that between samples; 0 is not told apart."""

    higher_is_better = True

    def update(self, negatives: Float[Tensor, "B K"], f: Float[Tensor, "B K"]) -> None:
        """Features of a hard negative of each latent (`hard_negatives`), and of the latents."""
        self._keep(torch.cat([negatives.flatten(1), f.flatten(1)], dim=1))

    def value(self, rows: Tensor) -> Tensor:
        """Over the rows kept."""
        return torch.tensor(relative_distance(*rows.chunk(2, dim=1)), device=rows.device)
