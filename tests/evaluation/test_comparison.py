"""The table of projections for latents that one has."""

import json

import pytest
import torch

from lightning_invariant.errors import GroupError, LatentError, ParseError
from lightning_invariant.evaluation import compare, comparison
from lightning_invariant.groups import Representation
from lightning_invariant.probes import KNN, Ridge, accuracy, r2
from lightning_invariant.projections import ChannelMax, OrbitMean, choose

TEXT = "C4: 3 regular"


@pytest.fixture(autouse=True)
def _few_timed_rows(monkeypatch):
    monkeypatch.setattr(comparison, "ROWS", 512)


@pytest.fixture
def latents():
    """Three classes of latents, each transformed by an element of its own."""
    generator = torch.Generator().manual_seed(0)
    representation, labels = Representation.parse(TEXT), torch.arange(120) % 3
    z = 2 * representation.random(3, generator)[labels] + 0.3 * representation.random(120, generator)
    return representation.transform(z, representation.group.sample(120, generator)), labels


def test_every_applicable_projection_is_measured_and_the_chosen_one_marked(latents):
    table = compare(latents[0].reshape(-1, 3, 4), TEXT, latents[1], samples=60)
    rows = {row.name: row for row in table.rows}
    assert {"raw latents", "MaxFilter", "SortedCoorbits", "OrbitMean", "ChannelMax", "RandomFeatures"} <= set(rows)
    assert not {"Sort", "GramRoot", "Composition", "SampledMean"} & set(rows)
    (chosen,) = (row for row in table.rows if row.chosen)
    assert chosen.guarantee.startswith("invariant under C4")
    assert rows["ChannelMax"].hard_negative == pytest.approx(0, abs=1e-6)
    assert chosen.hard_negative > 0.3
    assert chosen.spearman > rows["raw latents"].spearman
    assert chosen.knn > 0.9
    spread = {row.name: row.distortion_high / row.distortion_low for row in table.rows}
    assert spread[chosen.name] < spread["OrbitMean"]
    assert all(row.seconds > 0 for row in table.rows if row.name != "raw latents")
    assert (table.exact, table.samples) == (True, 60)


def test_scores_leave_each_latent_and_its_group_out(latents):
    z, labels = latents
    groups, rows = torch.arange(120) // 6, torch.arange(120)
    table = compare(z, TEXT, labels, groups, [OrbitMean(TEXT)], samples=20)
    for row, f in zip(table.rows, (z, OrbitMean(TEXT).to(z.dtype)(z)), strict=True):
        (votes,) = KNN().leave_out(f, labels, [f], [rows], groups)
        assert row.knn == accuracy(votes, labels)
        (votes,) = Ridge().leave_out(f, labels, [f], [rows], groups)
        assert row.linear == pytest.approx(accuracy(votes, labels), abs=0.02)
    values = z.square().sum(1)
    (raw, _) = compare(z, TEXT, values, projections=["OrbitMean"], samples=20).rows
    assert raw.knn == pytest.approx(r2(KNN().leave_out(z, values, [z], [rows])[0], values))


def test_projections_are_chosen_by_name_or_given(latents):
    table = compare(latents[0], TEXT, projections=["MaxFilter", ChannelMax(TEXT), "OrbitMean"], size=40, samples=20)
    assert [row.name for row in table.rows] == ["raw latents", "MaxFilter", "ChannelMax", "OrbitMean"]
    assert [row.features for row in table.rows if row.chosen] == [40]
    assert compare(latents[0], TEXT, projections=["OrbitMean"], samples=20).reason == ""
    with pytest.raises(ValueError, match="Expected projections among"):
        compare(latents[0], TEXT, projections=["Median"])
    with pytest.raises(GroupError):
        compare(latents[0], TEXT, projections=["Sort"])


def test_an_isometric_projection_has_no_distortion():
    table = compare(torch.randn(50, 6, generator=torch.Generator().manual_seed(0)), "S6: points")
    (chosen,) = (row for row in table.rows if row.chosen)
    assert chosen.name == type(choose("S6: points")).__name__ == "Sort"
    assert chosen.distortion_high / chosen.distortion_low == pytest.approx(1, abs=1e-4)
    assert chosen.spearman == pytest.approx(1, abs=1e-4)
    assert chosen.hard_negative is chosen.knn is chosen.linear is None


def test_numbers_repeat_with_the_seed_except_times(latents):
    def numbers(seed):
        rows = compare(*latents[:1], TEXT, latents[1], seed=seed, samples=40).to_dict()["rows"]
        return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]

    state = torch.get_rng_state()
    assert numbers(0) == numbers(0)
    assert numbers(0) != numbers(1)
    assert torch.equal(state, torch.get_rng_state())


def test_the_table_lines_up_and_says_what_it_means(latents):
    text = str(compare(latents[0], TEXT, samples=20))
    starts = {line.index("invariant under") for line in text.splitlines() if " invariant under " in line}
    assert len(starts) == 1
    assert "* chosen: C4" in text
    assert "each latent predicted from all others" in text


def test_equal_latents_are_measured_without_nan():
    table = compare(torch.ones(20, 12), TEXT, torch.arange(20) % 2)
    json.dumps(table.to_dict(), allow_nan=False)
    assert all(row.spearman is None for row in table.rows)


def test_bad_input_is_explained(latents):
    z = latents[0]
    for wrong, error, message in (
        (lambda: compare(z, "C4: 3 reglar"), ParseError, "did you mean 'regular'"),
        (lambda: compare(z, "Sampled: 12 trivial"), GroupError, "samples only"),
        (lambda: compare(z[:3], TEXT), LatentError, "at least 4 latents"),
        (lambda: compare(z[:, :5], TEXT), LatentError, "Expected latents of shape"),
        (lambda: compare(z * torch.nan, TEXT), LatentError, "finite"),
        (lambda: compare(z + 0j, TEXT), LatentError, "view_as_real"),
        (lambda: compare(z, TEXT, latents[1][:5]), LatentError, "120 rows in labels"),
    ):
        with pytest.raises(error, match=message):
            wrong()
