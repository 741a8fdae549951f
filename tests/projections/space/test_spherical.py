import itertools
import math

import pytest
import torch

from lightning_invariant import Representation
from lightning_invariant.errors import GroupError
from lightning_invariant.groups import SO3
from lightning_invariant.groups.harmonics import rotation_matrices, spherical_harmonics
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import SphericalBispectrum, SphericalPowerSpectrum
from lightning_invariant.projections.space.clebsch_gordan import clebsch_gordan
from tests.projections.exact_distances import HOMOMETRIC

DEGREES = [t for t in itertools.product(range(5), repeat=3) if abs(t[0] - t[1]) <= t[2] <= t[0] + t[1]]


def test_equals_e3nn_up_to_the_sign():
    o3 = pytest.importorskip("e3nn.o3")
    for degrees in DEGREES:
        ours, theirs = clebsch_gordan(*degrees), o3.wigner_3j(*degrees, dtype=torch.float64)
        assert min((ours - theirs).abs().max(), (ours + theirs).abs().max()) < 1e-12, degrees
        assert ours.norm().item() == pytest.approx(1)


def test_is_invariant_under_rotations():
    rotation = SO3().sample(1, torch.Generator().manual_seed(0))
    for degrees in DEGREES:
        table = clebsch_gordan(*degrees)
        turned = torch.einsum("ijk,ia,jb,kc->abc", table, *(rotation_matrices(n, rotation)[0] for n in degrees))
        assert (turned - table).abs().max() < 1e-12, degrees


@pytest.mark.parametrize("degrees", [(6, 6, 6), (8, 5, 7)])
def test_large_degrees_keep_their_norm(degrees):
    assert clebsch_gordan(*degrees).norm().item() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("degrees", [(1, 1, 3), (0, 1, 2), (-1, 0, 1)])
def test_degrees_without_a_product_are_refused(degrees):
    with pytest.raises(ValueError, match="Expected degrees with"):
        clebsch_gordan(*degrees)


def test_a_table_that_is_changed_in_place_changes_no_other():
    clebsch_gordan(1, 1, 1).zero_()
    assert clebsch_gordan(1, 1, 1).norm() > 0.9


def generator():
    return torch.Generator().manual_seed(0)


def ring_of_points(places, degrees):
    """Density of points on a circle in harmonics, as atomic environments are described."""
    angle = torch.tensor(places, dtype=torch.float64) * 2 * math.pi / 8
    points = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], dim=1)
    return torch.cat([spherical_harmonics(degree, points).sum(dim=0) for degree in degrees])[None]


@pytest.mark.parametrize(
    "text", ["SO3: 3x0 + 4x1 + 2x2 + 1x3", "O3: 1x0e + 2x0o + 3x1o + 2x1e + 2x2e + 1x2o", "O3: 2 vectors + 1 det"]
)
@pytest.mark.parametrize("kind", [SphericalPowerSpectrum, SphericalBispectrum])
def test_invariant_to_rounding(text, kind):
    representation = Representation.parse(text)
    z = representation.random(20, generator()).double()
    moved = representation.transform(z, representation.group.sample(20, generator()))
    assert torch.allclose(kind(text)(z), kind(text)(moved), atol=1e-12)


@pytest.mark.parametrize("degrees", [range(1, 5), range(2, 7)])
def test_rings_with_equal_angles_are_merged_by_the_power_spectrum_only(degrees):
    """Neighbours with the same multiset of angles: the power spectrum's blind spot in Pozdnyakov et al. 2020."""
    text = "SO3: " + " + ".join(f"1x{degree}" for degree in degrees)
    first, second = (ring_of_points(places, degrees) for places in HOMOMETRIC)
    power, bispectrum = SphericalPowerSpectrum(text), SphericalBispectrum(text)
    assert torch.allclose(power(first), power(second), atol=1e-12)
    assert (bispectrum(first) - bispectrum(second)).norm() > 1e-3


def test_a_degree_turned_on_its_own_is_merged_by_the_power_spectrum_only():
    representation = Representation.parse("SO3: 3x1 + 2x2")
    z = representation.random(10, generator()).double()
    g = representation.group.sample(10, generator())
    turned = torch.cat([representation.transform(z, g)[:, :9], z[:, 9:]], dim=1)
    power, bispectrum = SphericalPowerSpectrum(representation), SphericalBispectrum(representation)
    assert torch.allclose(power(z), power(turned), atol=1e-12)
    assert ((bispectrum(z) - bispectrum(turned)).norm(dim=1) > 1e-2).all()


@pytest.mark.parametrize("kind", [SphericalPowerSpectrum, SphericalBispectrum])
def test_a_channel_turned_on_its_own_is_separated(kind):
    representation = Representation.parse("SO3: 3x1 + 2x2")
    z = representation.random(10, generator()).double()
    g = representation.group.sample(10, generator())
    turned = torch.cat([representation.transform(z, g)[:, :3], z[:, 3:]], dim=1)
    assert ((kind(representation)(z) - kind(representation)(turned)).norm(dim=1) > 1e-2).all()


def test_mirror_images_are_merged_by_reflections_only():
    z = Representation.parse("SO3: 3x1 + 2x2").random(10, generator()).double()
    mirrored = torch.cat([-z[:, :9], z[:, 9:]], dim=1)
    both, rotations = SphericalBispectrum("O3: 3x1o + 2x2e"), SphericalBispectrum("SO3: 3x1 + 2x2")
    assert torch.allclose(both(z), both(mirrored), atol=1e-12)
    assert ((rotations(z) - rotations(mirrored)).norm(dim=1) > 1e-2).all()


@pytest.mark.parametrize(
    ("text", "separation"),
    [
        ("SO3: 1x2", Separation.GENERIC),
        ("SO3: 2x0 + 4x1 + 2x2", Separation.GENERIC),
        ("O3: 3x1o + 1x2e", Separation.GENERIC),
        ("SO3: 3x1 + 5x2 + 7x3", Separation.GENERIC),
        ("SO3: 1x3", Separation.LOSSY),
        ("SO3: 1x0 + 1x1 + 1x2 + 1x3 + 1x4", Separation.LOSSY),
    ],
)
def test_marked_by_the_rank_of_its_jacobian(text, separation):
    assert SphericalBispectrum(text).guarantee.separation is separation


def test_marked_lossy_where_it_merges():
    """Degree 3 has no cubic invariant, so the norm is all that one channel gives."""
    projection = SphericalBispectrum("SO3: 1x3")
    z, w = torch.nn.functional.normalize(torch.randn(2, 7, generator=generator(), dtype=torch.float64))[:, None]
    assert projection.out_features == 1
    assert torch.allclose(projection(z), projection(w))


@pytest.mark.parametrize(
    ("size", "separation"),
    [(20, Separation.PAIRWISE), (80, Separation.PAIRWISE), (90, Separation.GENERIC), (None, Separation.GENERIC)],
)
def test_a_selection_has_the_wished_size(size, separation):
    projection = SphericalBispectrum("SO3: 2x0 + 8x1 + 6x2 + 4x3", out_features=size, seed=5)
    again = SphericalBispectrum("SO3: 2x0 + 8x1 + 6x2 + 4x3", out_features=size, seed=5)
    z = projection.representation.random(3, generator())
    expected = 4 * 84 if size is None else size
    assert projection(z).shape == (3, expected)
    assert projection.selects
    assert torch.equal(projection(z), again(z))
    assert projection.guarantee.separation is separation


def test_selections_lie_in_the_span_of_all_products():
    everything = SphericalBispectrum("SO3: 2x1 + 2x2", out_features=1000)
    some = SphericalBispectrum("SO3: 2x1 + 2x2", out_features=12)
    z = torch.nn.functional.normalize(everything.representation.random(200, generator()).double())
    f, s = everything(z), some(z)
    fitted = f @ torch.linalg.lstsq(f, s).solution
    assert some.selects
    assert not everything.selects
    assert torch.allclose(fitted, s, atol=1e-6)


def test_equals_the_contraction_written_out():
    from lightning_invariant.projections.space.clebsch_gordan import clebsch_gordan

    projection = SphericalBispectrum("SO3: 2x1 + 1x2")
    z = projection.representation.random(4, generator()).double()
    u = z / z.norm(dim=1, keepdim=True)
    a, b, c = u[:, :3], u[:, 3:6], u[:, 6:]
    table, cube = clebsch_gordan(1, 1, 2), clebsch_gordan(2, 2, 2)
    gram = [(a * a).sum(1), math.sqrt(2) * (a * b).sum(1), (b * b).sum(1), (c * c).sum(1)]
    mixed = [torch.einsum("ijk,bi,bj,bk->b", table, x, y, c) for x, y in ((a, a), (a, b), (b, b))]
    expected = (
        torch.stack([*gram, *mixed, torch.einsum("ijk,bi,bj,bk->b", cube, c, c, c)], dim=1) * z.norm(dim=1)[:, None]
    )
    assert torch.allclose(projection(z), expected, atol=1e-12)


def test_scales_like_the_latent():
    projection = SphericalBispectrum("SO3: 3x1 + 1x2")
    z = projection.representation.random(4, generator()).double()
    assert torch.allclose(projection(1e6 * z), 1e6 * projection(z))


def test_too_small_a_size_and_other_groups_are_refused():
    with pytest.raises(ValueError, match="room for 4 kinds of products beside unmoved numbers but got 3"):
        SphericalBispectrum("SO3: 2x0 + 2x1 + 1x2", out_features=5)
    for text in ("SO2: 4x1", "SO3: 3x0", "O4: 3 vectors"):
        with pytest.raises(GroupError, match="irreps of SO3 or O3"):
            SphericalBispectrum(text)
