"""A projection for an action that was estimated from latents."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lightning_invariant.projections.base.projection import Projection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class Estimated(Projection):
    """The projection, with a guarantee that says that nobody declared the action: it was found, with an error.

    Args:
        representation: That of the projection, which acts on latents in the basis that was found.
        projection: The projection, or its `config()`.
        error: By how much transformed latents differ from what the representation says, over the mean distance between
            different samples.
        keeps_distances: Whether the basis is orthogonal, so that its distances are those of the latent.

    Raises:
        ValueError: Another representation than the projection's, or an error that is not a number from 0 on.

    Note:
        That of the projection, for the action that was estimated.

    Example:
        >>> from lightning_invariant.projections.sets.sort import Sort
        >>> print(Estimated("S9: 9 points", Sort("S9: 9 points"), error=0.01).guarantee)
        invariant, as far as the action was estimated, under S9, isometric
    """

    def __init__(
        self,
        representation: Representation | str,
        projection: Projection | Mapping[str, Any],
        error: float,
        keeps_distances: bool = True,
    ) -> None:
        super().__init__(representation)
        self.projection = projection if isinstance(projection, Projection) else Projection.from_config(projection)
        if self.projection.representation != self.representation:
            raise ValueError(
                f"Expected a projection of '{self.representation}' but got '{self.projection.representation}'."
            )
        if not 0 <= error < float("inf"):
            raise ValueError(f"Expected an error from 0 on but got {error}.")
        self.error, self.keeps_distances = float(error), bool(keeps_distances)
        self.out_features, self.reason = self.projection.out_features, self.projection.reason
        held = self.projection.guarantee
        words = [
            held.note,
            f"The action was estimated from latents of transformed inputs, with an error of {self.error:.2g} of the "
            "distance between different samples.",
            "" if keeps_distances else "Distances are those of the basis that was found, not of the latent.",
        ]
        self.guarantee = replace(held, invariance="estimated", note=" ".join(filter(None, words)))

    @property
    def settings(self) -> dict[str, Any]:
        """Description of the projection, and how the action was found."""
        return {
            "projection": self.projection.config(),
            "error": self.error,
            "keeps_distances": self.keeps_distances,
        }

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """Features of latents in the basis that was found."""
        return self.projection.project(z)
