import pytest
import torch

from lightning_invariant.errors import GroupError
from lightning_invariant.groups import Representation
from lightning_invariant.projections import MaxFilter, SortedCoorbits
from lightning_invariant.projections.base.templates import unit_templates
from lightning_invariant.projections.finite import orbit_products
from lightning_invariant.projections.finite.coorbits import NETWORK_LIMIT, comparisons, sort_slices
from lightning_invariant.projections.finite.isotypic import components, multiplication_table
from lightning_invariant.projections.finite.orbit_products import OrbitProducts

REDUCED = ["C8: 3 regular", "D6: 2 regular + 1x1", "C64: 1 regular", "S4: 4 points x 3", "C3 x Z2: 2 regular*signs"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def moved_products(representation, products, z):
    """The same products one element at a time, with the templates that the products at the identity reveal."""
    templates = products.products(torch.eye(representation.size, dtype=torch.float64))[0].mT
    moves = [representation.transform(z, g) for g in representation.group.elements()]
    return torch.stack([moved @ templates.mT for moved in moves])


@pytest.mark.parametrize("text", [*REDUCED, "S5: 5 points x 2", "Z2^3: 2 signs", "S3 x C2: 2 points*regular"])
def test_products_agree_with_moving_the_latent_by_every_element(text):
    representation = Representation.parse(text)
    products = OrbitProducts(representation, unit_templates(5, representation.size, seed=1))
    z = representation.random(4, generator()).double()
    assert torch.allclose(products.products(z), moved_products(representation, products, z), atol=1e-12)


@pytest.mark.parametrize("text", REDUCED)
def test_components_fill_the_representation(text):
    representation = Representation.parse(text)
    found = components(representation)
    copies = [block.copies for block in representation]
    sizes = [sum(m * b.shape[1] for m, b in zip(copies, component.bases, strict=True)) for component in found]
    assert sum(sizes) == representation.size


def test_cyclic_fields_need_two_products_a_number_not_one_for_each_element():
    products = OrbitProducts(Representation.parse("C64: 4 regular"), unit_templates(1, 256, seed=0))
    assert sum(a.number * a.functions * a.share for a in products.alike) <= 2 * 256


def test_blocks_give_the_same_numbers_and_never_more_products_than_the_limit(monkeypatch):
    projection, z = MaxFilter("C8: 4 regular"), Representation.parse("C8: 4 regular").random(50, generator())
    whole, largest = projection(z), []
    inner = projection.products.forward

    def watched(flat, reduce, width):
        def spy(products, out):
            largest.append(products.numel())
            return reduce(products, out)

        return inner(flat, spy, width)

    monkeypatch.setitem(orbit_products.BLOCK, "cpu", 7 * 64 * 8)
    monkeypatch.setattr(projection.products, "forward", watched)
    with torch.no_grad():
        assert torch.allclose(projection(z), whole, atol=1e-6)
    assert len(largest) == 8
    assert max(largest) <= 7 * 64 * 8


def test_gradients_agree_between_blocks_and_one_pass(monkeypatch):
    projection = SortedCoorbits("C8: 4 regular")
    z = projection.representation.random(50, generator()).double().requires_grad_()
    (whole,) = torch.autograd.grad(projection(z).square().sum(), z)
    monkeypatch.setitem(orbit_products.BLOCK, "cpu", 1000)
    (blocks,) = torch.autograd.grad(projection(z).square().sum(), z)
    assert torch.allclose(whole, blocks, atol=1e-12)


def test_tables_stay_exact_when_a_module_is_cast():
    projection = MaxFilter("C8: 4 regular").bfloat16()
    z = projection.representation.random(6, generator()).double()
    assert projection.products.templates.dtype == torch.bfloat16
    error = (projection(projection.representation.transform(z, torch.tensor(3))) - projection(z)).abs().max()
    assert error < 1e-14


def test_rounded_tables_would_not_be_exact():
    projection = MaxFilter("C8: 4 regular")
    for name, table in projection.products.named_buffers():
        if name.startswith("table"):
            setattr(projection.products, name, table.bfloat16().double())
    z = projection.representation.random(6, generator()).double()
    error = (projection(projection.representation.transform(z, torch.tensor(3))) - projection(z)).abs().max()
    assert error > 1e-6


def test_tight_frames_keep_norms():
    projection = SortedCoorbits("D4: 3 regular + 1 det", out_features=8 * 20)
    z = projection.representation.random(6, generator()).double()
    assert torch.allclose(projection(z).norm(dim=1), z.norm(dim=1), rtol=1e-6)


@pytest.mark.parametrize("text", ["S9: 9 points x 2", "SO2: 2x1"])
def test_groups_that_cannot_be_listed_are_refused(text):
    with pytest.raises(GroupError, match="Expected a group of at most 100000 elements"):
        MaxFilter(text)


def test_actions_too_large_for_a_table_are_refused(monkeypatch):
    monkeypatch.setattr(orbit_products, "TABLE_LIMIT", 1000)
    with pytest.raises(GroupError, match=r"Expected an action of at most 1000 matrix entries .* has 51840"):
        MaxFilter("S6: 6 points x 2 + 6 points")


def test_tables_of_listed_groups_multiply():
    group = Representation.parse("S3 x C2: 1 points*regular").group
    elements, table = group.elements(), multiplication_table(group)
    assert torch.equal(elements[table], group.compose(elements[:, None], elements[None]))


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13, 16, 33, NETWORK_LIMIT, NETWORK_LIMIT + 3])
def test_networks_sort(n):
    x = torch.randn(n, 20, 3, generator=generator(n))
    assert torch.equal(sort_slices(x), x.permute(1, 2, 0).sort(dim=-1, descending=True).values)


def test_networks_are_needed_whole():
    pairs = comparisons(8)
    assert len(pairs) == 19
    values = [torch.tensor(bits) for bits in torch.cartesian_prod(*[torch.tensor([0, 1])] * 8).tolist()]

    def sorts(network):
        for value in values:
            slots = value.clone()
            for i, j in network:
                if slots[i] < slots[j]:
                    slots[[i, j]] = slots[[j, i]]
            if (slots.diff() > 0).any():
                return False
        return True

    assert sorts(pairs)
    assert not sorts(pairs[:-1])


@pytest.mark.parametrize(("count", "size"), [(0, 4), (4, 0)])
def test_templates_need_a_number(count, size):
    with pytest.raises(ValueError, match="Expected at least one template"):
        unit_templates(count, size, seed=0)
