"""Numbers of an evaluation against plain loops, and what is missing where something cannot be measured."""

import math
import sys
from dataclasses import replace

import pytest
import torch

from lightning_invariant.errors import LatentError
from lightning_invariant.evaluation import Latents, evaluate, findings, names
from lightning_invariant.evaluation.evaluate import affordable_rows
from lightning_invariant.evaluation.names import MEASURED
from lightning_invariant.groups import Representation
from lightning_invariant.metrics import (
    collapse,
    effective_rank,
    equivariance_error,
    equivariance_errors,
    invariance_error,
)
from lightning_invariant.probes import KNN, accuracy, mae, mean_average_precision, pose_skill, r2, ridge_fit
from lightning_invariant.projections import ChannelMax, MaxFilter, OrbitMean, SampledMean, Sort, choose

TEXT = "C4: 4 regular"
evaluating = sys.modules["lightning_invariant.evaluation.evaluate"]


@pytest.fixture(scope="module")
def projection():
    return choose(TEXT)


def nearest(bank, labels, groups, queries, own, k):
    """Votes of the k nearest rows of other groups, one query at a time; None where nothing is known."""
    votes = []
    for query, row in zip(queries, own, strict=True):
        kept = ((groups != groups[row]) & (labels >= 0)).nonzero()[:, 0]
        rows = kept[(bank[kept] - query).norm(dim=1).argsort(stable=True)[:k]]
        votes.append(int(labels[rows].bincount().argmax()))
    return torch.tensor(votes)


@pytest.mark.parametrize("grouped", [False, True])
def test_scores_are_those_of_a_plain_loop(made, projection, grouped):
    """Unknown labels, NaN rows and groups at once: none may shift a query to another row."""
    latents = made(spread=0.9)
    labels, bank, transformed = latents.labels.clone(), latents.bank.clone(), latents.transformed.clone()
    labels[::7], bank[3], bank[latents.queries[5]], transformed[9] = -100, torch.nan, torch.inf, torch.nan
    groups = torch.arange(200) // 5 if grouped else None
    found = evaluate(replace(latents, labels=labels, bank=bank, transformed=transformed, groups=groups), projection)

    good = bank.isfinite().all(1)
    clean, of = torch.where(good[:, None], bank, 1e4), torch.arange(200) if groups is None else groups
    hidden = torch.where(good, labels, -1)
    kept = good[latents.queries] & transformed.isfinite().all(1) & (hidden[latents.queries] >= 0)
    own, moved = latents.queries[kept], transformed[kept]
    for side, view in (("_raw", lambda z: z), ("", projection)):
        votes = nearest(view(clean), hidden, of, view(moved), own, 5)
        assert found.numbers[f"knn{side}"] == accuracy(votes, hidden[own])
        votes = nearest(view(clean), hidden, of, view(clean[own]), own, 5)
        assert found.numbers[f"knn_upright{side}"] == accuracy(votes, hidden[own])
    assert found.dropped == 3
    assert len(found.latents.bank) == int(good.sum()) == found.numbers["bank"]


def test_the_gap_is_projected_minus_raw_and_lies_in_its_interval(made, projection):
    numbers = evaluate(made(spread=0.9, posed=False), projection).numbers
    for probe in ("knn", "linear"):
        assert numbers[f"{probe}_gap"] == numbers[probe] - numbers[f"{probe}_raw"] > 0.1
        assert 0 < numbers[f"{probe}_gap_lower"] < numbers[f"{probe}_gap"] < numbers[f"{probe}_gap_upper"]
    worse = evaluate(made(spread=0.9), OrbitMean(TEXT)).numbers
    assert worse["knn_gap"] == worse["knn"] - worse["knn_raw"] < -0.1


def test_ridge_scores_are_those_of_refits(made, projection):
    latents = made(spread=0.9, count=60, asked=30)
    found = evaluate(latents, projection, probes=["linear"])
    for side, view in (("_raw", lambda z: z), ("", projection)):
        right = []
        for query, row in zip(latents.transformed, latents.queries, strict=True):
            kept = torch.arange(60) != row
            model = ridge_fit(view(latents.bank[kept]), latents.labels[kept])
            right.append(int(model.predict(view(query[None]))[0]) == int(latents.labels[row]))
        assert found.numbers[f"linear{side}"] == pytest.approx(sum(right) / 30, abs=0.07)


def test_errors_are_those_of_the_metrics(made, projection):
    latents = made(noise=0.3)
    found = evaluate(latents, projection)
    still = latents.bank[latents.queries]
    arguments = latents.transformed, still, TEXT, latents.elements
    assert found.numbers["equivariance_error"] == pytest.approx(equivariance_error(*arguments))
    assert dict(found.elements) == pytest.approx(equivariance_errors(*arguments))
    assert found.numbers["equivariance_worst"] == max(found.elements.values())
    assert found.numbers["equivariance_held"] == 0
    assert found.tolerance == 0.05
    assert found.numbers["rank_raw"] == pytest.approx(effective_rank(latents.bank))
    assert found.numbers["collapse_raw"] == pytest.approx(collapse(latents.bank))
    skill = pose_skill(latents.transformed, projection.representation.group, latents.elements).skill
    assert found.numbers["pose_raw"] == pytest.approx(skill)
    assert found.numbers["error"] < found.numbers["error_raw"]
    assert found.numbers["retrieval"] > found.numbers["retrieval_raw"]
    assert found.numbers["spearman"] > found.numbers["spearman_raw"]
    assert found.numbers["queries"] == 150


def test_an_exactly_equivariant_layer_has_no_error(made, projection):
    found = evaluate(made(noise=0.0), projection)
    assert found.numbers["equivariance_error"] == found.numbers["action_error"] == 0
    assert found.numbers["error"] < 1e-5
    assert found.numbers["equivariance_held"] == 1
    assert found.numbers["retrieval"] > 0.95


def test_interpolation_excuses_what_it_costs(made, projection):
    trips = torch.full((150,), 0.2)
    trips[::2] = torch.nan
    found = evaluate(made(round_trip=trips), projection)
    assert found.numbers["action_error"] == pytest.approx(0.2)
    assert found.tolerance == pytest.approx(0.2)
    assert evaluate(made(round_trip=trips * 10), projection).tolerance == 0.3
    assert "action_error" not in evaluate(made(round_trip=None), projection).numbers


NEED_TRANSFORMED = (
    "error", "error_raw", "equivariance_error", "equivariance_worst", "equivariance_held", "retrieval",
    "retrieval_raw", "pose", "pose_raw", "knn", "knn_raw", "knn_gap", "knn_gap_lower", "knn_gap_upper", "linear",
    "linear_raw", "linear_gap", "linear_gap_lower", "linear_gap_upper",
)  # fmt: skip


def test_nothing_is_simulated_where_no_input_was_transformed(made, projection):
    latents = made()
    bare = Latents(latents.bank, latents.labels, reason="it is not known how C4 acts on 'x'")
    found, whole = evaluate(bare, projection), evaluate(latents, projection)
    assert set(NEED_TRANSFORMED) <= set(whole.numbers)
    assert not {*NEED_TRANSFORMED, "queries", "action_error"} & set(found.numbers)
    assert {found.missing[name] for name in NEED_TRANSFORMED} == {bare.reason}
    assert found.elements == {}
    assert found.transformed_features is None
    assert {"knn_upright", "knn_upright_raw", "linear_upright", "rank", "collapse_raw", "hard_negatives"} <= set(
        found.numbers
    )
    assert found.numbers["distortion"] == whole.numbers["distortion"]


def test_without_labels_there_is_no_score(made, projection):
    found = evaluate(made(labels=None), projection)
    assert not [name for name in found.numbers if name.startswith(("knn", "linear"))]
    assert found.missing["knn"] == found.missing["linear_gap"] == "there are no labels"
    assert "error" in found.numbers


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (torch.full((200,), 3), "all 200 labels are equal"),
        (torch.full((200,), -1), "only 0 samples have a label"),
        (torch.full((200,), torch.nan), "only 0 samples have a label"),
        (torch.full((200, 2), 0.5), "all 200 labels are equal"),
        (torch.arange(200), "samples of one group only"),
        (torch.zeros(200, 2, 2), "neither classes nor values"),
    ],
)
def test_labels_that_cannot_be_scored_are_said(made, projection, labels, reason):
    found = evaluate(made(labels=labels), projection)
    assert not [name for name in found.numbers if name.startswith(("knn", "linear"))]
    assert reason in found.missing["knn_gap"]
    assert reason in found.missing["linear_upright_raw"]


def test_one_group_leaves_nothing_to_know(made, projection):
    found = evaluate(made(groups=torch.zeros(200).long()), projection)
    assert "of one group" in found.missing["knn"]
    assert "rank" in found.numbers


def test_a_class_of_one_sample_is_left_out_of_the_score(made, projection):
    latents = made(spread=0.1)
    labels = latents.labels.clone()
    labels[latents.queries[0]] = 17
    found = evaluate(replace(latents, labels=labels), projection)
    assert found.labels.lonely == (17,)
    assert found.numbers["knn"] == 1
    grouped = torch.arange(200)
    labels[latents.queries[:3]], grouped[latents.queries[:3]] = 17, 1000
    assert evaluate(replace(latents, labels=labels, groups=grouped), projection).labels.lonely == (17,)


@pytest.mark.parametrize("offset", [0, 2**40, 2**62])
def test_labels_of_any_size_score_the_same(made, projection, offset):
    latents = made(spread=0.9)
    found = evaluate(replace(latents, labels=latents.labels + offset), projection, probes=["knn", "linear", "logistic"])
    assert dict(found.numbers) == dict(evaluate(latents, projection, probes=["knn", "linear", "logistic"]).numbers)


def test_values_get_r2_and_mean_absolute_errors(made, projection):
    latents = made(spread=0.9)
    values = projection(latents.bank)[:, 0] * 3 + 1
    found = evaluate(replace(latents, labels=values), projection, probes=["knn"])
    knn = KNN()
    for side, view in (("", projection), ("_raw", lambda z: z)):
        bank, own = view(latents.bank), latents.queries
        moved, upright = knn.leave_out(bank, values, [view(latents.transformed), bank[own]], [own, own])
        assert found.numbers[f"knn{side}"] == pytest.approx(r2(moved, values[own]))
        assert found.numbers[f"knn_mae{side}"] == pytest.approx(mae(moved, values[own]))
        assert found.numbers[f"knn_upright_mae{side}"] == pytest.approx(mae(upright, values[own]))
    assert found.numbers["knn_gap_lower"] < found.numbers["knn_gap"] < found.numbers["knn_gap_upper"]
    column = evaluate(replace(latents, labels=values[:, None]), projection, probes=["knn"])
    assert dict(column.numbers) == dict(found.numbers)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_several_labels_get_mean_average_precision(made, projection, dtype):
    latents = made(spread=0.9)
    labels = torch.nn.functional.one_hot(latents.labels, 4)[:, :3].to(dtype)
    found = evaluate(replace(latents, labels=labels), projection, probes=["knn"])
    votes = KNN().leave_out(projection(latents.bank), labels.float(), [found.transformed_features], [latents.queries])
    expected = mean_average_precision(votes[0], labels[latents.queries].float())
    assert found.numbers["knn"] == pytest.approx(expected)
    assert "knn_mae" not in found.numbers


def test_groups_make_intervals_wider_and_hide_copies(made, projection):
    latents = made(count=400, asked=400, spread=1.2, classes=2)
    twice = torch.cat([latents.bank[:200]] * 2)
    labels = torch.randint(2, (200,), generator=torch.Generator().manual_seed(3)).repeat(2)
    moved = torch.cat([latents.bank[:200]] * 2)
    copies = replace(
        latents,
        bank=twice,
        labels=labels,
        queries=torch.arange(400),
        transformed=moved,
        elements=torch.zeros(400).long(),
    )
    groups = torch.arange(400) % 200
    seen, left = (evaluate(replace(copies, groups=g), projection, probes=[KNN(k=1)]).numbers for g in (None, groups))
    assert seen["knn"] == 1
    assert left["knn"] < 0.65
    assert left["knn_gap_upper"] - left["knn_gap_lower"] > seen["knn_gap_upper"] - seen["knn_gap_lower"]


def test_intervals_are_taken_over_groups(made, projection):
    found = evaluate(made(groups=torch.arange(200) % 5), projection)
    assert "knn_gap" in found.numbers
    assert "too few samples or groups" in found.missing["knn_gap_lower"]
    assert "knn_gap_upper" in evaluate(made(groups=torch.arange(200) % 10), projection).numbers


def test_untransformed_latents_replace_those_of_the_bank(made, projection):
    latents = made(noise=0.0)
    shifted = replace(latents, untransformed=latents.bank[latents.queries] + 1.0)
    found = evaluate(shifted, projection)
    assert found.numbers["equivariance_error"] > 0.1
    assert found.numbers["error"] > 0.1
    assert found.numbers["error_raw"] > evaluate(latents, projection).numbers["error_raw"] + 0.1
    assert found.numbers["knn"] == evaluate(latents, projection).numbers["knn"]


FUNCTIONS = {
    "spectrum": {"rank", "collapse", "rank_raw", "collapse_raw"},
    "orbit_retrieval": {"retrieval", "retrieval_raw"},
    "pose_skill": {"pose", "pose_raw"},
    "distance": {"spearman", "spearman_raw", "distortion"},
    "distortion": {"distortion"},
    "invariance_error": {"error", "error_raw"},
    "gap_interval": {"knn_gap_lower", "knn_gap_upper", "linear_gap_lower", "linear_gap_upper"},
    "relative_distance": {"hard_negatives"},
    "equivariance_gaps": {"equivariance_error", "equivariance_worst", "equivariance_held"},
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_number_that_fails_leaves_out_itself_alone(made, projection, function, monkeypatch):
    whole = evaluate(made(), projection)

    def broken(*arguments, **settings):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(evaluating, function, broken)
    found = evaluate(made(), projection)
    assert set(whole.numbers) - set(found.numbers) == FUNCTIONS[function]
    assert all("out of luck" in found.missing[name] for name in FUNCTIONS[function])
    assert {name: whole.numbers[name] for name in found.numbers} == dict(found.numbers)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_missing_and_not_zero(made, projection, value, monkeypatch):
    monkeypatch.setattr(evaluating, "orbit_retrieval", lambda *_: value)
    found = evaluate(made(), projection)
    assert "retrieval" not in found.numbers
    assert str(value) in found.missing["retrieval"]


def test_a_probe_that_fails_leaves_the_others(made, projection):
    class Broken(KNN):
        def leave_out(self, *arguments):
            raise RuntimeError("no")

    found = evaluate(made(), projection, probes=[Broken(name="broken"), "linear"])
    assert not [name for name in found.numbers if name.startswith("broken")]
    assert found.missing["broken_gap"] == "RuntimeError: no"
    assert "linear_gap" in found.numbers


def test_a_projection_that_fails_leaves_raw_numbers(made):
    class Failing(ChannelMax):
        def project(self, z):
            raise RuntimeError("no")

    class Endless(ChannelMax):
        def project(self, z):
            return super().project(z) / 0

    for kind, reason in ((Failing, "RuntimeError: no"), (Endless, "NaN or infinity")):
        found = evaluate(made(), kind(TEXT))
        assert found.features is None
        assert {"knn_raw", "error_raw", "rank_raw", "equivariance_error"} <= set(found.numbers)
        for name in ("knn", "knn_gap", "knn_upright", "error", "rank", "spearman", "distortion", "hard_negatives"):
            assert name not in found.numbers
            assert reason in found.missing[name]


def test_a_projection_that_fails_on_transformed_latents_says_so(made):
    class Picky(ChannelMax):
        def project(self, z):
            if len(z) == 150:
                raise RuntimeError("not these")
            return super().project(z)

    found = evaluate(made(), Picky(TEXT))
    for name in ("knn", "knn_gap", "error", "retrieval", "pose", "linear"):
        assert "not these" in found.missing[name]
    assert {"knn_raw", "knn_upright", "rank", "spearman", "error_raw", "equivariance_error"} <= set(found.numbers)


LATENTS = {
    "as they are": lambda z: z,
    "collapsed": lambda z: torch.full_like(z, 3.0),
    "rank one": lambda z: z[:, :1] * torch.ones(16),
    "zero": torch.zeros_like,
    "an offset": lambda z: z + 1e3,
    "far rows": lambda z: torch.where(torch.arange(len(z))[:, None] == 0, 1e7, z),
    "tiny": lambda z: z * 1e-20,
    "huge": lambda z: z * 1e15,
}


@pytest.mark.parametrize("kind", LATENTS)
@pytest.mark.parametrize("map_", [MaxFilter, ChannelMax, OrbitMean])
def test_nothing_global_is_drawn_or_changed_and_every_number_is_finite(made, kind, map_):
    latents = made()
    latents = replace(latents, bank=LATENTS[kind](latents.bank), transformed=LATENTS[kind](latents.transformed))
    projection, state = map_(TEXT), torch.get_rng_state()
    found = evaluate(latents, projection, probes=["knn", "linear", "logistic", "weighted_cosine_knn"])
    findings(found, projection, "encoder")
    assert torch.equal(torch.get_rng_state(), state)
    assert all(math.isfinite(value) for value in found.numbers.values())
    assert not set(found.numbers) & set(found.missing)
    again = evaluate(latents, projection, probes=["knn", "linear", "logistic", "weighted_cosine_knn"])
    assert dict(found.numbers) == dict(again.numbers)


@pytest.mark.parametrize(
    "text", ["S5: 5 points x 2", "O3: 4 vectors", "SO3: 3x0 + 2x1", "D4: 2 regular", "Z2^3: signs"]
)
def test_other_groups_draw_nothing_global_either(made, text):
    latents, projection = made(text, count=60, asked=40), choose(text)
    state = torch.get_rng_state()
    found = evaluate(latents, projection)
    findings(found, projection, "encoder")
    assert torch.equal(torch.get_rng_state(), state)
    assert found.numbers["error"] < 0.2
    assert "spearman" in found.numbers


def test_an_offset_hides_neither_rank_nor_other_numbers(made, projection):
    plain, off = made(), made()
    off = replace(off, bank=off.bank + 100, transformed=off.transformed + 100)
    numbers, shifted = evaluate(plain, projection).numbers, evaluate(off, projection).numbers
    for name in ("rank_raw", "collapse_raw", "knn_raw", "linear_raw", "equivariance_error"):
        assert shifted[name] == pytest.approx(numbers[name], rel=1e-3)


def test_every_number_has_a_name_and_every_name_a_number(made, projection):
    latents = made(spread=0.9)
    classes = evaluate(latents, projection)
    values = evaluate(replace(latents, labels=latents.bank[:, 0]), projection)
    draws = latents.bank[latents.queries][:, None, None].expand(-1, 2, 64, -1) + torch.randn(150, 2, 64, 16)
    alone = replace(latents, bank=latents.bank[:150], labels=latents.labels[:150], queries=None, draws=draws)
    sampled = evaluate(alone, SampledMean("Sampled: 16 trivial"))
    assert {*classes.numbers, *values.numbers, *sampled.numbers} == set(names()) - set(MEASURED)
    assert not any(name.startswith("residual") for name in classes.numbers)
    assert set(classes.missing) | set(sampled.missing) <= set(names())


def test_features_of_sampled_transforms(made):
    latents, generator = made(), torch.Generator().manual_seed(0)
    z = latents.bank[:150]
    draws = z[:, None, None] + torch.randn(150, 2, 8, 16, generator=generator)
    labels = latents.labels[:150]
    found = evaluate(
        replace(latents, bank=z, labels=labels, queries=None, transformed=draws[:, 1, 0], draws=draws),
        SampledMean("Sampled: 16 trivial"),
    )
    assert torch.equal(found.features, draws[:, 0].mean(dim=1))
    assert torch.equal(found.transformed_features, draws[:, 1].mean(dim=1))
    between = torch.pdist(found.features.double()).mean()
    apart = (found.features - found.transformed_features).norm(dim=1).mean()
    assert found.numbers["error"] == pytest.approx(float(apart / between), rel=1e-5)
    assert found.numbers["residual_8"] == found.numbers["error"] < found.numbers["residual_2"]
    assert found.numbers["error_raw"] == pytest.approx(invariance_error(draws[:, 1, 0], z))
    assert "equivariance_error" in found.missing


def test_draws_that_are_not_finite_leave_their_sample_out(made):
    latents = made()
    z, draws = latents.bank[:150], torch.randn(150, 2, 4, 16)
    draws[7, 1, 2, 3] = torch.nan
    kept, dropped = replace(latents, bank=z, labels=latents.labels[:150], queries=None, draws=draws).finite()
    assert dropped == 1
    assert len(kept.bank) == len(kept.draws) == len(kept.labels) == 149
    assert torch.equal(kept.bank[7], z[8])


def test_latents_that_cannot_be_evaluated_are_refused(made, projection):
    latents = made()
    with pytest.raises(LatentError, match="view_as_real"):
        replace(latents, bank=latents.bank + 0j)
    with pytest.raises(LatentError, match="at least 2 samples"):
        evaluate(Latents(latents.bank[:1]), projection)
    with pytest.raises(LatentError, match="2 samples with finite latents but got 0, and 200"):
        evaluate(replace(latents, bank=latents.bank * torch.nan), projection)
    with pytest.raises(LatentError, match="Expected latents of shape"):
        evaluate(latents, Sort("S5: 5 points"))
    with pytest.raises(ValueError, match="Expected a probe among"):
        evaluate(latents, projection, probes=["svm"])
    for change, message in (
        ({"labels": latents.labels[:3]}, "200 rows in labels"),
        ({"elements": None}, "element that transformed"),
        ({"queries": latents.queries + 100}, "rows of the bank"),
        ({"transformed": latents.transformed[:, :3]}, "flatten each latent"),
        ({"bank": latents.bank[:, None]}, "flatten each latent"),
    ):
        with pytest.raises(LatentError, match=message):
            replace(latents, **change)


def test_complex_latents_as_real_ones_are_evaluated():
    """The remedy that the error names."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(40, 3, dtype=torch.complex64, generator=generator)
    found = evaluate(Latents(torch.view_as_real(z).flatten(1)), choose("SO2: 3x1"))
    assert found.numbers["rank_raw"] > 1


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("C8: 64 regular", 128),
        ("SO2: 3x1", 48),
        ("C8 x O3: 2 regular*vectors", 48),
        ("S6 x O3: 6 points (8x0e + 1x1o)", 9),  # 720 orders for each pair, of which the best rotation is found
        ("S9: 9 points x 8 + 2 pairs", 8),
    ],
)
def test_orbit_distances_are_taken_between_as_many_latents_as_is_quick(text, rows):
    assert affordable_rows(Representation.parse(text)) == rows
