import pytest
import torch

from lightning_invariant import Representation, quotient
from lightning_invariant.errors import GroupError, ParseError
from lightning_invariant.groups import Unitary
from lightning_invariant.groups.unitary import complex_matrices, quaternion_matrices, real_matrices
from lightning_invariant.projections import GramRoot, HermitianRoot, PhaseOuter, choose
from tests.projections.exact_distances import ratios


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_features_are_the_root_of_the_hermitian_gram_matrix():
    z = torch.randn(5, 4, 3, dtype=torch.complex128, generator=generator())
    values, u = torch.linalg.eigh(z @ z.mH)
    root = (u * values.clamp(min=0).sqrt()[:, None]) @ u.mH
    features = HermitianRoot("U3: 4 vectors")(torch.view_as_real(z))
    rows, columns = torch.triu_indices(4, 4)
    weight = torch.where(rows == columns, 1.0, 2**0.5).double()
    above = rows < columns
    assert features[:, :10].allclose(root.real[:, rows, columns] * weight)
    assert features[:, 10:].allclose((root.imag[:, rows, columns] * weight)[:, above])
    assert features.norm(dim=1).allclose(root.flatten(1).abs().norm(dim=1))


def test_one_complex_coordinate_is_a_plane():
    z = torch.randn(5, 4, 2, dtype=torch.float64, generator=generator())
    assert HermitianRoot("U1: 4 vectors")(z).allclose(PhaseOuter("SO2: 4 vectors")(z))
    assert choose("U1: 4 vectors").out_features == choose("SO2: 4 vectors").out_features


@pytest.mark.parametrize("text", ["U2: 4 vectors", "U3: 2 vectors", "SU2: 4 vectors", "SU2: 2 vectors"])
def test_ratios_to_the_orbit_distance_keep_their_bounds(text):
    projection, size = choose(text), Representation.parse(text).size
    assert isinstance(projection, HermitianRoot)
    found = ratios(
        projection,
        lambda x, y: float(quotient.distance(x[None], y[None], text)),
        (size,),
        generator(),
    )
    assert found.min() > 1 - 1e-9
    assert found.max() < 2**0.5 + 1e-9
    assert found.max() > 1.05


def test_smaller_groups_tell_more_apart():
    z = torch.randn(20, 3, 2, dtype=torch.complex128, generator=generator())
    phase = torch.view_as_real(z * 1j).flatten(2)
    conjugate = torch.view_as_real(z.conj().resolve_conj()).flatten(2)
    z = torch.view_as_real(z).flatten(2)
    for text, same, other in (("SU2", None, phase), ("U2", phase, conjugate), ("O4", conjugate, None)):
        projection = (GramRoot if text == "O4" else HermitianRoot)(f"{text}: 3 vectors")
        for w, merged in ((same, True), (other, False)):
            if w is not None:
                close = (projection(z) - projection(w)).norm(dim=1) < 1e-10
                assert bool(close.all() if merged else not close.any())
                assert bool((quotient.distance(z, w, f"{text}: 3 vectors") < 1e-6).all()) == merged


def test_the_nearest_element_is_found_where_vectors_span_too_little():
    for text in ("U3: 1 vectors", "SU2: 1 vectors"):
        z = Representation.parse(text).random(4, generator()).double()
        z[-1] = 0
        w = Representation.parse(text).random(4, generator(1)).double()
        found = quotient.align(w, z, text)
        assert found.distance.allclose((z.norm(dim=1) - w.norm(dim=1)).abs())
        assert (found.element @ found.element.mT).allclose(torch.eye(found.element.shape[1]).double())


@pytest.mark.parametrize("group", [Unitary(1), Unitary(3), Unitary(2, special=True)])
def test_elements_commute_with_the_units_and_have_the_determinant(group):
    g, units = group.sample(50, generator()), group.units
    assert (units[:, None] @ g).allclose(g @ units[:, None])
    determinant = torch.linalg.det(complex_matrices(g))
    assert determinant.abs().allclose(torch.ones(50).double())
    assert bool((determinant - 1).abs().max() < 1e-12) == group.special
    assert real_matrices(complex_matrices(g)).equal(g)
    if group.special:
        assert quaternion_matrices(complex_matrices(g)[..., 0]).allclose(g)
    random = torch.randn(group.d, group.d, dtype=torch.float64, generator=generator())
    small = torch.linalg.matrix_exp(group.skew(random))
    assert (units @ small).allclose(small @ units)
    assert (small - group.identity()).norm() > 0.1
    assert (small @ small.mT).allclose(group.identity())


@pytest.mark.parametrize(("text", "dimension"), [("U2: 3 vectors", 4), ("SU2: 3 vectors", 3), ("U1: 2 vectors", 1)])
def test_the_jacobian_loses_the_directions_along_orbits_only(text, dimension):
    from lightning_invariant.projections.base.completeness import jacobian_rank, orbit_directions

    projection = HermitianRoot(text).double()
    z = projection.representation.random(1, generator()).double()[0]
    assert orbit_directions(projection.representation, z).shape[1] == dimension
    assert jacobian_rank(projection.project, z) == len(z) - dimension


def test_haar_samples_have_the_moments_of_the_group():
    trace = complex_matrices(Unitary(2).sample(20000, generator())).diagonal(dim1=1, dim2=2).sum(dim=1)
    assert trace.mean().abs() < 0.03
    assert (trace.abs() ** 2).mean().item() == pytest.approx(1, abs=0.04)
    assert (trace.abs() ** 4).mean().item() == pytest.approx(2, abs=0.2)


def test_layouts_and_groups_that_are_refused():
    representation = Representation.parse("U3: 8 vectors")
    assert representation.flatten(torch.zeros(5, 8, 3, 2)).shape == (5, 48)
    assert representation.flatten(torch.zeros(5, 8, 6)).shape == (5, 48)
    with pytest.raises(ParseError, match="SU2 or U3 but got SU3"):
        Representation.parse("SU3: 2 vectors")
    with pytest.raises(GroupError, match="use GramRoot"):
        HermitianRoot("O3: 2 vectors")
    with pytest.raises(GroupError, match="vectors of U"):
        HermitianRoot("U2: 4 trivial")


def test_second_derivatives_are_right():
    projection = HermitianRoot("SU2: 2 vectors")
    z = torch.randn(2, 8, dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradgradcheck(projection, z)


def test_large_groups_need_no_matrices():
    projection = HermitianRoot("U16000: 2 vectors")
    z = projection.representation.random(1, generator())
    assert projection(z).isfinite().all()
    assert sum(buffer.numel() for buffer in projection.buffers()) < 100
