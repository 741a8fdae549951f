import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from lightning_invariant.errors import InvariantError
from lightning_invariant.tracking import figures
from lightning_invariant.tracking.figures import PALETTE, equivariance_bars, figure_to_image, scatter_pair
from lightning_invariant.tracking.umap_layout import umap_positions


def points(count=60, size=5, seed=0):
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed)) * torch.arange(size, 0, -1)


def drawn(figure, panel):
    """Positions and marks of one panel: the dots, then the rings."""
    dots, rings = figure.axes[panel].collections[:2]
    return dots, rings


def legend(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_positions_and_shares_are_those_of_scikit_learn():
    z = points()
    pca = PCA(2, svd_solver="full").fit(z.numpy())
    figure = scatter_pair(z, points(seed=1))
    positions = np.asarray(drawn(figure, 0)[0].get_offsets())
    expected = pca.transform(z.numpy())
    assert np.allclose(np.abs(positions), np.abs(expected), atol=1e-4)
    assert f"({pca.explained_variance_ratio_[0]:.0%} of variance)" in figure.axes[0].get_xlabel()
    assert not np.allclose(np.abs(np.asarray(drawn(figure, 1)[0].get_offsets())), np.abs(expected), atol=1e-1)


def test_sign_does_not_flip_with_the_basis_of_the_solver():
    z = points()
    first = np.asarray(drawn(scatter_pair(z, z), 0)[0].get_offsets())
    mirrored = np.asarray(drawn(scatter_pair(z.flip(0), z), 0)[0].get_offsets())[::-1]
    assert np.allclose(first, mirrored, atol=1e-4)


def test_classes_have_a_colour_and_a_legend():
    labels = torch.arange(60) % 10
    figure = scatter_pair(points(), points(), labels)
    assert legend(figure) == [str(i) for i in range(10)]
    dots, _ = drawn(figure, 0)
    assert len({tuple(colour) for colour in dots.get_facecolors()}) == 10
    assert len(set(PALETTE)) == 10


def test_many_classes_get_a_colour_map_with_names():
    figure = scatter_pair(points(), points(), [f"c{i % 20:02d}" for i in range(60)])
    assert legend(figure) == []
    bar = figure.axes[2]
    assert bar.get_ylabel() == "20 classes"
    assert [text.get_text() for text in bar.get_yticklabels()][::5] == ["c00", "c19"]


def test_numbers_get_a_colour_bar():
    values = torch.linspace(-3, 7, 60)
    values[5] = float("nan")
    figure = scatter_pair(points(), points(), values)
    assert figure.axes[2].get_ylim() == pytest.approx((-3, 7))


def test_integers_are_in_their_order_and_not_in_that_of_words():
    assert legend(scatter_pair(points(30), points(30), [2, 10, 1] * 10)) == ["1", "2", "10"]


def test_single_tensors_are_labels_too():
    assert legend(scatter_pair(points(4), points(4), [torch.tensor(i % 2) for i in range(4)])) == ["0", "1"]


def test_moved_rows_are_rings_on_their_dots():
    z = points(30)
    moved = torch.arange(60) >= 30
    figure = scatter_pair(torch.cat([z, z + 9]), torch.cat([z, z]), moved=moved)
    dots, rings = drawn(figure, 1)
    assert np.allclose(dots.get_offsets(), rings.get_offsets(), atol=1e-4)
    assert len(rings.get_facecolors()) == 0
    dots, rings = drawn(figure, 0)
    assert not np.allclose(dots.get_offsets(), rings.get_offsets(), atol=1)
    assert legend(figure) == ["as given", "transformed"]


def test_rows_that_are_not_finite_are_left_out_and_told():
    z = points()
    z[3, 1] = float("nan")
    figure = scatter_pair(z, points(), torch.arange(60) % 3)
    assert len(drawn(figure, 0)[0].get_offsets()) == 59
    assert len(drawn(figure, 1)[0].get_offsets()) == 60
    assert figure.axes[0].get_title() == "raw latents (1 rows not finite)"


@pytest.mark.parametrize(
    "z",
    [torch.ones(5, 3), points(5, 1), points(1, 4), torch.full((5, 3), float("nan")), points(5000, 4), points(6, 400)],
    ids=["collapsed", "one column", "one row", "no finite row", "many rows", "wide"],
)
def test_odd_points_draw_without_warning(z, recwarn):
    image = figure_to_image(scatter_pair(z, z, torch.arange(len(z)) % 2))
    assert image.shape == (450, 900, 3)
    assert not recwarn.list


@pytest.mark.parametrize(
    "change", [{"raw": points(59)}, {"labels": [1]}, {"moved": torch.ones(3)}, {"raw": torch.ones(60)}]
)
def test_wrong_lengths_are_refused(change):
    with pytest.raises(ValueError, match="same samples"):
        scatter_pair(**{"raw": points(), "projected": points(), **change})


def test_bars_say_for_which_elements_the_layer_is_equivariant():
    errors = {"r0": 0.0, "r90": 1e-6, "r180": 0.5, "r270": float("nan"), "m": float("inf")}
    figure = equivariance_bars(errors, 0.05)
    axes = figure.axes[0]
    assert axes.get_title() == "equivariant for 2 of 5 elements (error at most 0.05)"
    assert [text.get_text() for text in axes.get_xticklabels()] == list(errors)
    heights = [bar.get_height() for bar in axes.patches]
    assert heights[1] == pytest.approx(1e-6)
    assert heights[2] == pytest.approx(0.5)
    assert min(heights[3:]) > 0.5  # an error that is no number does not read as a small one
    assert [bar.get_hatch() or "" for bar in axes.patches] == ["", "", "//", "//", "//"]
    assert axes.get_ylim()[0] < 1e-6


@pytest.mark.parametrize(("errors", "threshold"), [({}, 0.1), ({"e": 0.0}, 0.0), ({"e": 0.0}, float("nan"))])
def test_bars_without_elements_or_threshold_are_refused(errors, threshold):
    with pytest.raises(ValueError, match="at least one element"):
        equivariance_bars(errors, threshold)


def test_all_errors_zero_and_many_elements_draw():
    assert figure_to_image(equivariance_bars({"e": 0.0}, 0.05)).shape == (360, 900, 3)
    figure = equivariance_bars({f"element {i}": i / 200 for i in range(120)}, 0.05)
    assert len(figure.axes[0].get_xticklabels()) == 40
    assert figure_to_image(figure).dtype == np.uint8


def test_image_has_what_was_drawn():
    assert figure_to_image(scatter_pair(points(), points())).min() < 250
    from matplotlib.figure import Figure

    assert figure_to_image(Figure()).min() == 255


def test_figures_leave_pyplot_and_random_states_alone():
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()
    figure_to_image(scatter_pair(points(5000), points(5000), torch.arange(5000) % 4))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]
    assert random.getstate() == states[2]
    program = (
        "import sys, torch; from lightning_invariant.tracking import scatter_pair, figure_to_image;"
        "assert 'matplotlib' not in sys.modules;"
        "figure_to_image(scatter_pair(torch.eye(4), torch.eye(4)));"
        "assert 'matplotlib.pyplot' not in sys.modules; assert 'pytorch_lightning' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InvariantError, match=r'pip install "lightning-invariant\[figures\]"'):
        figures.scatter_pair(points(), points())


def test_umap_is_asked_for_by_name_and_explained_where_it_is_missing(monkeypatch):
    z = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(InvariantError, match=r"lightning-invariant\[umap\]"):
        scatter_pair(z, z, method="umap")


def test_umap_leaves_the_number_of_threads_alone():
    """In a process of its own: numba tells OpenMP its number of threads when it is first used."""
    pytest.importorskip("umap", reason="umap-learn is not installed")
    code = (
        "import torch; torch.set_num_threads(1); from lightning_invariant.tracking.umap_layout import umap_positions; "
        "umap_positions(torch.randn(40, 5)); print(torch.get_num_threads())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.split() == ["1"]


def test_umap_repeats_and_leaves_random_states_alone():
    pytest.importorskip("umap", reason="umap-learn is not installed")
    z = torch.cat([torch.randn(60, 5), torch.randn(60, 5) + 9])
    z[3, 0] = float("nan")
    state = np.random.get_state()[1].copy(), torch.get_rng_state()
    (one, finite), (other, _) = umap_positions(z), umap_positions(z)
    assert one.shape == (119, 2)
    assert finite.sum() == 119
    assert np.array_equal(one, other)
    assert np.array_equal(np.random.get_state()[1], state[0])
    assert torch.equal(torch.get_rng_state(), state[1])
    assert len(scatter_pair(z, z[:, :2], method="umap").axes) == 2
