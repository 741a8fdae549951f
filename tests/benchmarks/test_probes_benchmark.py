"""The benchmark of the probes runs, and its report measures what it says."""

import json

import pytest
import torch

probes = pytest.importorskip("benchmarks.probes")


def test_a_quick_run_writes_its_numbers_and_no_table(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(probes, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(probes, "REPORT", 200)
    monkeypatch.setattr(probes, "_extra_mebibytes", lambda *_: None)
    threads = torch.get_num_threads()
    try:
        probes.main(["--quick", "--json", str(tmp_path / "numbers.json")])
    finally:
        torch.set_num_threads(threads)
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert [row["size"] for row in numbers["report"]] == [64, 256]
    assert all(row["whole"] > row["knn"] > 0 for row in numbers["report"])
    assert {row["method"] for row in numbers["rows"]} >= {"ours, Euclidean", "scikit-learn", "bare product"}
    assert "Mathematics of one report" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


def test_the_latents_of_the_report_give_every_number():
    found = probes.evaluate(probes.report_latents(64), probes.choose("C8: 8 regular"))
    assert found.missing == {}
    assert found.numbers["linear_gap_lower"] > 0
