"""A capture run by hand, without a Trainer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_invariant.batch import BatchReader
from lightning_invariant.callback.capture.capture import Capture, Sizes
from lightning_invariant.callback.capture.latent import LatentReader, Symmetry
from lightning_invariant.callback.capture.nodes import NodeRows
from lightning_invariant.groups import Representation

SIZES = Sizes(64, 32)


def validated(module, batches, layer="encoder", representation="C4: 4 regular", *, sizes=SIZES, runs=1, **settings):
    """Run validation steps under a capture; returns it with what it kept and what it said."""
    said = {}
    function = layer if callable(layer) else None
    symmetry = Symmetry("f" if function else layer, Representation.parse(representation))
    reader = LatentReader(
        "f" if function else layer,
        symmetry,
        settings.get("pick"),
        settings.get("pool"),
        ragged=settings.get("ragged", False),
        nodes=NodeRows(symmetry, nn.Identity),
    )
    capture = Capture(reader, function, settings.get("batch", BatchReader()), sizes, said.__setitem__)
    capture.said = said
    capture.begin_run()
    for _ in range(runs):
        capture.begin_validation(module, None, None)
        with torch.no_grad():
            for number, batch in enumerate(batches):
                capture.begin_batch(module, batch, number, None, "validation_step")
                module.validation_step(batch, number)
                capture.end_batch(module, batch)
    return capture


@pytest.fixture(name="validated")
def _validated():
    return validated
