"""What is kept is bounded by the settings, not by the data."""

import pytest

from tests.memory import linux_only, printed

STREAM = """
import sys, torch
from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.capture.capture import Capture, Sizes
from lightning_invariant.callback.capture.latent import LatentReader, Symmetry
from lightning_invariant.groups import Representation

rows, batch = int(sys.argv[1]), int(sys.argv[2])

class Network(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Linear(16, 16)
    def forward(self, x):
        return self.encoder(x)
    def validation_step(self, batch, batch_idx):
        self(batch[0])

network = Network().eval()
reader = LatentReader("encoder", Symmetry("encoder", Representation.parse("C4: 4 regular")), None, None, ragged=False)
capture = Capture(reader, None, BatchReader(), Sizes(2000, 2000), lambda key, text: sys.exit(text))
capture.begin_run()
capture.begin_validation(network, None, None)
x, y = torch.randn(batch, 16), torch.arange(batch) % 10
with torch.no_grad():
    for number in range(rows // batch):
        capture.begin_batch(network, (x, y), number, None, "validation_step")
        network.validation_step((x, y), number)
        capture.end_batch(network, (x, y))
kept = capture.kept[0]
assert len(kept.calls) <= 3000
kept.calls.close()
assert len(kept.bank) == len(kept.calls) == 2000
assert capture.way is not None and kept.positions.peek(1).item() == rows
print(peak())
"""


@linux_only
@pytest.mark.parametrize(
    ("few", "many", "batch"),
    [(10_000, 1_000_000, 5_000), pytest.param(10_000, 10_000_000, 1_000, marks=pytest.mark.slow)],
)
def test_the_peak_is_the_same_for_few_rows_and_many(few, many, batch):
    assert printed(STREAM, many, batch)[0] < printed(STREAM, few, batch)[0] + 12  # MiB
