"""Canonicalisation by an argmax: a baseline that keeps everything and jumps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.orbit_products import OrbitProducts
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.templates import unit_templates

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class ArgmaxCanonical(Projection):
    """The latent aligned with one random template: rho(g*) z with g* = argmax_g <rho(g) z, t>.

    Guarantee:
        Injective, since the feature is a point of the orbit. Not continuous: where two elements tie, the feature jumps
        from one to the other. Latents on such a tie, beyond those that rho fixes, form a set of measure zero, on which
        rounding decides.

    Args:
        representation: Of a finite group with at most 100,000 elements.
        seed: Seed of the template.

    Raises:
        GroupError: The group is infinite or too large.

    Source:
        Dym, Lawrence and Siegel 2024 (2402.16077): no continuous unweighted frame exists for common groups.

    Example:
        >>> import torch
        >>> P, z = ArgmaxCanonical("C4: 2 regular"), torch.arange(8.0).reshape(1, 2, 4)
        >>> torch.allclose(P(z), P(z.roll(1, dims=-1)))
        True
    """

    elements: Tensor

    def __init__(self, representation: Representation | str, seed: int = 0) -> None:
        super().__init__(representation)
        self.out_features, self.seed = self.representation.size, seed
        self.products = OrbitProducts(self.representation, unit_templates(1, self.out_features, seed))
        self.register_buffer("elements", self.representation.group.elements(), persistent=False)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.INJECTIVE,
            continuous=False,
            differentiable="where one element attains the maximum",
            source="Dym et al. 2024, 2402.16077",
            note="Jumps where two elements align equally well; at exact ties rounding decides.",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """The seed."""
        return {"seed": self.seed}

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The aligned latents."""
        best = self.products(z, lambda products, out: products.argmax(dim=0).to(products.dtype), 1)
        return self.representation.move(z, self.elements[best[:, 0].long()])
