"""Findings: each is told where it is true, says only what was checked, and its remedy works when it is followed."""

import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from lightning_invariant.evaluation import Latents, evaluate, findings, repeats_training
from lightning_invariant.evaluation.findings import uneven_strides
from lightning_invariant.groups import Representation
from lightning_invariant.probes import KNN
from lightning_invariant.projections import ChannelMax, OrbitMean, choose

TEXT = "C4: 4 regular"


def told(latents, projection=None, network=None, **settings):
    projection = projection or choose(TEXT)
    return dict(findings(evaluate(latents, projection, **settings), projection, "encoder", network))


def test_all_is_well_with_an_equivariant_layer(made):
    assert told(made()) == {}
    assert told(replace(made(), transformed=None, reason="no action")) == {}


def test_few_samples(made):
    text = told(made(count=127, asked=100))["few samples"]
    assert "only 127 samples" in text
    assert "at least 128" in text
    assert "few samples" not in told(made(count=128, asked=100))


def test_rare_classes_and_both_remedies(made):
    latents = made(spread=0.1)
    labels = torch.arange(200) % 4
    labels[:4] = 4
    text = told(replace(latents, labels=labels))["rare classes"]
    assert "the rarest class has 4 samples" in text
    assert "at least 6 samples a class" in text
    assert "KNN(k=3)" in text
    assert "rare classes" not in told(replace(latents, labels=labels), probes=[KNN(k=3), "linear"])
    labels[:5] = 4
    assert "the rarest class has 5 samples" in told(replace(latents, labels=labels))["rare classes"]
    labels[:6] = 4
    assert "rare classes" not in told(replace(latents, labels=labels))
    assert "rare classes" not in told(replace(latents, labels=torch.arange(200) % 40), probes=["linear"])


def test_lonely_classes(made):
    latents = made()
    labels = latents.labels.clone()
    labels[0] = 9
    text = told(replace(latents, labels=labels))["lonely classes"]
    assert "1 class has samples of a single group only (9)" in text
    labels[1] = 9
    assert "lonely classes" not in told(replace(latents, labels=labels))


def test_labels_that_are_all_equal(made):
    assert "all 200 labels are equal" in told(made(labels=torch.ones(200).long()))["labels"]
    assert told(made(labels=None)) == {}


def test_logistic_regression_on_values(made):
    latents = made()
    latents = replace(latents, labels=latents.bank[:, 0])
    assert "use the probe 'linear'" in told(latents, probes=["knn", "logistic"])["logistic"]
    assert "logistic" not in told(latents, probes=["knn", "linear"])


def test_not_finite(made):
    latents = made()
    bank = latents.bank.clone()
    bank[:3, 0] = torch.nan
    text = told(replace(latents, bank=bank))["not finite"]
    assert "3 of 200 samples" in text


def test_twins_are_told_and_groups_are_the_remedy(made):
    latents = made(noise=0.0)
    order = torch.randperm(400, generator=torch.Generator().manual_seed(0))
    twice = torch.cat([latents.bank, latents.bank + 1e-7])[order]
    labels = latents.labels.repeat(2)[order]
    text = told(Latents(twice, labels))["twins"]
    assert "400 of 400 samples" in text
    assert "twins" not in told(Latents(twice, labels, torch.arange(200).repeat(2)[order]))
    assert "twins" not in told(Latents(latents.bank, latents.labels))
    some = torch.cat([latents.bank, latents.bank[:5]])
    assert "10 of 205" in told(Latents(some))["twins"]


def test_twins_hide_the_gap_and_groups_show_it(made):
    """The case that the finding is about: a probe that knows the copy cannot fail."""
    latents = made(spread=1.0, classes=8)
    latents = replace(latents, transformed=latents.bank[latents.queries], elements=torch.zeros(150).long())
    alone = evaluate(latents, choose(TEXT)).numbers["knn_raw"]
    labels, bank = latents.labels.repeat(10), latents.bank.repeat(10, 1)
    copies = replace(latents, labels=labels, bank=bank)
    hidden = evaluate(copies, choose(TEXT), probes=[KNN(k=5)]).numbers["knn_raw"]
    groups = torch.arange(200).repeat(10)
    shown = evaluate(replace(copies, groups=groups), choose(TEXT), probes=[KNN(k=5)]).numbers["knn_raw"]
    assert hidden == 1
    assert shown < alone + 0.1 < 1


def test_repeated_training_inputs():
    found = repeats_training(0.25)
    assert found.key == "repeats training"
    assert "25% of the validation inputs" in found.text
    assert "Validate on inputs that are not trained on" in found.text


def test_collapse_is_told_with_all_other_findings(made):
    latents = made()
    direction = torch.ones(16)
    line = latents.bank[:, :1] * direction + 1e-3 * latents.bank
    moved = latents.transformed.roll(1, 0)
    found = told(Latents(line[:100], latents.labels[:100], None, torch.arange(90), moved[:90], latents.elements[:90]))
    assert "along one line" in found["collapse"]
    assert {"collapse", "few samples", "equivariance"} <= set(found)
    assert "all latents are equal" in told(Latents(torch.full((200, 16), 2.0)))["collapse"]


def test_an_offset_is_no_collapse(made):
    latents = made()
    assert told(replace(latents, bank=latents.bank + 100, transformed=latents.transformed + 100)) == {}


def test_a_single_number_is_no_collapse():
    z = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    projection = choose("C2: 1 trivial")
    assert findings(evaluate(Latents(z), projection), projection, "encoder") == []


def moved_as(true, declared, count=200, view=lambda z: z):
    representation, generator = Representation.parse(true), torch.Generator().manual_seed(0)
    z, g = representation.random(count, generator).float(), representation.group.sample(count, generator)
    return Latents(view(z), queries=torch.arange(count), transformed=view(representation.transform(z, g)), elements=g)


@pytest.mark.parametrize(
    ("true", "remedy"), [("C4: 16 trivial", "C4: 16 trivial"), ("C4: 4x0 + 4x1 + 4x2", "C4: 4x0 + 4x1 + 4x2")]
)
def test_the_representation_that_fits_is_named_and_is_the_remedy(true, remedy):
    latents = moved_as(true, TEXT)
    text = told(latents)["equivariance"]
    assert f"'{remedy}' fits" in text
    assert "declare it" in text
    assert "equivariance" not in told(latents, choose(remedy))


def test_the_part_of_the_group_that_holds_is_named(made):
    latents = made("C8: 2 regular", noise=0.0)
    odd = latents.elements % 2 == 1
    broken = torch.where(odd[:, None], latents.transformed.roll(1, 0), latents.transformed)
    text = told(replace(latents, transformed=broken), choose("C8: 2 regular"))["equivariance"]
    assert "declared is C8, it holds for C4" in text
    assert "45°" in text or "135°" in text
    pick = "z.flatten(1).unflatten(1, (2, 8))[:, :, [0, 2, 4, 6, 1, 3, 5, 7]].flatten(1, 2)"
    assert f"'C4: 4 regular', pick=lambda z: {pick} fits its elements" in text
    even = (latents.elements % 2 == 0).nonzero()[:, 0]
    reorder = lambda z: z.flatten(1).unflatten(1, (2, 8))[:, :, [0, 2, 4, 6, 1, 3, 5, 7]].flatten(1, 2)  # noqa: E731
    typed = replace(
        latents.asked(even),
        bank=reorder(latents.bank),
        transformed=reorder(latents.transformed[even]),
        elements=latents.elements[even] // 2,
    )
    assert "equivariance" not in told(typed, choose("C4: 4 regular"))


def test_a_part_under_which_the_latent_is_another_representation_is_named():
    latents = moved_as("O3: 4x1o + 4x2e", "O3: 32x0e", count=300)
    improper = torch.linalg.det(latents.elements) < 0
    broken = torch.where(improper[:, None], latents.transformed.roll(1, 0), latents.transformed)
    text = told(replace(latents, transformed=broken), choose("O3: 32x0e"))["equivariance"]
    assert "it holds for the part SO3 of O3 alone: 'SO3: 4x1 + 4x2' fits its elements" in text


def test_where_nothing_fits_only_what_was_tried_is_claimed(made):
    latents = made()
    text = told(replace(latents, transformed=latents.transformed.roll(1, 0)))["equivariance"]
    assert "none of those tried fits" in text
    assert "'C4: 16 trivial'" in text
    assert "turning the other way" in text
    assert "any sequence of up to 8 terms of trivial, regular, 1x1, 1x2" in text
    assert "the elements of C2 alone" in text
    assert "layer=OrbitLayer('encoder', 'C4') with 'C4: 16 regular'" in text
    assert "neither does any other" not in text
    assert "Something before" not in text


def test_strides_are_named_as_what_is_worth_a_look(made):
    latents = made(noise=0.3, thumbnails=torch.zeros(150, 1, 8, 8))
    network = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.MaxPool2d(2))
    assert uneven_strides(network, 8) == ["0"]
    assert uneven_strides(network, 9) == ["1"]
    text = told(latents, network=network)["equivariance"]
    assert "Worth a look: 0 would sample other pixels" in text
    assert "Worth a look" not in told(latents)["equivariance"]
    assert "Worth a look" not in told(latents, network=nn.Conv2d(1, 2, 3, padding=1))["equivariance"]


def test_a_layer_within_tolerance_is_not_reported(made):
    noisy = made(noise=0.1)
    assert "equivariance" in told(noisy)
    assert "equivariance" not in told(replace(noisy, round_trip=torch.full((150,), 0.2)))


def leaking(made, action):
    """A constant number, which adds to every transformed latent what says by which element it was transformed."""
    latents = made("C4: 1 trivial + 4 regular", noise=0.0, count=300, asked=300, round_trip=torch.full((300,), action))
    moved = latents.transformed.clone()
    bank = latents.bank.clone()
    bank[:, 0], moved[:, 0] = 0.0, 0.05 * (1 + latents.elements)
    return replace(latents, bank=1e-3 * bank, transformed=1e-3 * moved)


@pytest.mark.parametrize(("action", "cause"), [(0.2, "C4 on square images"), (0.0, "it comes from the layers")])
def test_pose_is_told_with_what_was_measured(made, action, cause):
    latents, projection = leaking(made, action), OrbitMean("C4: 1 trivial + 4 regular")
    evaluation = evaluate(latents, projection)
    assert evaluation.numbers["pose"] > 0.3
    evaluation = replace(evaluation, tolerance=1.0)
    text = dict(findings(evaluation, projection, "encoder"))["pose"]
    assert "tell by which element" in text
    assert cause in text
    exact = replace(
        latents, transformed=torch.cat([latents.bank[:, :1][latents.queries], latents.transformed[:, 1:]], 1)
    )
    assert "pose" not in told(exact, projection)


def test_pose_of_a_layer_that_does_not_fit_is_told_so(made):
    latents = leaking(made, 0.0)
    latents = replace(latents, transformed=latents.transformed * (1 + latents.elements[:, None]))
    text = told(latents, OrbitMean("C4: 1 trivial + 4 regular"))["pose"]
    assert "is not equivariant as declared" in text


def test_merging_is_told_and_the_named_projection_keeps_apart(made):
    latents = made()
    text = told(latents, ChannelMax(TEXT))["separation"]
    assert "ChannelMax merges latents" in text
    better = choose(TEXT)
    assert type(better).__name__ in text
    assert "separation" not in told(latents, better)


def test_a_finding_that_fails_hides_no_other(made, monkeypatch):
    def broken(*arguments, **settings):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(sys.modules["lightning_invariant.evaluation.findings"], "better_fits", broken)
    latents = made(count=100, asked=90)
    found = told(replace(latents, transformed=latents.transformed.roll(1, 0)), ChannelMax(TEXT))
    assert {"few samples", "equivariance failed", "separation"} <= set(found)
    assert "out of luck" in found["equivariance failed"]
