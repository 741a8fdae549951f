import numpy as np
import pytest
import torch

from lightning_invariant.callback.report.illustrate import scatter_of
from lightning_invariant.evaluation import Latents, evaluate
from lightning_invariant.groups import Representation
from lightning_invariant.projections import MaxFilter
from lightning_invariant.tracking import quotient_pair


def positions(figure, panel):
    dots, rings = figure.axes[panel].collections[:2]
    return np.asarray(dots.get_offsets()), np.asarray(rings.get_offsets())


def orbit_pairs(text, count=20):
    """Latents on a noisy line, and the same transformed at random."""
    representation = Representation.parse(text)
    generator = torch.Generator().manual_seed(0)
    start, end = (representation.random(1, generator) for _ in range(2))
    z = start + torch.linspace(0, 0.3, count)[:, None] * (end - start) + 0.01 * representation.random(count, generator)
    return representation, z, representation.transform(z, representation.group.sample(count, generator))


@pytest.mark.parametrize("text", ["C8: 2 regular", "S5: 5 points x 2", "O3: 4 vectors", "SO3: 1x1 + 1x2"])
def test_transformed_latents_fall_on_their_own_in_the_right_panel_only(text):
    representation, z, transformed = orbit_pairs(text)
    moved = torch.arange(40) >= 20
    figure = quotient_pair(torch.cat([z, transformed]), representation, moved=moved)
    (raw, raw_rings), (dots, rings) = positions(figure, 0), positions(figure, 1)
    scale = np.abs(dots).max()
    assert np.abs(dots - rings).max() < 1e-3 * scale
    assert np.abs(raw - raw_rings).max() > 0.5 * scale
    assert figure.axes[1].get_title() == f"modulo {representation.group}"
    assert int(figure.axes[1].get_xlabel().split("(")[1].split("%")[0]) > 80


def test_labels_follow_the_rows_that_are_drawn():
    representation, z, _ = orbit_pairs("C8: 2 regular", 500)
    labels = (torch.arange(500) >= 250).long()
    z[:100] = torch.nan
    figure = quotient_pair(z, representation, labels, title="epoch 3")
    dots, _ = positions(figure, 0)
    assert len(dots) == 400
    colours = figure.axes[0].collections[0].get_facecolors()
    assert len(np.unique(colours, axis=0)) == 2
    counts = np.unique(colours, axis=0, return_counts=True)[1]
    assert sorted(counts.tolist()) == [150, 250]


def test_latents_that_are_searched_are_fewer_and_none_is_an_error():
    representation, z, _ = orbit_pairs("SO3: 1x1 + 1x2", 100)
    assert len(positions(quotient_pair(z, representation), 0)[0]) == 60
    with pytest.raises(ValueError, match="finite latents"):
        quotient_pair(z * torch.nan, representation)


def test_hidden_points_do_not_matter():
    representation, z, _ = orbit_pairs("S5: 5 points x 2")
    mask = (torch.arange(5) < 4).expand(20, -1)
    noisy = z.clone()
    noisy[:, 8:] += torch.randn(20, 2)
    for shown, same in ((mask, True), (None, False)):
        figures = [quotient_pair(part, representation, mask=shown) for part in (z, noisy)]
        for panel in (0, 1):
            assert np.allclose(*(positions(figure, panel)[0] for figure in figures), atol=1e-5) == same


@pytest.mark.parametrize("known", [True, False])
def test_the_callback_draws_it_with_and_without_transformed_inputs(known):
    representation, z, transformed = orbit_pairs("C8: 2 regular", 30)
    elements = torch.zeros(30, dtype=torch.int64)
    latents = Latents(z, transformed=transformed, elements=elements) if known else Latents(z)
    measured = evaluate(latents, MaxFilter("C8: 2 regular"), probes=["knn"])
    draw = scatter_of(measured, "quotient", representation)
    assert draw is not None
    figure = draw()
    assert figure.axes[1].get_title() == "modulo C8"
    assert sum(len(points.get_offsets()) for points in figure.axes[1].collections[:2]) == (60 if known else 30)
    assert "modulo" not in scatter_of(measured, "pca", representation)().axes[1].get_title()
