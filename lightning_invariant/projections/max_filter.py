"""Max filter bank: the largest product of the moved latent with each template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.orbit_products import OrbitProducts
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.templates import unit_templates

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation

PAIRWISE = (
    "With fewer templates than twice the latent's size, every fixed pair of different orbits is told apart for almost "
    "all templates, but not all pairs at once."
)
"""Proof: if features of z and w agree, a template is orthogonal to some rho(g) z - rho(h) w, which is not zero."""


class MaxFilter(Projection):
    """f_i = max_g <rho(g) z, t_i> / sqrt(K) with random unit templates t_i, over a finite group.

    The templates are spread evenly: they are S^(-1/2) t, scaled to norm 1, for independent uniform t and the frame
    operator S of all moved templates. S commutes with the group, so what is separated stays the same.

    Guarantee:
        1-Lipschitz: each maximum is, and there are K of them. Injective and bi-Lipschitz for almost all templates when
        K >= 2 D; with fewer, any fixed pair of orbits is told apart for almost all templates (each agreement of two
        features puts the template on one of finitely many hyperplanes). Not differentiable where two elements tie.

    Args:
        representation: Of a finite group with at most 100,000 elements.
        out_features: Number K of templates; 2 D if None.
        seed: Seed of the templates.

    Raises:
        GroupError: The group is infinite or too large.
        ValueError: out_features is below 1.

    Source:
        Cahill, Iverson, Mixon, Packer 2022 (2205.14039); Mixon and Qaddura 2022 (2212.11156).

    Example:
        >>> import torch
        >>> P, z = MaxFilter("C4: 2 regular"), torch.arange(8.0).reshape(1, 2, 4)
        >>> P(z).shape, torch.allclose(P(z), P(z.roll(1, dims=-1)))
        (torch.Size([1, 16]), True)
    """

    def __init__(self, representation: Representation | str, out_features: int | None = None, seed: int = 0) -> None:
        super().__init__(representation)
        size = self.representation.size
        self.out_features = 2 * size if out_features is None else out_features
        self.seed = seed
        self.products = OrbitProducts(self.representation, unit_templates(self.out_features, size, seed))
        self.products.spread()
        enough = self.out_features >= 2 * size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.BILIPSCHITZ if enough else Separation.GENERIC,
            lipschitz=1.0,
            differentiable="where one element attains each maximum",
            source="Cahill et al. 2022, 2205.14039; Mixon and Qaddura 2022, 2212.11156",
            note="For almost all templates." if enough else PAIRWISE,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Size and seed."""
        return {"out_features": self.out_features, "seed": self.seed}

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The maxima."""
        return self.products(z, _largest, self.out_features).to(z.dtype)


def _largest(products: Tensor, out: Tensor | None) -> Tensor:
    return products.amax(dim=0) if out is None else torch.amax(products, dim=0, out=out)
