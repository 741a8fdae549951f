"""Products over translations by Fourier transforms: the same numbers as by moving latents, in bounded memory."""

from __future__ import annotations

import pytest
import torch

from lightning_invariant.groups import Representation
from lightning_invariant.projections import ArgmaxCanonical, MaxFilter, SortedCoorbits, choose
from lightning_invariant.projections.base.templates import unit_templates
from lightning_invariant.projections.finite.fourier_products import FourierProducts, orbit_products
from lightning_invariant.projections.finite.orbit_products import OrbitProducts
from tests.memory import linux_only, printed

SMALL = [
    "T6: 3 regular",
    "T4 x T3: 2 regular*regular",
    "T3 x T4 x C2: 2 regular*regular*regular",
    "C5: 1 regular + 2 regular",
]


@pytest.mark.parametrize("text", SMALL)
def test_products_are_those_of_moved_latents(text):
    representation, generator = Representation.parse(text), torch.Generator().manual_seed(0)
    templates = torch.randn(5, representation.size, generator=generator, dtype=torch.float64)
    z = representation.random(3, generator).double()
    products = FourierProducts(representation, templates).products(z)
    for number, g in enumerate(representation.group.elements()):
        assert torch.allclose(products[number], representation.transform(z, g) @ templates.T, atol=1e-12)


@pytest.mark.parametrize("text", SMALL)
def test_tight_templates_keep_the_norm(text):
    representation = Representation.parse(text)
    products = FourierProducts(representation, unit_templates(2 * representation.size, representation.size, 0).double())
    z = representation.random(4, torch.Generator().manual_seed(1)).double()
    before = products.products(z).square().sum(dim=(0, 2))
    products.tighten()
    after = products.products(z).square().sum(dim=(0, 2))
    assert torch.allclose(after, z.square().sum(dim=1), rtol=1e-9)
    assert not torch.allclose(before, z.square().sum(dim=1), rtol=1e-2)
    products.spread()
    norms = products.templates.norm(dim=1)
    assert torch.allclose(norms, torch.full_like(norms, len(norms) ** -0.5))


@pytest.mark.parametrize("kind", [MaxFilter, SortedCoorbits, ArgmaxCanonical])
def test_features_of_large_groups_are_invariant_and_tell_orbits_apart(kind):
    projection = kind("T16 x T16: 2 regular*regular")
    assert isinstance(projection.products, FourierProducts)
    representation, generator = projection.representation, torch.Generator().manual_seed(0)
    z, g = representation.random(6, generator), representation.group.sample(6, generator)
    features = projection(z)
    assert torch.allclose(projection(representation.transform(z, g)), features, atol=1e-4)
    assert torch.pdist(features).min() > 1e-2
    assert torch.allclose(projection(z[:1].double()).float(), features[:1], atol=1e-4)


def test_small_groups_and_other_actions_are_computed_by_matrices():
    for text in ("T8: 4 regular", "D4: 2 regular", "C4 x Z2: 2 regular*signs"):
        representation = Representation.parse(text)
        assert type(orbit_products(representation, unit_templates(2, representation.size, 0))) is OrbitProducts
    with pytest.raises(ValueError, match="regular fields of cyclic groups"):
        FourierProducts(Representation.parse("D4: 2 regular"), torch.zeros(1, 16))


TRANSLATIONS = """
import torch
from lightning_invariant import choose
before = peak()
projection = choose("T32 x T32: 4 regular*regular")
z = torch.randn(64, 4096)
representation = projection.representation
f, moved = projection(z), projection(representation.transform(z, representation.group.sample(64)))
assert (f - moved).norm() < 1e-4 * f.norm()
print(peak() - before)
"""


@linux_only
def test_a_thousand_translations_of_four_thousand_numbers_fit_in_little_memory():
    assert 1 < printed(TRANSLATIONS)[0] < 256  # MiB; the inputs alone take 1


def test_one_axis_of_a_thousand_places_is_chosen_quickly():
    projection = choose("T1024: 2 regular")
    assert isinstance(projection.products, FourierProducts)
