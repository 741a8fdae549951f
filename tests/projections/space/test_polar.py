import pytest
import torch

from lightning_invariant.projections import SingularValues, SortedEigenvalues
from lightning_invariant.projections.space.polar import _eigenvalues, _singular_values

SIDES = [("O3 x O2", (3, 2)), ("O2 x O3", (2, 3)), ("O3 x O3", (3, 3)), ("SO3 x SO3", (3, 3))]


def generator():
    return torch.Generator().manual_seed(0)


def curvature(function, x, v):
    """Second derivatives of each value along v, by automatic differentiation and by second differences."""
    first = torch.func.jacrev(lambda t: torch.func.jacrev(lambda s: function(x + s * v))(t))
    step = 1e-4
    differences = (function(x + step * v) - 2 * function(x) + function(x - step * v)) / step**2
    return first(torch.zeros((), dtype=x.dtype)), differences


@pytest.mark.parametrize("text", ["SO3: 1x2", "O3: 1x2o + 1x0e"])
def test_derivatives_of_eigenvalues_are_right(text):
    projection = SortedEigenvalues(text)
    x = torch.randn(3, projection.representation.size, dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradcheck(projection, x)
    assert torch.autograd.gradgradcheck(projection, x)


@pytest.mark.parametrize(("group", "shape"), SIDES)
def test_derivatives_of_singular_values_are_right(group, shape):
    projection = SingularValues(f"{group}: 1 vectors*vectors")
    x = torch.randn(3, shape[0] * shape[1], dtype=torch.float64, generator=generator(), requires_grad=True)
    assert torch.autograd.gradcheck(projection, x)
    assert torch.autograd.gradgradcheck(projection, x)


def test_a_simple_eigenvalue_has_its_second_derivative_beside_equal_ones():
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=generator()))[0]
    v = torch.randn(3, 3, dtype=torch.float64, generator=generator())
    x = q @ torch.tensor([-1.0, -1.0, 2.0]).double().diag() @ q.T
    found, differences = curvature(lambda x: _eigenvalues(x[None])[0], x, v + v.T)
    assert found.isfinite().all()
    assert found[2].item() == pytest.approx(differences[2].item(), rel=1e-5)


@pytest.mark.parametrize(
    ("values", "signed", "simple"),
    [([3.0, 1, 1], False, [0]), ([3.0, 2, 0], False, [0, 1]), ([3.0, 2, 0], True, [0, 1, 2]), ([2.0, 0, 0], True, [0])],
)
def test_simple_singular_values_have_second_derivatives_beside_equal_and_vanishing_ones(values, signed, simple):
    u, v, d = (torch.randn(3, 3, dtype=torch.float64, generator=generator()) for _ in range(3))
    x = torch.linalg.qr(u)[0] @ torch.tensor(values).double().diag() @ torch.linalg.qr(v + u @ u)[0]
    found, differences = curvature(lambda x: _singular_values(x[None], signed=signed)[0], x, d + u.T)
    assert found.isfinite().all()
    assert found[simple].allclose(differences[simple], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_signed_value_has_its_gradient_where_the_determinant_vanishes(sign):
    x = torch.diag(torch.tensor([3.0, 2.0, 0.0])).double() * torch.tensor([1.0, sign, 1.0]).double()
    x = x.requires_grad_()
    _singular_values(x[None], signed=True)[0, 2].backward()
    assert x.grad[2, 2].item() == pytest.approx(sign)


@pytest.mark.parametrize(("group", "shape"), SIDES)
def test_second_derivatives_are_finite_at_zero_and_where_values_coincide(group, shape):
    projection = SingularValues(f"{group}: 1 vectors*vectors")
    for x in (torch.zeros(1, *shape), torch.eye(*shape)[None], torch.ones(1, *shape)):
        x = x.double().flatten(1).requires_grad_()
        (first,) = torch.autograd.grad(projection(x).sin().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        assert first.isfinite().all()
        assert second.isfinite().all()


@pytest.mark.parametrize("text", ["SO3: 1x2", "O3: 1x2o"])
@pytest.mark.parametrize("z", [[0.0] * 5, [0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]])
def test_second_derivatives_of_eigenvalues_are_finite_where_they_coincide(text, z):
    x = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(SortedEigenvalues(text)(x).sin().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert first.isfinite().all()
    assert second.isfinite().all()
