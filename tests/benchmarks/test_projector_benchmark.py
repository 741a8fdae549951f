import json
from pathlib import Path


def test_the_command_measures_both_writers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from benchmarks import projector

    monkeypatch.setattr(projector, "RESULTS", tmp_path)
    monkeypatch.setattr(projector, "SIZES", [(400, 128, 0), (30, 8, 5)])
    projector.main(["--rounds", "1", "--json", str(tmp_path / "p.json")])
    small, pictures = json.loads((tmp_path / "p.json").read_text())["projector"]
    assert small["smaller"] > 4
    assert small["faster"] > 1
    assert pictures["pixels"] == 5
    assert "| 400 | 128 |" in (tmp_path / "projector.md").read_text()
