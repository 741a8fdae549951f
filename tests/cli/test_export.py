"""An encoder out of a checkpoint, by one command."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_invariant import InvariantCallback, InvariantEncoder
from lightning_invariant.cli import main
from lightning_invariant.orbit_layer import OrbitLayer
from tests.callback.loops import REPRESENTATION, Classifier, data, fit

MODEL = ["--model", "tests.callback.loops.Classifier"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a training that the callback watched."""
    folder = tmp_path_factory.mktemp("run")
    kept = ModelCheckpoint(folder / "checkpoints", monitor="val/loss")
    seen = InvariantCallback("encoder", REPRESENTATION, max_overhead=None, figures=None)
    fit([seen, kept], folder, enable_checkpointing=True)
    return Path(kept.best_model_path)


@torch.no_grad()
def latents(path: Path) -> torch.Tensor:
    module = Classifier().eval()
    module.load_state_dict(torch.load(path, weights_only=True)["state_dict"])
    return module.encoder(data(5, seed=3).tensors[0]).flatten(1)


def test_a_watched_checkpoint_needs_the_class_alone(checkpoint: Path, tmp_path: Path, capsys) -> None:
    assert main(["export", str(checkpoint), *MODEL, "-o", str(tmp_path / "out"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["layer"] == "encoder"
    assert found["representation"] == REPRESENTATION
    encoder = InvariantEncoder.from_pretrained(tmp_path / "out")
    assert torch.equal(encoder.latent(data(5, seed=3).tensors[0]).detach(), latents(checkpoint))
    assert encoder.certificate["measured"]["error"] < 1e-5
    assert "| weights | a checkpoint, epoch" in (tmp_path / "out" / "README.md").read_text()


def test_onnx_needs_its_packages(checkpoint: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_invariant.encoder.onnx_model.find_spec", lambda package: None)
    assert main(["export", str(checkpoint), *MODEL, "-o", str(tmp_path / "out"), "--onnx"]) == 2
    assert "lightning-invariant[onnx]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_a_folder_it_stands_beside_the_checkpoint(checkpoint: Path, capsys) -> None:
    assert main(["export", str(checkpoint), *MODEL]) == 0
    assert InvariantEncoder.from_pretrained(checkpoint.with_suffix("")).guarantee.group == "C4"
    assert "lightning-invariant push" in capsys.readouterr().out


def test_an_unwatched_checkpoint_is_told_what_it_needs(checkpoint: Path, tmp_path: Path, capsys) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    saved["callbacks"] = {}
    torch.save(saved, tmp_path / "bare.ckpt")
    command = ["export", str(tmp_path / "bare.ckpt"), *MODEL, "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--layer and --representation" in capsys.readouterr().err
    command += ["--layer", "encoder", "--representation", REPRESENTATION]
    assert main(command) == 2
    assert "--input" in capsys.readouterr().err
    assert main([*command, "--input", "1,8,8"]) == 0
    assert torch.equal(
        InvariantEncoder.from_pretrained(tmp_path / "out").latent(data(5, seed=3).tensors[0]).detach(),
        latents(checkpoint),
    )
    assert main([*command, "--input", "3,8,8"]) == 2
    assert "say their shape with --input" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Expected --model"),
        (["--model", "Classifier"], "an import path such as"),
        (["--model", "tests.callback.loops.Nothing"], "Nothing"),
        (["--model", "tests.callback.loops.data"], "to be a class of modules"),
        (["--model", "torch.nn.Linear"], "--init"),
        (["--model", "lightning_invariant.zoo.digits.DigitsClassifier"], "Expected a checkpoint of this network"),
        ([*MODEL, "--init", "[1]"], "a JSON object"),
        ([*MODEL, "--init", "{"], "as JSON"),
        ([*MODEL, "--layer", "encodr", "--representation", REPRESENTATION, "--input", "1,8,8"], "near are 'encoder'"),
        ([*MODEL, "--layer", "encoder", "--representation", "C4: 9 regular", "--input", "1,8,8"], "Expected latents"),
        ([*MODEL, "--layer", "encoder", "--representation", "C4: 9 regulr", "--input", "1,8,8"], "^"),
    ],
)
def test_bad_arguments_are_one_message(
    checkpoint: Path, tmp_path: Path, arguments: list[str], words: str, capsys
) -> None:
    assert main(["export", str(checkpoint), *arguments, "-o", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_file_that_would_be_unpickled_needs_trust(checkpoint: Path, tmp_path: Path, capsys) -> None:
    saved = torch.load(checkpoint, weights_only=True)
    saved["hyper_parameters"] = {"options": argparse.Namespace(lr=1)}
    torch.save(saved, tmp_path / "objects.ckpt")
    command = ["export", str(tmp_path / "objects.ckpt"), *MODEL, "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--trust-checkpoint" in capsys.readouterr().err
    assert main([*command, "--trust-checkpoint"]) == 0


def test_an_orbit_layer_comes_out_and_a_found_action_is_told_apart(tmp_path: Path, capsys) -> None:
    for layer, representation in [(OrbitLayer("head.0", "C4"), "C4: 16 regular"), ("encoder", "C4: find")]:
        seen = InvariantCallback(layer, representation, max_overhead=None, figures=None)
        fit([seen], tmp_path / "run")[1].save_checkpoint(tmp_path / "one.ckpt")
        done = main(["export", str(tmp_path / "one.ckpt"), *MODEL, "-o", str(tmp_path / "out")])
        if representation.endswith("find"):
            assert done == 2
            assert "found in a basis" in capsys.readouterr().err
        else:
            assert done == 0
            encoder, x = InvariantEncoder.from_pretrained(tmp_path / "out"), data(5, seed=3).tensors[0]
            assert torch.allclose(encoder(torch.rot90(x, 1, (-2, -1))), encoder(x), atol=1e-5)
            assert torch.allclose(encoder.latent(x)[:, ::4], latents(tmp_path / "one.ckpt"), atol=1e-5)


def test_what_is_no_checkpoint(tmp_path: Path, capsys) -> None:
    (tmp_path / "half.ckpt").write_bytes(b"PK\x03\x04half")
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    (tmp_path / "shards").mkdir()
    for name, words in [
        ("nowhere.ckpt", "there is no"),
        ("half.ckpt", "cannot be read"),
        ("other.ckpt", "holds no 'state_dict'"),
        ("shards", "a folder of shards"),
    ]:
        assert main(["export", str(tmp_path / name), *MODEL, "-o", str(tmp_path / "out")]) == 2
        assert words in capsys.readouterr().err
