import pytest
import torch

from lightning_invariant.projections.upper_triangle import UpperTriangle


@pytest.mark.parametrize("n", [1, 2, 5])
def test_keeps_the_norm_in_every_dtype(n):
    a = torch.randn(3, n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a = a + a.mT
    for triangle in (UpperTriangle(n), UpperTriangle(n).half()):
        f = triangle(a)
        assert f.shape == (3, n * (n + 1) // 2)
        assert torch.allclose(f.norm(dim=1), a.flatten(1).norm(dim=1), rtol=1e-12)
