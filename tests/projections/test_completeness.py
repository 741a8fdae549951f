import torch

from lightning_invariant.projections.completeness import jacobian_rank


def test_rank_counts_what_a_map_forgets():
    point = torch.randn(5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert jacobian_rank(lambda z: z.square(), point) == 5
    assert jacobian_rank(lambda z: z.square().sum(dim=1, keepdim=True), point) == 1
    assert jacobian_rank(lambda z: torch.cat([z[:, :3], z[:, :3] * 2], dim=1), point) == 3
    assert jacobian_rank(lambda z: z[:, :0], point) == 0
