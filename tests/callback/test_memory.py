"""What is kept is bounded by the settings, not by the data."""

import subprocess
import sys

import pytest
import torch

from lightning_invariant.callback.positions import Positions
from lightning_invariant.callback.reservoir import Reservoir

STREAM = """
import resource, sys, torch
from lightning_invariant.callback.collector import Collector
from lightning_invariant.callback.content import Content
from lightning_invariant.callback.source import Source
from lightning_invariant.groups import Representation

rows, batch = int(sys.argv[1]), int(sys.argv[2])
content = Content(None, None, None, whole=False, say=print)
source = Source("0", Representation.parse("C4: 4 regular"), content, None, None, ragged=False)
network = torch.nn.Sequential(torch.nn.Linear(16, 16))
collector = Collector(source, content, 2000, 2000, 256 * 2**20, 0)
source.attach(network)
collector.begin_training()
collector.begin_pass(None)
collector.begin_validation(None)
x, y = torch.randn(batch, 16), torch.arange(batch) % 10
for _ in range(rows // batch):
    collector.add_training((x, y))
    source.tap.arm()
    with torch.no_grad():
        network(x)
    assert collector.add_validation((x, y), 0, network, None)
assert len(collector.bank) == len(collector.samples[0]) == 2000
assert collector.samples[0].seen == rows
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak(rows: int, batch: int) -> float:
    """Peak memory of a process that is shown so many rows, in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", STREAM, str(rows), str(batch)], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / (1024 if sys.platform != "darwin" else 1024**2)


@pytest.mark.parametrize(
    ("few", "many", "batch"),
    [(10_000, 1_000_000, 5_000), pytest.param(10_000, 10_000_000, 1_000, marks=pytest.mark.slow)],
)
def test_the_peak_is_the_same_for_few_rows_and_many(few, many, batch):
    pytest.importorskip("resource", reason="this system does not tell a process's peak memory")
    assert peak(many, batch) < peak(few, batch) + 12


def test_a_sample_of_large_rows_keeps_its_bound():
    kept = Reservoir(2000, max_bytes=2**20)
    for _ in range(20):
        kept.add({"x": torch.zeros(64, 3, 32, 32), "y": torch.zeros(64)})
    assert sum(c.numel() * c.element_size() for c in kept.columns.values()) <= 2**20
    assert kept.room == len(kept) == 2**20 // (3 * 32 * 32 * 4 + 4)


def test_rows_of_a_distributed_sampler_are_numbered_as_in_the_whole():
    first, second = (Positions(2, rank, length=7) for rank in range(2))
    assert [first.next(3)[0].tolist(), first.next(1)] == [[0, 2, 4], (torch.tensor([6]), False)]
    places, repeats = second.next(4)
    assert (places.tolist(), repeats) == ([1, 3, 5, 7], True)
