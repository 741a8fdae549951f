import pytest
import torch

from lightning_invariant.callback.capture.samples import Positions, Reservoir


def stream(reservoir, rows, batch=7):
    for start in range(0, rows, batch):
        number = torch.arange(start, min(rows, start + batch))
        reservoir.add({"x": number.float()[:, None].repeat(1, 3), "y": number})
    return reservoir


def test_a_short_stream_is_kept_in_order():
    kept = stream(Reservoir(50), 20)
    assert torch.equal(kept.columns["y"], torch.arange(20))
    assert len(kept) == 20


def test_rows_stay_together_and_the_bound_holds():
    kept = stream(Reservoir(50), 1000)
    assert len(kept) == 50 == len(kept.columns["y"].unique())
    assert torch.equal(kept.columns["x"][:, 0].long(), kept.columns["y"])
    assert kept.seen == 1000


def test_every_row_has_the_same_chance():
    counts = torch.zeros(100)
    for seed in range(600):
        counts[stream(Reservoir(10, seed=seed), 100, batch=9).columns["y"]] += 1
    # 60 expected; six standard deviations of a binomial
    assert (counts - 60).abs().max() < 6 * (600 * 0.1 * 0.9) ** 0.5


def test_the_same_stream_gives_the_same_sample_in_batches_of_any_size():
    one, same, other = (stream(Reservoir(10, seed=s), 100, batch=b) for s, b in ((3, 9), (3, 9), (4, 9)))
    assert torch.equal(one.columns["y"], same.columns["y"])
    assert not torch.equal(one.columns["y"], other.columns["y"])
    single = stream(Reservoir(10, seed=3), 100, batch=1)
    assert torch.equal(one.columns["y"], single.columns["y"])


def test_memory_is_bounded_by_bytes():
    kept = stream(Reservoir(1000, max_bytes=20 * 10), 500)  # a row has 3 floats and one int64
    assert len(kept) == 10


def test_batches_are_neither_held_nor_changed_and_global_randomness_is_untouched():
    before, x = torch.random.get_rng_state(), torch.ones(4, 2, requires_grad=True)
    kept = Reservoir(2)
    for _ in range(5):
        kept.add({"x": x})
    assert not kept.columns["x"].requires_grad
    kept.columns["x"].zero_()
    assert torch.equal(x, torch.ones(4, 2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_clearing_starts_again():
    kept = stream(Reservoir(10), 100)
    kept.clear()
    assert len(kept) == 0
    assert kept.columns == {}
    assert torch.equal(stream(kept, 100).columns["y"], stream(Reservoir(10), 100).columns["y"])


@pytest.mark.parametrize("columns", [{"x": torch.ones(2, 4), "y": torch.ones(2)}, {"x": torch.ones(2, 3)}])
def test_rows_of_another_size_are_refused(columns):
    kept = stream(Reservoir(10), 7)
    with pytest.raises(ValueError, match="Expected rows of x"):
        kept.add(columns)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="one length"):
        Reservoir(3).add({"x": torch.ones(2), "y": torch.ones(3)})


@pytest.mark.parametrize("bad", [{"capacity": 0}, {"capacity": 3, "max_bytes": 0}])
def test_bounds_below_one_are_refused(bad):
    with pytest.raises(ValueError, match="at least 1"):
        Reservoir(**bad)


def test_an_empty_batch_changes_nothing():
    kept = stream(Reservoir(10), 7)
    kept.add({"x": torch.ones(0, 3), "y": torch.ones(0, dtype=torch.int64)})
    assert len(kept) == 7


@pytest.mark.parametrize("process", [0, 1, 2])
def test_rows_that_a_sampler_repeats_are_not_real(process):
    numbers, found = Positions(3, process, length=10), []
    for rows in (3, 1):  # 12 rows are dealt out, of which the sampler repeats two
        places = numbers.peek(rows)
        real = numbers.real(places)
        found += places.tolist() if real is None else places[real].tolist()
        numbers.next(rows)
    assert found == list(range(process, 10, 3))
