import pytest
import torch

from lightning_invariant.projections.base.completeness import jacobian_rank
from lightning_invariant.projections.base.homogeneous import direction_and_norm
from lightning_invariant.projections.base.tables import UpperTriangle


def test_rank_counts_what_a_map_forgets():
    point = torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert jacobian_rank(lambda z: z.square(), point) == 5
    assert jacobian_rank(lambda z: z.square().sum(dim=1, keepdim=True), point) == 1
    assert jacobian_rank(lambda z: torch.cat([z[:, :3], z[:, :3] * 2], dim=1), point) == 3
    assert jacobian_rank(lambda z: z[:, :0], point) == 0


@pytest.mark.parametrize("n", [1, 2, 5])
def test_keeps_the_norm_in_every_dtype(n):
    a = torch.randn(3, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = a + a.mT
    for triangle in (UpperTriangle(n), UpperTriangle(n).half()):
        f = triangle(a)
        assert f.shape == (3, n * (n + 1) // 2)
        assert torch.allclose(f.norm(dim=1), a.flatten(1).norm(dim=1), rtol=1e-12)


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
