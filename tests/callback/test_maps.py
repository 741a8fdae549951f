"""A layer that gives feature maps, watched and exported as it is."""

import pytest
import torch
from torch import nn

from lightning_invariant.callback import InvariantCallback
from lightning_invariant.encoder import InvariantEncoder
from lightning_invariant.zoo.quarter_turns import QuarterTurnConv, QuarterTurnLifting
from tests.callback.loops import Classifier, fit


class Maps(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            QuarterTurnLifting(1, 2), nn.BatchNorm3d(2), nn.ReLU(), QuarterTurnConv(2, 2), nn.Flatten(1, 2)
        )


class MapClassifier(Classifier):
    def __init__(self) -> None:
        super().__init__(Maps())
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 64, 4))


def test_a_feature_map_is_measured_and_exported_without_pooling(tmp_path):
    callback = InvariantCallback("encoder", "C4: 2 regular on 8x8", figures=None, export=tmp_path / "encoder")
    module, _ = fit([callback], tmp_path, MapClassifier())
    assert callback.report.scalars["invariance/equivariance_error"] < 1e-4
    assert callback.report.scalars["invariance/error"] < 1e-4 < callback.report.scalars["invariance/error_raw"]
    encoder, x = InvariantEncoder.from_pretrained(tmp_path / "encoder"), torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(encoder(torch.rot90(x, 1, (-2, -1))), encoder(x), rtol=1e-4, atol=1e-5)
        assert (encoder(x.roll(2, -1)) - encoder(x)).abs().max() > 1e-2
        module.eval()
        torch.testing.assert_close(encoder.latent(x), module.encoder(x).flatten(1), rtol=1e-4, atol=1e-5)


def test_pooling_what_keeps_positions_is_refused():
    with pytest.raises(ValueError, match="leave out 'on HxW'"):
        InvariantCallback("encoder", "C4: 2 regular on 8x8", pool="mean")
