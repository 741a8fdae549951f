"""All products <rho(g) z, t> over cyclic translations, of one axis or several, by fast Fourier transforms.

For shifts of a field on n_1 x n_2 x ... places the products with a template are a cross-correlation. So no table of the
group is kept: for "T32 x T32" the memory is that of one block of products, and time grows as |G| log |G|.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.groups import Cyclic, Product
from lightning_invariant.groups.finite_blocks import Regular
from lightning_invariant.groups.matrix_blocks import Outer
from lightning_invariant.projections.base.templates import templates_are_stored
from lightning_invariant.projections.finite.orbit_products import BLOCK, CONDITION, OrbitProducts

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from lightning_invariant.groups import Representation
    from lightning_invariant.projections.finite.orbit_products import Reduction

SMALLEST_ORDER = 256
"""From this order on transforms are taken; small groups are faster, and were always computed, by matrix products."""


def orbit_products(representation: Representation, templates: Float[Tensor, "k D"]) -> OrbitProducts | FourierProducts:
    """Return what computes the products: by Fourier transforms for large groups of translations, else by matrices.

    Args:
        representation: Of a finite group that can be listed.
        templates: One template a row.

    Raises:
        GroupError: The group is infinite or too large.
    """
    order = representation.group.order
    if order is not None and order >= SMALLEST_ORDER and sides_of_shifts(representation):
        return FourierProducts(representation, templates)
    return OrbitProducts(representation, templates)


def sides_of_shifts(representation: Representation) -> tuple[int, ...]:
    """Return the number of places along each axis that translations shift, or () for another action."""
    group = representation.group
    factors = group.factors if isinstance(group, Product) else (group,)
    fields = [block.parts if isinstance(block, Outer) else (block,) for block in representation]
    shifts = all(isinstance(part, Regular) for parts in fields for part in parts)
    if shifts and all(isinstance(factor, Cyclic) for factor in factors):
        return tuple(factor.n for factor in factors if isinstance(factor, Cyclic))
    return ()


class FourierProducts(nn.Module):
    """Products of latents with templates over a group of translations, reduced over the group block by block.

    Args:
        representation: Regular fields of cyclic groups, or of a product of them.
        templates: One template a row, (k, D).

    Raises:
        ValueError: Another action.
    """

    templates: Tensor

    def __init__(self, representation: Representation, templates: Float[Tensor, "k D"]) -> None:
        super().__init__()
        self.sides = sides_of_shifts(representation)
        if not self.sides:
            raise ValueError(
                f"Expected regular fields of cyclic groups, such as 'T8: 2 regular', but got {representation}."
            )
        self.order, self.channels = math.prod(self.sides), representation.size // math.prod(self.sides)
        self.register_buffer("templates", templates.detach().clone())

    def forward(self, z: Float[Tensor, "B D"], reduce: Reduction, width: int) -> Float[Tensor, "B K"]:
        """Reduced products; arguments and result as for `OrbitProducts`."""
        work = z.to(torch.promote_types(z.dtype, torch.float32))
        spectra = self._spectra(self.templates.to(work.dtype))
        rows = max(1, BLOCK.get(z.device.type, BLOCK["cuda"]) // (len(self.templates) * self.order))
        if torch.compiler.is_compiling() or z.shape[0] <= rows:
            return reduce(self._products(work, spectra), None)
        return torch.cat([reduce(self._products(part, spectra), None) for part in work.split(rows)])

    def products(self, z: Float[Tensor, "rows D"]) -> Float[Tensor, "G rows k"]:
        """All products at once, elements first, in the order in which the group lists them."""
        return self._products(z, self._spectra(self.templates.to(z.dtype)))

    def _products(self, z: Tensor, spectra: Tensor) -> Tensor:
        crossed = torch.einsum("bc...,kc...->bk...", self._spectra(z).conj(), spectra)
        return torch.fft.irfftn(crossed, s=self.sides, dim=self._axes).flatten(2).movedim(2, 0)

    def _spectra(self, z: Tensor) -> Tensor:
        return torch.fft.rfftn(z.unflatten(1, (self.channels, *self.sides)), dim=self._axes)

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(-len(self.sides), 0))

    def tighten(self) -> None:
        """Change the templates as `OrbitProducts.tighten` does: the frame operator is one matrix a frequency."""
        if templates_are_stored():
            return
        spectra = self._spectra(self.templates.double()).flatten(2).permute(2, 1, 0)
        weights, vectors = torch.linalg.eigh(spectra @ spectra.mH)
        weights = weights.clamp(min=(CONDITION * weights.amax(dim=1, keepdim=True)).clamp(min=1e-300))
        tight = (vectors / weights.sqrt()[:, None]) @ vectors.mH @ spectra
        shape = (len(self.templates), self.channels, *self.sides[:-1], self.sides[-1] // 2 + 1)
        tight = torch.fft.irfftn(tight.permute(2, 1, 0).reshape(shape), s=self.sides, dim=self._axes)
        self.templates.copy_(tight.flatten(1))

    def spread(self) -> None:
        """Tighten, then scale every template to norm 1 over the root of their number."""
        if templates_are_stored():
            return
        self.tighten()
        self.templates /= self.templates.norm(dim=1, keepdim=True) * math.sqrt(len(self.templates))

    def extra_repr(self) -> str:
        """Number of templates and sides."""
        return f"{len(self.templates)} templates, {' x '.join(map(str, self.sides))}"
