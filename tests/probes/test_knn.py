"""Neighbours against scikit-learn's brute force, and the promises about memory, ties, precision and randomness."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors

from lightning_invariant.probes import accuracy, knn_neighbours, knn_predict, knn_vote
from lightning_invariant.probes.knn import _Index
from tests.memory import linux_only, printed


def blobs(count: int, size: int = 12, classes: int = 5, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian classes that overlap, around means that do not depend on the seed and lie far from the origin."""
    means = 30 + 2 * torch.randn(classes, size, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (count,), generator=generator)
    return means[labels] + 2 * torch.randn(count, size, generator=generator), labels


BANK, LABELS = blobs(700)
QUERIES, ANSWERS = blobs(150, seed=1)
VALUES = (BANK[:, :3] * torch.tensor([1.0, -2.0, 0.5])).contiguous()


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 5, 20, 300])
def test_classes_and_values_equal_scikit_learns(k: int, weights: str) -> None:
    reference = KNeighborsClassifier(k, algorithm="brute", weights=weights).fit(BANK.numpy(), LABELS.numpy())
    predicted = knn_predict(BANK, LABELS, QUERIES, k=k, weights=weights)
    assert predicted.tolist() == reference.predict(QUERIES.numpy()).tolist()
    for values in (VALUES, VALUES[:, 0]):
        regressor = KNeighborsRegressor(k, algorithm="brute", weights=weights).fit(BANK.numpy(), values.numpy())
        expected = torch.from_numpy(regressor.predict(QUERIES.numpy()))
        torch.testing.assert_close(knn_predict(BANK, values, QUERIES, k=k, weights=weights), expected.float())
    assert accuracy(predicted, ANSWERS) > 0.5


def test_shuffled_labels_give_chance() -> None:
    shuffled = LABELS[torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(3))]
    assert accuracy(knn_predict(BANK, shuffled, QUERIES), ANSWERS) < 0.35


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("count", [1, 7, 20, 21, 100, 701])
def test_neighbours_equal_scikit_learns(metric: str, count: int) -> None:
    bank, queries = blobs(count, seed=4)[0].double(), QUERIES.double()
    k = min(9, count)
    expected, rows = NearestNeighbors(n_neighbors=k, algorithm="brute", metric=metric).fit(bank).kneighbors(queries)
    distances, found = knn_neighbours(bank, queries, k=9, metric=metric)
    assert found.shape == (len(queries), k)
    assert (found.numpy() == rows).mean() > 0.999  # ranks are taken in float32
    torch.testing.assert_close(distances, torch.from_numpy(expected), rtol=1e-5, atol=1e-7)


def test_multi_label_targets_give_the_share_of_neighbours() -> None:
    targets = torch.nn.functional.one_hot(LABELS, 5).bool()
    shares = knn_predict(BANK, targets, QUERIES, k=10)
    assert shares.shape == (150, 5)
    torch.testing.assert_close(shares.sum(1), torch.ones(150))
    assert torch.equal(shares.argmax(1), knn_predict(BANK, LABELS, QUERIES, k=10))


def test_weighted_cosine_votes_are_a_softmax_over_similarities() -> None:
    similarity = torch.cosine_similarity(QUERIES[:, None], BANK[None], dim=-1)
    best, rows = similarity.topk(20, dim=1)
    votes = torch.einsum("mk,mkc->mc", (best / 0.07).softmax(1), torch.nn.functional.one_hot(LABELS[rows], 5).float())
    assert torch.equal(knn_predict(BANK, LABELS, QUERIES, metric="cosine", weights="distance"), votes.argmax(1))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_chunks_change_nothing(weights: str) -> None:
    whole = knn_predict(BANK, LABELS, QUERIES, weights=weights, chunk=1000)
    for chunk in (1, 7, 64):
        assert torch.equal(knn_predict(BANK, LABELS, QUERIES, weights=weights, chunk=chunk), whole)


def test_shards_merge_to_the_whole() -> None:
    found = [knn_neighbours(part, QUERIES, k=8) for part in BANK.split(250)]
    distances = torch.cat([d for d, _ in found], 1)
    rows = torch.cat([r + 250 * i for i, (_, r) in enumerate(found)], 1)
    best = distances.topk(8, dim=1, largest=False).indices
    merged = knn_vote(distances.gather(1, best), LABELS[rows.gather(1, best)], weights="distance")
    assert torch.equal(merged, knn_predict(BANK, LABELS, QUERIES, k=8, weights="distance"))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 1500), st.integers(1, 12), st.integers(0, 1000))
def test_copies_of_a_row_are_taken_in_the_order_of_the_bank(count: int, k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    bank = torch.randint(0, 4, (count, 1), generator=generator).float()
    queries = torch.tensor([[-1.0], [0.0], [3.0], [5.0]])
    expected = (queries - bank.T).abs().sort(dim=1, stable=True)
    distances, rows = knn_neighbours(bank, queries, k=k)
    assert torch.equal(rows, expected.indices[:, :k])
    assert torch.equal(distances, expected.values[:, :k])


def test_tied_votes_go_to_the_smallest_class() -> None:
    bank = torch.tensor([[1.0], [-1.0]])
    assert knn_predict(bank, torch.tensor([4, 2]), torch.zeros(1, 1), k=2).tolist() == [2]


def test_copies_outvote_all_others_and_have_distance_zero() -> None:
    labels = torch.arange(len(BANK))
    assert torch.equal(knn_predict(BANK, labels, BANK, k=5, weights="distance"), labels)
    for metric in ("euclidean", "cosine"):
        assert knn_neighbours(BANK, BANK, k=1, metric=metric)[0].abs().max() == 0


def test_a_zero_vector_has_cosine_distance_one() -> None:
    distances, rows = knn_neighbours(torch.eye(3), torch.zeros(1, 3), k=2, metric="cosine")
    assert distances.tolist() == [[1.0, 1.0]]
    assert rows.tolist() == [[0, 1]]
    assert knn_neighbours(torch.zeros(1, 3), torch.eye(3)[:1], metric="cosine")[0].tolist() == [[1.0]]


def test_k_beyond_the_bank_takes_all_of_it() -> None:
    assert torch.equal(
        knn_predict(BANK[:6], LABELS[:6], QUERIES, k=200), knn_predict(BANK[:6], LABELS[:6], QUERIES, k=6)
    )


def test_one_class_is_predicted_always() -> None:
    assert knn_predict(BANK, torch.full((700,), 3), QUERIES).unique().tolist() == [3]


def test_classes_of_any_size() -> None:
    far = knn_predict(BANK, LABELS + 2**40, QUERIES)
    assert torch.equal(far, knn_predict(BANK, LABELS, QUERIES) + 2**40)
    assert torch.equal(
        knn_vote(torch.ones(2, 3), torch.tensor([[2**50, 7, 7], [1, 2**50, 2**50]])), far.new([7, 2**50])
    )


@pytest.mark.parametrize("far", [1e4, 1e7, 1e20, 1e37])
def test_far_rows_change_nothing_for_the_others(far: float) -> None:
    """A few rows far away in several directions: neighbours are those that exact differences give."""
    bank = BANK.clone()
    bank[0], bank[1], bank[2, 3] = far, -1e-3 * far, far
    expected = torch.cdist(QUERIES.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(knn_neighbours(bank, QUERIES, k=7)[1], expected.topk(7, largest=False).indices)
    changed = knn_predict(bank, LABELS, QUERIES) != knn_predict(BANK[3:], LABELS[3:], QUERIES)
    assert not changed.any()


def test_a_far_row_does_not_make_the_search_slow(monkeypatch) -> None:
    """The centre stays with the others, so that no query needs exact differences."""

    def refused(*arguments: object) -> None:
        raise AssertionError("exact differences")

    monkeypatch.setattr(_Index, "_exactly", refused)
    bank = BANK.clone()
    bank[0], bank[1] = 1e7, -1e4
    assert knn_predict(bank, LABELS, QUERIES).shape == (150,)


@pytest.mark.parametrize("gap", [1e3, 1e5])
def test_two_tight_clusters_far_apart_are_both_ranked_exactly(gap: float) -> None:
    """|b|^2 - 2 b.q has no digit left for neighbours inside the far one."""
    bank, queries = BANK.clone(), QUERIES.clone()
    bank[::2], queries[::2] = bank[::2] + gap, queries[::2] + gap
    expected = torch.cdist(queries.double(), bank.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(knn_neighbours(bank, queries, k=7)[1], expected.topk(7, largest=False).indices)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("size", [1, 3, 50], ids=["single", "threes", "fifties"])
def test_a_query_has_no_neighbour_in_its_own_group(size: int, metric: str) -> None:
    groups = torch.randperm(700, generator=torch.Generator().manual_seed(0)) // size
    own = torch.randperm(700, generator=torch.Generator().manual_seed(1))[:150]
    bank, queries = BANK - 30, BANK[own] - 30 + 0.1 * (QUERIES - 30)
    found = knn_neighbours(bank, queries, k=9, metric=metric, groups=groups, query_groups=groups[own])[1]
    for query, rows, group in zip(queries, found, groups[own], strict=True):
        kept = (groups != group).nonzero()[:, 0]
        assert torch.equal(rows, kept[knn_neighbours(bank[kept], query[None], k=9, metric=metric)[1][0]])
    votes = knn_predict(bank, LABELS, queries, k=9, metric=metric, groups=groups, query_groups=groups[own])
    assert torch.equal(votes, knn_vote(torch.ones(150, 9), LABELS[found]))


def test_a_group_that_the_bank_does_not_know_leaves_nothing_out() -> None:
    unknown = torch.full((150,), 10_000)
    found = knn_neighbours(BANK, QUERIES, groups=torch.arange(700), query_groups=unknown)
    assert torch.equal(found[1], knn_neighbours(BANK, QUERIES)[1])


def test_no_more_neighbours_than_the_largest_group_leaves() -> None:
    groups = torch.tensor([0, 0, 0, 1, 2])
    found = knn_neighbours(BANK[:5], BANK[:5], k=4, groups=groups, query_groups=groups)[1]
    assert found.shape == (5, 2)
    assert found[0].sort().values.tolist() == [3, 4]


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_scale_does_not_matter(scale: float) -> None:
    assert torch.equal(knn_predict(BANK * scale, LABELS, QUERIES * scale), knn_predict(BANK, LABELS, QUERIES))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_equal_their_float32_values(dtype: torch.dtype) -> None:
    bank, queries = BANK.to(dtype), QUERIES.to(dtype)
    assert torch.equal(knn_predict(bank, LABELS, queries), knn_predict(bank.float(), LABELS, queries.float()))


def test_no_graph_no_autocast_no_randomness() -> None:
    plain, state = knn_predict(BANK, VALUES, QUERIES, k=3), torch.get_rng_state()
    attached = BANK.clone().requires_grad_()
    result = knn_predict(attached, VALUES.clone().requires_grad_(), QUERIES, k=3)
    assert not result.requires_grad
    with torch.inference_mode():
        assert torch.equal(knn_predict(BANK, VALUES, QUERIES, k=3), plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert (QUERIES @ BANK.T).dtype == torch.bfloat16  # what must not happen inside
        assert torch.equal(knn_predict(BANK, VALUES, QUERIES, k=3), plain)
        assert torch.equal(knn_neighbours(BANK, QUERIES)[0], knn_neighbours(BANK.clone(), QUERIES)[0])
    assert torch.equal(torch.get_rng_state(), state)


def replaced(tensor: torch.Tensor, value: float) -> torch.Tensor:
    tensor = tensor.clone()
    tensor.view(-1)[0] = value
    return tensor


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bank": BANK[:0], "bank_targets": LABELS}, "at least one"),
        ({"queries": QUERIES[:0]}, "at least one"),
        ({"bank": BANK.long()}, "floating dtype"),
        ({"bank": BANK[:, :, None]}, "flatten"),
        ({"queries": QUERIES[:, :4]}, "with 12 features a row but got 4"),
        ({"queries": QUERIES.to("meta")}, "meta"),
        ({"bank_targets": LABELS[:5]}, "one target a sample"),
        ({"bank_targets": replaced(LABELS, -1)}, "got -1"),
        ({"bank_targets": replaced(VALUES, float("nan"))}, "Expected finite bank_targets"),
        ({"bank_targets": VALUES.long()}, "as floats 0 and 1"),
        ({"bank": replaced(BANK, float("nan"))}, "1 of 700 rows"),
        ({"queries": replaced(QUERIES, float("inf"))}, "1 of 150 rows"),
        ({"groups": torch.arange(700)}, "or neither"),
        ({"groups": torch.zeros(700).long(), "query_groups": torch.zeros(150).long()}, "at least 2 groups"),
        ({"groups": torch.arange(699), "query_groups": torch.arange(150)}, "groups as integers of shape"),
        ({"k": 0}, "k >= 1"),
        ({"chunk": 0}, "chunk >= 1"),
        ({"metric": "manhattan"}, "metric"),
        ({"weights": "gaussian"}, "weights"),
    ],
)
def test_bad_input_is_explained(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knn_predict(**{"bank": BANK, "bank_targets": LABELS, "queries": QUERIES, **arguments})


MEMORY_PROBE = r"""
import torch
from lightning_invariant.probes import knn_predict
torch.set_num_threads(1)
bank, queries, labels = torch.randn(10_000, 512), torch.randn({queries}, 512), torch.arange(10_000) % 10
knn_predict(bank[:500], labels[:500], queries[:300], metric="{metric}", weights="{weights}")
before = peak()
if "{metric}" == "bare":
    (queries @ bank.T).topk(20)
else:
    knn_predict(bank, labels, queries, metric="{metric}", weights="{weights}")
print(peak() - before)
"""


def extra_mebibytes(metric: str, weights: str = "uniform", queries: int = 2_000) -> float:
    script = MEMORY_PROBE.format(metric=metric, weights=weights, queries=queries)
    if metric == "bare":
        script = script.replace('queries[:300], metric="bare"', "queries[:300]")
    return printed(script)[0]


@linux_only
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_extra_memory_stays_below_40_mebibytes(metric: str) -> None:
    assert extra_mebibytes(metric, "distance") < 40


@linux_only
def test_the_memory_measurement_sees_a_whole_distance_matrix() -> None:
    assert extra_mebibytes("bare") > 60


@pytest.mark.parametrize("offset", [0.0, 3.0, 1e4], ids=["centred", "off centre", "far off"])
@pytest.mark.parametrize("count", [30, 700, 5000])
def test_neighbours_are_exact_with_and_without_a_copy_of_the_bank(offset, count):
    generator = torch.Generator().manual_seed(0)
    bank, queries = (torch.randn(rows, 12, generator=generator) + offset for rows in (count, 50))
    expected = torch.cdist(queries.double(), bank.double()).topk(7, largest=False).indices
    assert torch.equal(knn_neighbours(bank, queries, k=7)[1], expected)
