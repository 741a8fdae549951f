import pytest
import torch

from lightning_invariant.projections.homogeneous import direction_and_norm


@pytest.mark.parametrize("scale", [0.0, 1e-38, 1e-20, 1.0, 1e20, 1e37])
def test_scales_that_squares_do_not_survive(scale):
    z = (torch.tensor([[3.0, -4.0]]) * scale).requires_grad_()
    unit, norm = direction_and_norm(z)
    (unit.sum() * norm.detach().clamp(max=1.0).sum() + norm.sum()).backward()
    assert norm.item() == pytest.approx(5 * scale, rel=1e-5)
    assert torch.allclose(unit, torch.tensor([[0.6, -0.8]]) * (scale > 0))
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_gradient_of_the_norm_is_exact():
    z = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: direction_and_norm(x, dims=(1, 2)), (z,))


def test_what_is_not_finite_is_not_hidden():
    unit, norm = direction_and_norm(torch.tensor([[torch.nan, 1.0], [torch.inf, 1.0], [3.0, 4.0]]))
    assert not norm[:2].isfinite().any()
    assert not unit[:2].isfinite().all(dim=1).any()
    assert norm[2] == 5
