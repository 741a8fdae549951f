"""The image recipes as a user runs them, on a set of a few images."""

import pytest
import torch

from lightning_invariant import InvariantEncoder
from lightning_invariant.cli import main
from lightning_invariant.cli.recipes import lightning_cli, recipe_path
from lightning_invariant.metrics import invariance_error
from tests.zoo.tiny_mnist import write_tiny_mnist

RECIPES = {"rotated-mnist-c8": "C8: 32 regular", "augmented-cnn": "C8: 64 regular"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_trains_and_exports_invariant_features(recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_tiny_mnist(tmp_path, training=128, testing=10)
    short = ["--trainer.max_epochs=1", "--data.train_size=64", "--data.validation_size=64"]
    assert main(["fit", recipe, f"--data.data_dir={folder}", *short]) == 0
    encoder = InvariantEncoder.from_pretrained(tmp_path / "runs" / recipe / "hub")
    assert str(encoder.projection.representation) == RECIPES[recipe]
    x = torch.rand(6, 1, 28, 28)
    with torch.no_grad():
        features, latents = encoder(x), encoder.latent(x)
        turned = x.rot90(1, (2, 3))
        assert invariance_error(encoder(turned), features) < 1e-3
        assert invariance_error(encoder.latent(turned), latents) > 0.05


def test_the_variant_with_flips_declares_its_group():
    cli = lightning_cli(["--config", str(recipe_path("rotated-mnist-d4")), "--trainer.logger=false"], run=False)
    assert cli.model.encoder.order == 8
    assert cli.model.hparams.group == "D4"
    assert str(cli.trainer.callbacks[0].representation) == "D4: 32 regular"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_wrong_folder_is_one_message(recipe, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["fit", recipe, f"--data.data_dir={tmp_path}"]) == 2
    assert "MNIST's file train-images-idx3-ubyte.gz" in capsys.readouterr().err
