"""The parts of the benchmark of loading and running, on a small network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import artifact


def test_a_section_has_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact, "_compiled", lambda live, encoder, x: (lambda: live(x), lambda: encoder(x)))
    network = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 128))
    section = artifact._measure(tmp_path / "small", lambda: network, 2)
    assert section.numbers["bit_identical"]
    assert section.numbers["modules"] == []
    assert section.numbers["largest difference from the live features, relative"]["measured"] <= 1e-6
    assert len(section.rows) == 7
    assert {row[3] for row in section.rows} <= {"yes", "NO"}


@pytest.mark.parametrize("name", artifact.NETWORKS)
def test_networks_have_ten_million_parameters(name: str) -> None:
    with torch.device("meta"):
        network = artifact.NETWORKS[name]()
    assert 9e6 < sum(p.numel() for p in network.parameters()) < 11e6


def test_ratios_are_of_throughput() -> None:
    def slow() -> None:
        sum(range(200_000))

    def fast() -> None:
        sum(range(2_000))

    assert artifact._ratio(slow, fast, 5) > 2
    assert artifact._ratio(fast, slow, 5) < 0.5
