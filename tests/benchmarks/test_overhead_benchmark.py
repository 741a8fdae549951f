import json
from pathlib import Path


def test_the_command_measures_trainings_with_and_without(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(Path(__file__).parents[2])
    from benchmarks import overhead

    monkeypatch.setattr(overhead, "RESULTS", tmp_path)
    overhead.main(["--quick", "--json", str(tmp_path / "o.json")])
    default, once, whole = json.loads((tmp_path / "o.json").read_text())["overhead"]
    assert default["bare_s"] > 0 < default["watched_s"]
    assert (once["reports"], whole["reports"]) == ("1 of 3", "3 of 3")
    assert default["hooks_us"].keys() == set(overhead.HOOKS)
    assert "| default |" in capsys.readouterr().out
    assert not (tmp_path / "overhead.md").exists()  # a quick look is no result
