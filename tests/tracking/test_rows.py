import pytest
import torch

from lightning_invariant.tracking.rows import spread_rows


@pytest.mark.parametrize(("count", "limit"), [(0, 5), (5, 5), (5, 9), (1000, 100), (1001, 1000)])
def test_rows_are_sorted_distinct_and_as_many_as_asked(count, limit):
    rows = spread_rows(count, limit).tolist()
    assert rows == sorted(set(rows))
    assert len(rows) == min(count, limit)
    assert all(0 <= row < count for row in rows)


@pytest.mark.parametrize("period", [2, 4, 10])
def test_no_phase_of_a_period_is_lost(period):
    taken = torch.bincount(spread_rows(4000, 400) % period, minlength=period)
    assert taken.min() > 0.8 * 400 / period
    # A plain stride shows one phase only.
    assert torch.bincount(torch.arange(0, 4000, 10) % 10, minlength=10).count_nonzero() == 1


def test_rows_reach_from_end_to_end():
    rows = spread_rows(10_000, 100)
    assert rows.diff().max() < 300


@pytest.mark.parametrize(("count", "limit"), [(-1, 3), (3, 0)])
def test_wrong_sizes_are_refused(count, limit):
    with pytest.raises(ValueError, match="limit >= 1"):
        spread_rows(count, limit)
