"""Max filter bank: the largest product of the moved latent with each template; and the latent that attains it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.templates import unit_templates
from lightning_invariant.projections.finite.fourier_products import orbit_products
from lightning_invariant.projections.finite.orbit_products import require_listed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


PAIRWISE = "Every fixed pair of different orbits is told apart for almost all templates, but not all pairs at once."
"""Proof: if features of z and w agree, a template is orthogonal to some rho(g) z - rho(h) w, which is not zero."""
GENERIC = "Almost every latent is told apart from all others for almost all templates, but not all pairs at once."
"""Proof: for a fixed z, D templates leave finitely many w, and one more is orthogonal to none of the differences."""


def separation_by(templates: int, size: int) -> tuple[Separation, str]:
    """What a number of maxima, or of largest coorbits, over a finite group tells apart, and the sentence that says so.

    Args:
        templates: Number of templates.
        size: Numbers in a latent, D.
    """
    if templates >= 2 * size:
        return Separation.BILIPSCHITZ, "For almost all templates."
    return (Separation.GENERIC, GENERIC) if templates > size else (Separation.PAIRWISE, PAIRWISE)


class MaxFilter(Projection):
    """f_i = max_g <rho(g) z, t_i> / sqrt(K) with random unit templates t_i, over a finite group.

    The templates of all but large latents are spread evenly: they are S^(-1/2) t, scaled to norm 1, for independent
    uniform t and the frame operator S of all moved templates. S commutes with the group, so what is separated stays the
    same.

    Args:
        representation: Of a finite group with at most 100,000 elements.
        out_features: Number K of templates; 2 D if None.
        seed: Seed of the templates.

    Raises:
        GroupError: The group is infinite or too large.
        ValueError: out_features is below 1.

    Note:
        1-Lipschitz: each maximum is, and there are K of them. Injective and bi-Lipschitz for almost all templates when
        K >= 2 D. When K > D, almost every latent is told apart from all others. With fewer, any fixed pair of orbits is
        told apart for almost all templates (each agreement of two features puts the template on one of finitely many
        hyperplanes). Not differentiable where two elements tie.

    References:
        Cahill, Iverson, Mixon, Packer 2022 (2205.14039); Mixon and Qaddura 2022 (2212.11156).

    Example:
        >>> import torch
        >>> P, z = MaxFilter("C4: 2 regular"), torch.arange(8.0).reshape(1, 2, 4)
        >>> P(z).shape, torch.allclose(P(z), P(z.roll(1, dims=-1)))
        (torch.Size([1, 16]), True)
    """

    def __init__(self, representation: Representation | str, out_features: int | None = None, seed: int = 0) -> None:
        super().__init__(representation)
        require_listed(self.representation)
        size = self.representation.size
        self.out_features = 2 * size if out_features is None else out_features
        self.seed = seed
        self.products = orbit_products(self.representation, unit_templates(self.out_features, size, seed))
        self.products.spread()
        separation, note = separation_by(self.out_features, size)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=separation,
            lipschitz=1.0,
            differentiable="where one element attains each maximum",
            source="Cahill et al. 2022, 2205.14039; Mixon and Qaddura 2022, 2212.11156",
            note=note,
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


class ArgmaxCanonical(Projection):
    """The latent aligned with one random template: rho(g*) z with g* = argmax_g <rho(g) z, t>.

    Args:
        representation: Of a finite group with at most 100,000 elements.
        seed: Seed of the template.

    Raises:
        GroupError: The group is infinite or too large.

    Note:
        Injective, since the feature is a point of the orbit. Not continuous: where two elements tie, the feature jumps
        from one to the other. Latents on such a tie, beyond those that rho fixes, form a set of measure zero, on which
        rounding decides.

    References:
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
        require_listed(self.representation)
        self.out_features, self.seed = self.representation.size, seed
        self.products = orbit_products(self.representation, unit_templates(1, self.out_features, seed))
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
        return self.representation.transform(z, self.elements[best[:, 0].long()])
