"""Sorted coorbits: all products of the moved latent with each template, in descending order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.max_filter import PAIRWISE
from lightning_invariant.projections.orbit_products import OrbitProducts
from lightning_invariant.projections.projection import Projection
from lightning_invariant.projections.sorting_network import sort_slices
from lightning_invariant.projections.templates import unit_templates

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


class SortedCoorbits(Projection):
    """f = sort over g of <rho(g) z, t_i> for random templates t_i, over a finite group, made a tight frame.

    Each template gives as many features as the group has elements, so a wished size needs |G| times fewer templates
    than a max filter. The features of a template stand together, largest first; what exceeds the size is cut off.

    Guarantee:
        1-Lipschitz: sorting is, and z -> <rho(g) z, t_i> is an isometry, or a contraction where the templates are too
        few to be one. With 2 D templates
        or more the largest values alone are an injective max filter, and an injective map of this form is
        bi-Lipschitz. With fewer, any fixed pair of orbits is told apart for almost all templates (each agreement of
        two features puts the template on one of finitely many hyperplanes). Not differentiable where values tie.

    Args:
        representation: Of a finite group with at most 100,000 elements.
        out_features: Number K of features; 2 D if None.
        seed: Seed of the templates.

    Raises:
        GroupError: The group is infinite or too large.
        ValueError: out_features is below 1.

    Source:
        Balan and Tsoukanis 2023 (2308.11784); 2410.05446, Proposition 23 for the Lipschitz bound.

    Example:
        >>> import torch
        >>> P, z = SortedCoorbits("C4: 2 regular"), torch.arange(8.0).reshape(1, 2, 4)
        >>> P(z).shape, torch.allclose(P(z), P(z.roll(1, dims=-1)))
        (torch.Size([1, 16]), True)
    """

    def __init__(self, representation: Representation | str, out_features: int | None = None, seed: int = 0) -> None:
        super().__init__(representation)
        size, order = self.representation.size, len(self.representation.group.elements())
        self.out_features = 2 * size if out_features is None else out_features
        self.seed = seed
        count = -(-self.out_features // order)
        self.products = OrbitProducts(self.representation, unit_templates(count, size, seed))
        self.products.tighten()
        enough = count >= 2 * size
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.BILIPSCHITZ if enough else Separation.GENERIC,
            lipschitz=1.0,
            differentiable="where no two elements give the same product",
            source="Balan and Tsoukanis 2023, 2308.11784; 2410.05446, Proposition 23",
            note="For almost all templates." if enough else PAIRWISE,
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Size and seed."""
        return {"out_features": self.out_features, "seed": self.seed}

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The sorted products."""
        return self.products(z, self._sorted, self.out_features).to(z.dtype)

    def _sorted(self, products: Tensor, out: Tensor | None) -> Tensor:
        count = products.shape[2] * len(products)
        if out is None or out.shape[1] != count:
            return sort_slices(products).flatten(1)[:, : self.out_features]
        sort_slices(products, out.unflatten(1, (-1, len(products))))
        return out
