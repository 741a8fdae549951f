"""Examples with libraries that have an environment of their own."""

import pytest

from tests.test_examples import EXAMPLES, guests, projected_beat_raw


@pytest.mark.parametrize("example", list(filter(guests, EXAMPLES)), ids=lambda path: path.name)
def test_projected_latents_beat_raw_ones(example, tmp_path):
    for guest in guests(example):
        pytest.importorskip(guest, reason=f"needs {guest} (make test-guests)")
    projected_beat_raw(example, tmp_path)
