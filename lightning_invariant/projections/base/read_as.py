"""The base of projections that read a latent as that of another representation with the same orbits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_invariant.projections.base.projection import Projection, full_precision

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class _ReadAs(Projection):
    """A projection of what latents are read as; subclasses implement `target` and `_read`.

    Args:
        representation: What acts on the latents.
        projection: A projection of `target(representation)`, or its `config()`.

    Raises:
        ValueError: The projection is for another representation.
    """

    def __init__(self, representation: Representation | str, projection: Projection | Mapping[str, Any]) -> None:
        super().__init__(representation)
        self.projection = projection if isinstance(projection, Projection) else Projection.from_config(projection)
        wanted = self.target(self.representation)
        if self.projection.representation != wanted:
            raise ValueError(f"Expected a projection of '{wanted}' but got '{self.projection.representation}'.")
        self.out_features = self.projection.out_features
        self.guarantee = replace(self.projection.guarantee, group=str(self.representation.group))

    @staticmethod
    @abstractmethod
    def target(representation: Representation) -> Representation:
        """The representation that latents are read as."""

    @abstractmethod
    def _read(self, z: Float[Tensor, "B D"], *beside: Tensor) -> Float[Tensor, "B E"]:
        """Flat latents of the target.

        Args:
            z: Flat latents.
            beside: What else the projection takes, such as a mask.
        """

    @property
    def settings(self) -> dict[str, Any]:
        """Description of the projection."""
        return {"projection": self.projection.config()}

    def forward(self, z: Float[Tensor, "B *shape"], *beside: Tensor) -> Float[Tensor, "B K"]:
        """Features.

        Args:
            z: Latents in any layout that fits the representation.
            beside: What else the projection takes, such as a mask.
        """
        flat = self.representation.flatten(z)
        with full_precision(flat.device):
            return self.projection(self._read(flat, *beside), *beside)

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of flat latents."""
        return self.projection.project(self._read(z))
