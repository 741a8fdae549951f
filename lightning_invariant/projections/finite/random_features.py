"""The paper's random invariant projection for finite groups: the orbit mean of random nonlinear features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lightning_invariant.guarantee import Guarantee, Separation
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.projection import Projection
from lightning_invariant.projections.base.templates import unit_templates
from lightning_invariant.projections.finite.fourier_products import orbit_products
from lightning_invariant.projections.finite.max_filter import PAIRWISE
from lightning_invariant.projections.finite.orbit_products import require_listed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation


NONLINEARITIES = ("relu", "tanh")


class RandomFeatures(Projection):
    """f_i = |z| mean_g s(<rho(g) u, t_i> + b_i) / sqrt(K D), u = sqrt(D) z / |z|, with random unit templates t_i.

    With "relu" and b = 0 that is mean_g relu(<rho(g) z, t_i>) / sqrt(K). Both scale like the latent.

    Args:
        representation: Of a finite group with at most 100,000 elements.
        out_features: Number K of features; 2 D if None.
        seed: Seed of the templates.
        nonlinearity: "relu" or "tanh".

    Raises:
        GroupError: The group is infinite or too large.
        ValueError: An unknown nonlinearity, or out_features below 1.

    Note:
        Lipschitz with 1 for "relu", which is, and sqrt(1 + 1 / D) for "tanh": on the sphere of norm sqrt(D) it is
        1-Lipschitz and at most 1, and |z| adds a direction at right angles. With "relu" (and b = 0) lossy:
        relu(x) - relu(-x) = x, so z and -z are merged wherever their orbit means are zero. With "tanh" and random b,
        any fixed pair of orbits is told apart for almost all templates: the difference of features is analytic in t
        and b and not zero everywhere, since translates of tanh along different directions are linearly independent.
        Not bi-Lipschitz.

    References:
        Hansen, Calissano and Feragen 2024 (2401.12588); Amir et al. 2023 (2306.06529) for what such sums can separate.

    Example:
        >>> P, z = RandomFeatures("C4: 2 regular"), torch.arange(8.0).reshape(1, 2, 4)
        >>> torch.allclose(P(z), P(z.roll(1, dims=-1)))
        True
    """

    shifts: Tensor

    def __init__(
        self,
        representation: Representation | str,
        out_features: int | None = None,
        seed: int = 0,
        nonlinearity: str = "relu",
    ) -> None:
        super().__init__(representation)
        require_listed(self.representation)
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"Expected a nonlinearity among {NONLINEARITIES} but got {nonlinearity!r}.")
        size = self.representation.size
        self.out_features = 2 * size if out_features is None else out_features
        self.seed, self.nonlinearity = seed, nonlinearity
        self.products = orbit_products(self.representation, unit_templates(self.out_features, size, seed))
        self.products.spread()
        generator = torch.Generator().manual_seed(seed + 1)
        shifts = torch.randn(self.out_features, generator=generator) if nonlinearity == "tanh" else None
        self.register_buffer("shifts", torch.zeros(self.out_features) if shifts is None else shifts)
        self.guarantee = Guarantee(
            group=str(self.representation.group),
            separation=Separation.PAIRWISE if nonlinearity == "tanh" else Separation.LOSSY,
            lipschitz=(1 + 1 / size) ** 0.5 if nonlinearity == "tanh" else 1.0,
            differentiable="except at zero" if nonlinearity == "tanh" else "where no product is zero",
            source="Hansen et al. 2024, 2401.12588; Amir et al. 2023, 2306.06529",
            note=PAIRWISE if nonlinearity == "tanh" else "Merges z and -z where the mean of their orbits is zero.",
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Size, seed and nonlinearity."""
        return {"out_features": self.out_features, "seed": self.seed, "nonlinearity": self.nonlinearity}

    def project(self, z: Float[Tensor, "B D"]) -> Float[Tensor, "B K"]:
        """The means."""
        if self.nonlinearity == "relu":
            return self.products(z, self._mean, self.out_features).to(z.dtype)
        root = self.representation.size**0.5
        unit, norm = direction_and_norm(z.to(torch.promote_types(z.dtype, torch.float32)))
        return (self.products(root * unit, self._mean, self.out_features) * norm / root).to(z.dtype)

    def _mean(self, products: Tensor, out: Tensor | None) -> Tensor:
        if self.nonlinearity == "relu":
            return products.relu().mean(dim=0)
        scale = self.out_features**0.5
        return (products * scale + self.shifts.to(products.dtype)).tanh().mean(dim=0) / scale
