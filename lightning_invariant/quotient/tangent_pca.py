"""Principal components of latents modulo a group: of the samples as they are aligned to their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.groups import Representation
from lightning_invariant.quotient.alignment import align
from lightning_invariant.quotient.frechet_mean import Mean, mean

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


@dataclass(frozen=True)
class QuotientPCA:
    """Directions in which the orbits of latents differ most from their mean.

    Args:
        representation: What acts.
        mean: The Fréchet mean, with the samples aligned to it.
        components: Orthonormal directions at the mean, (k, D), those of largest variance first.
        coordinates: Of the samples, (N, k).
        explained_variance: Mean squared coordinate along each, (k,), float64.
        explained_variance_ratio: Its share of the variance of all aligned samples, (k,), float64.
    """

    representation: Representation
    mean: Mean
    components: Float[Tensor, "k D"]
    coordinates: Float[Tensor, "N k"]
    explained_variance: Float[Tensor, " k"]
    explained_variance_ratio: Float[Tensor, " k"]

    def transform(self, z: Float[Tensor, "B *shape"], mask: Bool[Tensor, "B n"] | None = None) -> Float[Tensor, "B k"]:
        """Return coordinates of other latents: aligned to the mean, then projected.

        Args:
            z: Latents in any layout that fits the representation.
            mask: Which points exist; to be given where the components were found with one.

        Raises:
            LatentError: Latents or masks do not fit.
        """
        if (mask is None) != (self.mean.mask is None):
            raise LatentError(
                f"Expected {'no mask' if self.mean.mask is None else 'a mask'}, as for the samples that the components "
                f"were found from, but got {'one' if mask is not None else 'none'}."
            )
        masks = None if mask is None or self.mean.mask is None else (mask, self.mean.mask[None])
        found = align(z, self.mean.latent[None].to(z), self.representation, masks)
        centred = self.representation.flatten(found.latents) - self._centre.to(z)
        return centred @ self.components.to(z).mT

    def inverse_transform(self, coordinates: Float[Tensor, "B k"]) -> Float[Tensor, "B *shape"]:
        """Return the latents that have these coordinates and differ from the mean by the components alone."""
        flat = self._centre.to(coordinates) + coordinates @ self.components.to(coordinates)
        return flat.reshape(len(coordinates), *self.mean.latent.shape)

    @property
    def _centre(self) -> Tensor:
        return self.mean.latent.reshape(1, -1)


def pca(
    z: Float[Tensor, "N *shape"],
    representation: Representation | str,
    components: int = 2,
    mask: Bool[Tensor, "N n"] | None = None,
    *,
    starts: int | None = None,
) -> QuotientPCA:
    """Find the principal components of latents modulo a group, at their Fréchet mean.

    Args:
        z: Latents, at least one.
        representation: What acts.
        components: How many; at most the smaller of the samples and the size of a latent.
        mask: Which points exist, as in `mean`.
        starts: As in `mean`.

    Returns:
        Components, coordinates and explained variance; the sign of each component makes its largest entry positive.

    Raises:
        ValueError: More components than there can be, or fewer than one.
        LatentError: As `mean`.
        GroupError: As `mean`.
        ImportError: As `mean`.

    Note:
        The quotient is curved; these are components of its tangent space at the mean, where the straight line to an
        aligned sample is a shortest path. At a mean that some elements leave alone, the tangent space is a cone.

    References:
        Calissano, Feragen and Vantini 2023 (Populations of unlabelled networks: graph space geometry and generalized
        geodesic principal components, Biometrika), whose generalized geodesics this is the first step of; Hansen,
        Calissano and Feragen 2024 (2401.12588) for what goes wrong with principal components of raw latents.

    Example:
        >>> t = torch.linspace(-1, 1, 5)[:, None]
        >>> line = torch.tensor([[1.0, 3.0, 6.0]]) + t * torch.tensor([[0.0, 0.5, 0.5]])
        >>> found = pca(line[:, [2, 0, 1]], "S3: points", components=1)
        >>> found.explained_variance_ratio.round(decimals=6).tolist()
        [1.0]
    """
    representation = Representation.parse(representation)
    most = min(len(z), representation.size)
    if not 1 <= components <= most:
        raise ValueError(f"Expected 1 to {most} components of {len(z)} latents but got {components}.")
    centre = mean(z, representation, mask) if starts is None else mean(z, representation, mask, starts=starts)
    centred = representation.flatten(centre.aligned).double()
    centred = centred - centred.mean(dim=0)
    u, s, directions = torch.linalg.svd(centred, full_matrices=False)
    largest = directions.gather(1, directions.abs().argmax(dim=1, keepdim=True))
    signs = torch.where(largest < 0, -1.0, 1.0)[:components]
    variance = s.square() / len(z)
    return QuotientPCA(
        representation,
        centre,
        (directions[:components] * signs).to(z.dtype),
        (u[:, :components] * s[:components] * signs.mT).to(z.dtype),
        variance[:components],
        variance[:components] / variance.sum().clamp(min=torch.finfo(variance.dtype).tiny),
    )
