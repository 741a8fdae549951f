import json

import pytest
import torch

from lightning_invariant import choose

pytest.importorskip("scipy")
pytest.importorskip("matplotlib")
projections = pytest.importorskip("benchmarks.projections")
choice = pytest.importorskip("benchmarks.choice")


def test_quick_run_writes_tables_curves_and_numbers(tmp_path):
    threads, docs = torch.get_num_threads(), tmp_path / "docs"
    quick = ["--quick", "--out", str(tmp_path), "--docs", str(docs)]
    try:
        assert projections.main([*quick, "--json", str(tmp_path / "numbers.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert {row[0] for row in numbers["loop"]} == {"MaxFilter", "SortedCoorbits"}
    for name in ("projections.md", "projections_curves.md", "projections_quality.md", "projections_curves.png"):
        assert (tmp_path / name).stat().st_size > 500
    assert "distortion found" in (docs / "projections.md").read_text()
    chosen = {row[0]: row[1:] for row in numbers["choice"]}
    assert chosen["SO3: 16x0"][:4] == ["Identity", 16, "isometric", "1"]
    quality = {(row[0], row[2]): row[4:] for row in numbers["quality"]}
    assert quality["S9: 9 points", "Sort"][0] == pytest.approx(1)
    assert quality["C8: 8 regular", "ChannelMax"][-1] < 1e-6 < 0.5 < quality["C8: 8 regular", "MaxFilter"][-1]


def test_the_search_meets_known_distortions():
    for text, least, most in (
        ("O3: 4x0o", 1.4, 2**0.5 + 1e-6),
        ("C4: 1x1", 1.5, 1.5308),
        ("S9: 9 points", 1, 1 + 1e-6),
    ):
        low, high = choice.searched(choose(text).double(), 60)
        assert least <= high / low <= most


@pytest.mark.parametrize("text", ["C8: 4 regular", "D4: 4 regular"])
def test_the_loop_gives_what_ours_gives(text):
    from lightning_invariant.projections import MaxFilter

    ours = MaxFilter(text)
    representation = ours.representation
    z = representation.random(5, torch.Generator().manual_seed(0)).reshape(5, *representation.shape)
    templates = ours.products.products(torch.eye(representation.size, dtype=torch.float64))[0].mT.float()
    found = projections.move_and_multiply(z, projections.moves_of(representation.group), templates, sort=False)
    assert torch.allclose(found, ours(z), atol=1e-6)
