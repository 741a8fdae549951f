"""An encoder as ONNX gives the encoder's numbers, and tells nothing of the machine that wrote it."""

from __future__ import annotations

import json
import logging
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from lightning_invariant import InvariantEncoder
from lightning_invariant.artifact.config import CONFIG, ONNX
from lightning_invariant.artifact.files import file_hash
from lightning_invariant.encoder import ExportOptions, export_encoder, onnx_model
from lightning_invariant.encoder.class_network import ClassNetwork
from lightning_invariant.errors import ArtifactError
from lightning_invariant.projections import FSW, GramRoot, PointSort
from tests.hub import padded
from tests.hub.graph_networks import Apply
from tests.hub.small_encoder import export, images, projection
from tests.hub.test_class_network import Branching

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTRA = all(find_spec(package) for package in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not EXTRA, reason="needs the extra onnx")


def run(content: bytes, *inputs: torch.Tensor) -> list[NDArray[Any]]:
    from onnxruntime import InferenceSession  # pyright: ignore[reportMissingImports]

    session = InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {v.name: x.numpy() for v, x in zip(session.get_inputs(), inputs, strict=True)})


@needs_onnx
def test_it_stands_beside_the_other_files_and_gives_the_same_numbers(tmp_path: Path) -> None:
    encoder = export(tmp_path / "folder", onnx=True)
    content = (tmp_path / "folder" / ONNX).read_bytes()
    config = json.loads((tmp_path / "folder" / CONFIG).read_text())
    assert config["files"][ONNX] == file_hash(tmp_path / "folder" / ONNX)
    assert "`model.onnx` gives `features` and `latents`" in (tmp_path / "folder" / "README.md").read_text()
    for count in (1, 2, 7):
        features, latents = run(content, images(count))
        with torch.no_grad():
            torch.testing.assert_close(torch.as_tensor(features), encoder(images(count)), rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(torch.as_tensor(latents), encoder.latent(images(count)), rtol=1e-5, atol=1e-6)
    assert content.count(b"Conv") > 0
    told = (os.getcwd(), str(Path.home()), ".py", "lightning_invariant")
    assert not [word for word in told if word.encode() in content]


@needs_onnx
def test_loading_does_not_read_it_and_the_next_export_drops_it(tmp_path: Path) -> None:
    export(tmp_path / "folder", onnx=True)
    (tmp_path / "folder" / ONNX).write_bytes(b"not ONNX")
    InvariantEncoder.from_pretrained(tmp_path / "folder")
    export(tmp_path / "folder")
    assert not (tmp_path / "folder" / ONNX).exists()
    assert "model.onnx" not in (tmp_path / "folder" / "README.md").read_text()


@needs_onnx
def test_an_encoder_of_several_inputs_with_any_lengths(tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
            return (x * weight[:, None].float()).sum(2)

    example = (torch.randn(3, 8, 5), torch.ones(3, 5, dtype=torch.int64))
    dynamic = [{0: "batch", 2: "length"}, {0: "batch", 1: "length"}]
    encoder = export_encoder(
        tmp_path / "folder", Two().eval(), projection(), example, options=ExportOptions(dynamic=dynamic)
    )
    encoder.to_onnx(tmp_path / "model.onnx")
    x, weight = torch.randn(2, 8, 3), torch.tensor([[1, 0, 2], [3, 1, 1]])
    features, _ = run((tmp_path / "model.onnx").read_bytes(), x, weight)
    torch.testing.assert_close(torch.as_tensor(features), encoder(x, weight), rtol=1e-5, atol=1e-6)


@needs_onnx
@pytest.mark.parametrize("kind", [PointSort, FSW])
def test_padded_sets_come_with_their_mask(tmp_path: Path, kind: type[PointSort | FSW]) -> None:
    project = kind(padded.POINTS, ragged=True)
    encoder = export_encoder(
        tmp_path / "folder", padded.network(), project, padded.sets(3), options=ExportOptions(mask=1)
    )
    encoder.to_onnx(tmp_path / "model.onnx")
    x, mask = padded.sets(5, seed=1)
    features, latents = run((tmp_path / "model.onnx").read_bytes(), x, mask)
    with torch.no_grad():
        torch.testing.assert_close(torch.as_tensor(features), encoder(x, mask=mask), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.as_tensor(latents), encoder.latent(x, mask=mask), rtol=1e-4, atol=1e-5)


@needs_onnx
def test_an_axis_that_became_fixed_is_refused(tmp_path: Path) -> None:
    from onnx import load_from_string  # pyright: ignore[reportMissingImports]

    encoder = export(tmp_path / "folder")
    model = load_from_string(onnx_model.onnx_model(encoder))
    onnx_model._require_named(model, encoder.config["inputs"])
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(ArtifactError, match="the axis 'batch' of any length but ONNX has one of 4"):
        onnx_model._require_named(model, encoder.config["inputs"])
    with pytest.raises(ArtifactError, match="Expected ONNX Runtime to take inputs of shapes"):
        onnx_model._require_equal(model.SerializeToString(), encoder, (images(3),))


@needs_onnx
def test_what_onnx_has_not_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    network = Apply(lambda layer, x: layer(x), torch.nn.Linear(5, 12)).eval()
    with pytest.raises(ArtifactError, match="that ONNX can hold"):
        export_encoder(
            tmp_path / "folder", network, GramRoot("O3: 4 vectors"), torch.randn(3, 5), options=ExportOptions(onnx=True)
        )
    assert not (tmp_path / "folder").exists()


@needs_onnx
def test_other_numbers_are_refused(tmp_path: Path) -> None:
    one, other = export(tmp_path / "one"), export(tmp_path / "other", seed=1)
    content = onnx_model.onnx_model(one)
    onnx_model._require_equal(content, one, (images(3),))
    with pytest.raises(ArtifactError, match="Expected ONNX Runtime to give the encoder's features"):
        onnx_model._require_equal(content, other, (images(3),))


@needs_onnx
def test_nothing_is_left_behind(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encoder = export(tmp_path / "folder")
    state, disabled = torch.random.get_rng_state(), logging.root.manager.disable
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    capfd.readouterr()
    encoder.to_onnx(tmp_path / "model.onnx")
    assert capfd.readouterr() == ("", "")
    assert torch.equal(state, torch.random.get_rng_state())
    assert logging.root.manager.disable == disabled
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    encoder(images(3))


@needs_onnx
def test_a_network_that_needs_its_class(tmp_path: Path) -> None:
    network = Branching(8).eval()
    encoder = export_encoder(
        tmp_path / "folder", network, projection(), images(3), options=ExportOptions(arguments={"width": 8})
    )
    assert isinstance(encoder.network, ClassNetwork)
    with pytest.raises(ArtifactError, match="that ONNX can hold"):
        encoder.to_onnx(tmp_path / "model.onnx")


def test_without_the_packages_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = export(tmp_path / "folder")
    monkeypatch.setattr(onnx_model, "find_spec", lambda package: None)
    with pytest.raises(ArtifactError, match=r'onnx and onnxscript .* pip install "lightning-invariant\[onnx\]"'):
        encoder.to_onnx(tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="to be installed to write ONNX"):
        export(tmp_path / "folder", onnx=True)
    InvariantEncoder.from_pretrained(tmp_path / "folder")


def test_weights_beyond_one_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = export(tmp_path / "folder")
    monkeypatch.setattr(onnx_model, "find_spec", lambda package: True)
    monkeypatch.setattr(onnx_model, "LARGEST", 10)
    with pytest.raises(ArtifactError, match="at most 10 bytes"):
        encoder.to_onnx(tmp_path / "model.onnx")
