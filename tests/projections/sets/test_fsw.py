import math

import pytest
import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.guarantee import Separation
from lightning_invariant.projections import FSW
from tests.projections.exact_distances import KITE, TRAPEZOID, assignment_distance, ratios


def generator():
    return torch.Generator().manual_seed(0)


def ragged(n=6, d=2, **settings):
    return FSW(f"S{n}: {n} points x {d}", ragged=True, **settings)


def test_against_the_integral_on_a_fine_grid():
    projection, z = FSW("S5: 5 points x 2", out_features=30), torch.randn(1, 5, 2, generator=generator()).double()
    t = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    slow = projection.table_frequencies < 50
    columns = (z[0] @ projection.directions.double().mT).sort(dim=0).values
    for k in slow.nonzero().flatten().tolist():
        w = projection.table_frequencies[k]
        expected = 2 * (1 + w) * (columns[(t * 5).long(), k] * (2 * math.pi * w * t).cos()).mean() / 30**0.5
        assert projection(z)[0, k].item() == pytest.approx(expected.item(), abs=1e-4)
    assert slow.sum() > 20


@pytest.mark.parametrize(
    ("size", "separation"), [(12, Separation.PAIRWISE), (13, Separation.GENERIC), (24, Separation.BILIPSCHITZ)]
)
def test_marked_by_its_size(size, separation):
    assert FSW("S6: 6 points x 2", out_features=size).guarantee.separation is separation


def test_ratios_to_the_orbit_distance_are_bounded():
    found = ratios(FSW("S6: 6 points x 3", out_features=400), assignment_distance, (6, 3), generator())
    low, high = found.quantile(torch.tensor([0.01, 0.99], dtype=found.dtype))
    assert found.min() > 0.02
    assert high / low < 4


def test_separates_sets_with_equal_distances():
    projection = FSW("S4: 4 points x 2")
    assert (projection(KITE[None]) - projection(TRAPEZOID[None])).norm() > 0.02


def test_hidden_points_do_not_matter_and_order_does_not():
    projection, z = ragged(), torch.randn(2, 6, 2, generator=generator())
    mask = torch.tensor([[True, False, True, True, False, True], [False, False, False, True, False, False]])
    order = torch.randperm(6, generator=generator())
    f = projection(z, mask)
    assert torch.equal(f, projection(torch.where(mask[..., None], z, torch.nan), mask))
    assert torch.allclose(f, projection(z[:, order], mask[:, order]), atol=1e-6)
    assert (f - projection(z)).norm() > 0.1


@pytest.mark.parametrize("m", [1, 2, 3])
def test_a_set_and_its_repetition_differ_in_the_share_alone(m):
    projection, x = ragged(), torch.randn(1, m, 2, generator=generator()).double()
    once = torch.cat([x, torch.zeros(1, 6 - m, 2)], dim=1)
    f, g = projection(once, torch.arange(6)[None] < m), projection(x.repeat(1, 6 // m, 1))
    assert torch.allclose(f[:, :-1], g[:, :-1], atol=1e-9)
    assert f[0, -1] == pytest.approx(m / 6)


def test_two_points_and_three_with_their_middle_are_told_apart():
    """The bin means of sorted columns are blind to this pair; quantiles are not."""
    projection, p, q = ragged(3), torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    two = projection(torch.stack([p, q, p])[None], torch.tensor([[True, True, False]]))
    three = projection(torch.stack([p, (p + q) / 2, q])[None])
    assert (two[:, :-1] - three[:, :-1]).norm() > 0.02


def test_masks_are_checked_and_gradients_finite():
    with pytest.raises(LatentError, match="visible point"):
        ragged()(torch.zeros(1, 6, 2), torch.zeros(1, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match="build FSW with ragged=True"):
        FSW("S6: 6 points x 2")(torch.zeros(1, 6, 2), torch.ones(1, 6, dtype=torch.bool))
    z = torch.zeros(2, 6, 2, requires_grad=True)
    ragged()(z, torch.arange(6)[None] < torch.tensor([[1], [4]])).sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_export_with_a_mask_and_a_free_batch():
    projection, z = ragged(), torch.randn(4, 6, 2, generator=generator())
    mask = torch.arange(6)[None] < torch.tensor([[1], [3], [6], [4]])
    batch = torch.export.Dim("batch")
    shapes = {"z": {0: batch}, "mask": {0: batch}}
    graph = torch.export.export(projection, (z, mask), dynamic_shapes=shapes, strict=False).module()
    assert torch.allclose(graph(z[:3], mask[:3]), projection(z[:3], mask[:3]), atol=1e-6)
