"""Feature maps of escnn, with their positions, under the notation's group."""

import pytest
import torch

pytest.importorskip("escnn", reason="needs escnn (make test-guests)")
from escnn import gspaces, nn

from lightning_invariant import InvariantCallback, InvariantEncoder
from lightning_invariant.groups import Representation
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.metrics import equivariance_error
from lightning_invariant.projections import choose

pytest.importorskip("sklearn", reason="needs scikit-learn")
from tests.guests.escnn_networks import Steerable, fitted

SPACES = {
    "C4": lambda: gspaces.rot2dOnR2(4),
    "C2": lambda: gspaces.rot2dOnR2(2),
    "D4(axis=90)": lambda: gspaces.flipRot2dOnR2(4),
    "D4": lambda: gspaces.flipRot2dOnR2(4, axis=0.0),
    "D2(axis=90)": lambda: gspaces.flipRot2dOnR2(2),
    "HFlip": lambda: gspaces.flip2dOnR2(),
}


@pytest.mark.parametrize("group", SPACES)
def test_maps_of_escnn_are_equivariant_as_declared(group):
    torch.manual_seed(0)
    space = SPACES[group]()
    image = nn.FieldType(space, [space.trivial_repr])
    hidden = nn.FieldType(space, 4 * [space.regular_repr])
    out = nn.FieldType(space, 2 * [space.trivial_repr] + 3 * [space.regular_repr])
    net = nn.SequentialModule(
        nn.R2Conv(image, hidden, 3, padding=1), nn.ReLU(hidden), nn.R2Conv(hidden, out, 3, padding=1)
    ).eval()
    layer = lambda x: net(nn.GeometricTensor(x, image)).tensor  # noqa: E731
    rep = Representation.parse(f"{group}: 2 trivial + 3 regular on 7x7")
    x, g = torch.randn(64, 1, 7, 7), rep.group.sample(64)
    with torch.no_grad():
        z, moved = layer(x), layer(ImageAction(rep.group).transform(x, g))
        assert equivariance_error(moved, z, rep, g) <= 1e-4
        assert equivariance_error(moved, z, rep, (g + 1) % rep.group.order) > 0.1
        projection = choose(rep)
        scale = torch.pdist(projection(z)).mean()
        assert (projection(moved) - projection(z)).norm(dim=1).mean() <= 1e-4 * scale


@pytest.mark.parametrize("group", ["C4", "D4(axis=90)", "D2(axis=90)"])
def test_a_layer_that_gives_maps_is_measured_and_exported_as_it_is(group, tmp_path):
    torch.manual_seed(0)
    space = SPACES[group]()
    network = Steerable(space, 2 * [space.trivial_repr] + 2 * [space.regular_repr])
    callback = InvariantCallback(
        "body", f"{group}: 2 trivial + 2 regular on 5x5", figures=None, export=tmp_path / "encoder"
    )
    fitted(network, callback, 13)
    scalars = callback.report.scalars
    assert scalars["invariance/equivariance_error"] <= 1e-4
    assert scalars["invariance/error"] <= 1e-4 < scalars["invariance/error_raw"]
    assert "do not transform" not in " ".join(callback.report.messages)
    encoder, x = InvariantEncoder.from_pretrained(tmp_path / "encoder"), torch.rand(4, 1, 13, 13)
    with torch.no_grad():
        torch.testing.assert_close(encoder(x.flip(-2, -1)), encoder(x), rtol=1e-3, atol=1e-4)
    assert encoder.config["latent_size"] == network.body.out_type.size * 25
