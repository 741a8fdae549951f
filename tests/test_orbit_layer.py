"""The orbit layer: any encoder becomes equivariant, in a network and as the callback's layer."""

import pytest
import torch
from torch import nn

from lightning_invariant import InvariantCallback, InvariantEncoder, OrbitLayer
from lightning_invariant.artifact.graph import GraphModule, export_graph
from lightning_invariant.callback import Export
from lightning_invariant.groups import parse_group
from lightning_invariant.groups.actions import ImageAction, ShiftAction, VolumeAction
from lightning_invariant.metrics import equivariance_error
from lightning_invariant.zoo.ordinary import SmallCNN, SmallViT
from tests.callback.loops import Classifier, fit


@pytest.mark.parametrize("name", ["C4", "C8", "D4(axis=90)", "D2"])
@pytest.mark.parametrize("network", [SmallCNN, SmallViT])
def test_transforming_the_image_permutes_the_latents(name, network):
    torch.manual_seed(0)
    group, layer = parse_group(name), OrbitLayer(network(6 if network is SmallCNN else 8), name).eval()
    x, action = torch.rand(5, 1, 28, 28), ImageAction(group)
    with torch.no_grad():
        z = layer(x)
        rep = layer.representation(z.shape[1])
        assert z.shape == (5, *rep.shape)
        for g in group.elements()[action.is_exact(group.elements())][1:]:
            moved = layer(action.transform(x, g))
            assert equivariance_error(moved, z, rep, g) < 1e-5
            assert equivariance_error(moved, z, rep, group.identity()) > 0.1
        assert torch.allclose(z[:, :, 0], layer.encoder(x), atol=1e-5)


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 9, 9), (2, 31, 31)])
def test_images_may_have_any_size(shape):
    layer, x = OrbitLayer(nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten()), "D4"), torch.randn(4, *shape)
    assert layer(x).shape == (4, 9 * shape[0], 8)
    assert torch.equal(layer(x.flip(-2))[..., 4], layer(x)[..., 0])


def test_other_inputs_and_what_else_the_encoder_takes():
    class Scaled(nn.Module):
        def forward(self, x, scale, *, offset, mode):
            assert mode == "plain"
            return x.flatten(1) * scale[:, None] + offset

    layer = OrbitLayer(Scaled(), "T6", ShiftAction(parse_group("T6")))
    x, scale, offset = torch.randn(4, 2, 6), torch.rand(4), torch.tensor(1.0)
    z = layer(x, scale, offset=offset, mode="plain")
    torch.testing.assert_close(z[:, :, 0], x.flatten(1) * scale[:, None] + 1)
    torch.testing.assert_close(layer(x.roll(2, -1), scale, offset=offset, mode="plain"), z.roll(2, -1))
    cube = parse_group("Cube")
    volumes = OrbitLayer(nn.Flatten(), cube, VolumeAction(cube))
    v, g = torch.randn(2, 1, 3, 3, 3), torch.tensor(7)
    moved = volumes(VolumeAction(cube).transform(v, g))
    torch.testing.assert_close(moved, volumes.representation(27).transform(volumes(v), g))


@pytest.mark.parametrize("name", ["C8", "D4(axis=45)", "D3"])
def test_one_element_acts_as_in_a_batch_of_them(name):
    group, x = parse_group(name), torch.randn(3, 2, 9, 9)
    action = ImageAction(group, padding="border")
    for g in group.elements():
        torch.testing.assert_close(action.by(g)(x), action.transform(x, g))
    flat = ImageAction(group, flat=True)
    torch.testing.assert_close(flat.by(g)(x[:, 0].flatten(1)), flat.transform(x[:, 0].flatten(1), g))


def test_it_is_recorded_as_a_graph_for_any_batch():
    layer, x = OrbitLayer(SmallCNN(6), "C8").eval(), torch.rand(4, 1, 28, 28)
    made = export_graph(layer, (x,))
    loaded = GraphModule(made.graph, made.tensors)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x[:3]), layer(x[:3]))


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="at most 64 elements"):
        OrbitLayer(nn.Flatten(), "SO2")
    with pytest.raises(ValueError, match="at most 64 elements"):
        OrbitLayer("encoder", "C65")
    with pytest.raises(ValueError, match="acts on the plane"):
        OrbitLayer(nn.Flatten(), "T8")
    with pytest.raises(TypeError, match="OrbitLayer\\(encoder, group\\)"):
        OrbitLayer("encoder", "C8")(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ValueError, match="Expected 'C8: 16 regular'"):
        InvariantCallback(OrbitLayer("encoder", "C8"), "C8: 16 trivial")
    with pytest.raises(ValueError, match="Expected 'C8: 32 regular'"):
        InvariantCallback(OrbitLayer("encoder", "C8"), "C4: 64 regular")
    with pytest.raises(ValueError, match="Expected the name of a layer in OrbitLayer"):
        InvariantCallback(OrbitLayer(nn.Flatten(), "C8"), "C8: 16 regular")


class Ordinary(Classifier):
    """A network that turning its input upsets, normalised in its own step."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        layers = [nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 16)]
        super().__init__(nn.Sequential(*layers))

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        super().validation_step([(batch[0] - 0.1) / 0.5, batch[1]], batch_idx)


def test_an_ordinary_network_is_watched_and_exported_in_one_line(tmp_path):
    plain, _ = fit([], tmp_path, Ordinary())
    callback = InvariantCallback(
        OrbitLayer("encoder", "C4"), "C4: 16 regular", figures=None, export=tmp_path / "encoder"
    )
    module, _ = fit([callback], tmp_path, Ordinary())
    scalars = callback.report.scalars
    assert scalars["invariance/equivariance_error"] < 1e-5
    assert scalars["invariance/error"] < 1e-5
    assert scalars["invariance/error_raw"] > 0.1
    assert scalars["invariance_details/action_error"] == 0
    assert callback.layer == "OrbitLayer('encoder', 'C4')"
    for name, value in plain.state_dict().items():
        assert torch.equal(value, module.state_dict()[name])
    encoder, x = InvariantEncoder.from_pretrained(tmp_path / "encoder"), torch.randn(5, 1, 8, 8)
    module.eval()
    with torch.no_grad():
        expected = OrbitLayer(module.encoder, "C4")(x)
        torch.testing.assert_close(encoder.latent(x), expected.flatten(1), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(encoder(torch.rot90(x, 1, (-2, -1))), encoder(x), rtol=1e-4, atol=1e-5)
        assert (encoder(x.roll(2, -1)) - encoder(x)).abs().max() > 0.01


def test_interpolation_is_measured_by_itself(tmp_path):
    callback = InvariantCallback(OrbitLayer("encoder", "C8"), "C8: 16 regular", figures=None)
    fit([callback], tmp_path, Ordinary())
    assert 0.05 < callback.report.scalars["invariance_details/action_error"] < 1
    assert callback.report.scalars["invariance/equivariance_error"] > 1e-3
    said = " ".join(callback.report.messages)
    assert "an orbit layer is equivariant by construction" in said
    assert "It holds for C4, so 'C4' in its place is exact" in said
    assert "give layer=OrbitLayer" not in said


def test_the_finding_on_a_network_that_is_not_invariant_names_it_and_following_it_helps(tmp_path):
    callback = InvariantCallback("encoder", "C4: 16 trivial", figures=None)
    fit([callback], tmp_path, Ordinary())
    said = " ".join(callback.report.messages)
    assert "layer=OrbitLayer('encoder', 'C4') with 'C4: 16 regular'" in said
    followed = InvariantCallback(OrbitLayer("encoder", "C4"), "C4: 16 regular", figures=None)
    fit([followed], tmp_path, Ordinary())
    assert "do not transform as" not in " ".join(followed.report.messages)


def test_a_configuration_file_says_it(tmp_path):
    cli = pytest.importorskip("pytorch_lightning.cli")
    (tmp_path / "config.yaml").write_text(
        "trainer:\n  logger: false\n  callbacks:\n    - class_path: lightning_invariant.InvariantCallback\n"
        "      init_args:\n        layer:\n          class_path: lightning_invariant.OrbitLayer\n"
        "          init_args: {encoder: encoder, group: C8}\n        representation: 'C8: 16 regular'\n"
    )
    network, data = "lightning_invariant.zoo.digits.DigitsClassifier", "lightning_invariant.zoo.digits.Digits"
    arguments = [f"--config={tmp_path / 'config.yaml'}", f"--model={network}", f"--data={data}"]
    built = cli.LightningCLI(args=arguments, run=False)
    assert built.trainer.callbacks[0].layer == "OrbitLayer('encoder', 'C8')"


def test_a_class_path_is_refused_before_training(tmp_path):
    callback = InvariantCallback(
        OrbitLayer("encoder", "C4"), "C4: 16 regular", export=Export(tmp_path / "encoder", arguments={})
    )
    with pytest.raises(Exception, match="exported as a graph"):
        fit([callback], tmp_path, Ordinary())
