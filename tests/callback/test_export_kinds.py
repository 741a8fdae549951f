"""What a training exports beside images through a layer: padded sets, functions of the batch, heads."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import pytest
import pytorch_lightning as pl
import torch

from lightning_invariant import HubExport, InvariantCallback, InvariantEncoder
from lightning_invariant.cli.main import main
from lightning_invariant.hub import onnx_model
from tests.callback.loops import REPRESENTATION, Classifier, data, fit
from tests.callback.test_hub_export import NAME, beside, checkpoints, hub, hub_card, published, publishing, train
from tests.callback.test_latents import POINTS, Sets, sets, train_sets

if TYPE_CHECKING:
    from pathlib import Path

    from tests.hub.loopback import Hub

__all__ = ["beside", "hub"]


def batch(rows: int = 20) -> dict[str, torch.Tensor]:
    found = sets(rows, 5)
    return {name: torch.stack([row[name] for row in found]) for name in found[0]}


@torch.no_grad()
def require_live(encoder: InvariantEncoder, callback: InvariantCallback, module: Sets) -> None:
    """The folder gives what network and projection give, and padding does not matter."""
    given = batch()
    x, mask = given["points"], given["mask"]
    live = callback.projection(module.encoder(x, mask).flatten(1), mask)
    assert torch.allclose(encoder(x, mask=mask), live, rtol=1e-5, atol=1e-6)
    assert torch.allclose(encoder(torch.where(mask[..., None], x, 3.0), mask=mask), live, rtol=1e-5, atol=1e-6)
    assert torch.allclose(encoder(x.flip(1), mask=mask.flip(1)), live, rtol=1e-4, atol=1e-5)


LATENTS: dict[str, Any] = {
    "layer": "encoder",
    "function": lambda module, batch: module.encoder(batch["points"], batch["mask"]),
}


@pytest.mark.parametrize("kind", LATENTS)
def test_padded_sets_are_exported_with_their_mask(tmp_path: Path, kind: str) -> None:
    callback = InvariantCallback(
        LATENTS[kind], POINTS, mask=lambda b: b["mask"], max_overhead=None, export_dir=tmp_path / "out"
    )
    module = Sets()
    logged = train_sets(tmp_path, callback, module)
    assert logged["invariant/problems"] == 0, callback._findings._said
    encoder = InvariantEncoder.from_pretrained(tmp_path / "out")
    require_live(encoder, callback, module.eval())
    assert encoder.certificate["measured"]["invariant/error"] < 1e-5
    assert "encoder(x, mask=mask)" in (tmp_path / "out" / "README.md").read_text()


def test_padded_sets_are_published_and_their_checkpoints_exported(tmp_path: Path, hub: Hub) -> None:
    from torch.utils.data import DataLoader

    from tests.callback.loops import trainer

    callback = InvariantCallback(
        "encoder", POINTS, mask=lambda b: b["mask"], max_overhead=None, export=HubExport(NAME, "end")
    )
    module, kept = Sets(), checkpoints(tmp_path, monitor=None, save_last=True)
    pl.seed_everything(0, verbose=False)
    run = trainer([callback, kept], tmp_path, enable_checkpointing=True)
    run.fit(module, DataLoader(sets(96, 0), 16), DataLoader(sets(64, 1), 16))
    require_live(published(hub, tmp_path / "pulled"), callback, module.eval())
    path = f"{Sets.__module__}.{Sets.__qualname__}"
    arguments = ["export", kept.last_model_path, "--model", path, "-o", str(tmp_path / "later"), "--trust-checkpoint"]
    assert main(arguments) == 0
    require_live(InvariantEncoder.from_pretrained(tmp_path / "later"), callback, module)


def test_a_function_that_reads_only_inputs_is_exported(tmp_path: Path) -> None:
    callback = InvariantCallback(
        lambda module, batch: module.encoder(2 * batch[0]), REPRESENTATION, export_dir=tmp_path / "out"
    )
    module, _ = fit([callback], tmp_path, Classifier(), max_epochs=1)
    x = data(5, seed=3).tensors[0]
    with torch.no_grad():
        live = module.eval().encoder(2 * x).flatten(1)
        assert torch.allclose(InvariantEncoder.from_pretrained(tmp_path / "out").latent(x), live, atol=1e-6)


@pytest.mark.parametrize(
    ("function", "settings", "words"),
    [
        (lambda m, b: m.encoder(b[0]) + 0 * b[1].sum(), {}, "reads something else"),
        (lambda m, b: m.encoder(b[0]), {"inputs": lambda b: b[0] / 2}, "let inputs= return a tensor as it is"),
        (lambda m, b: m.encoder(b[0]) * float(b[0].sum() < 1e9), {}, "in export"),
    ],
)
def test_a_function_that_cannot_be_exported_is_told_with_the_remedy(
    tmp_path: Path, function: Any, settings: dict[str, Any], words: str
) -> None:
    callback = InvariantCallback(function, REPRESENTATION, export_dir=tmp_path / "out", **settings)
    with pytest.warns(UserWarning, match=words):
        module, _ = fit([callback], tmp_path, Classifier(), max_epochs=1)
    assert module.steps == 6
    assert not (tmp_path / "out").exists()


def test_a_mask_that_only_the_layer_gives_is_told_with_the_remedy(tmp_path: Path) -> None:
    from lightning_invariant.projections import PointSort

    callback = InvariantCallback(
        "encoder", POINTS, projection=PointSort(POINTS, ragged=True), export_dir=tmp_path / "out"
    )
    with pytest.warns(UserWarning, match="give mask=, a function of the batch"):
        train_sets(tmp_path, callback, Sets(gives="pair"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["linear", "logistic"])
def test_a_head_rides_along(tmp_path: Path, hub: Hub, kind: Any) -> None:
    names = [f"class {i}" for i in range(4)]
    module, _ = train([publishing("end", head=kind, labels=names)], tmp_path, max_epochs=2)
    encoder = published(hub, tmp_path / "pulled")
    x, y = data(64, seed=1).tensors
    found = encoder.classify(x)
    right = sum(name == names[label] for name, label in zip(found.labels, y.tolist(), strict=True)) / len(y)
    certified = encoder.certificate["measured"]["head/accuracy"]
    assert abs(right - certified) < 0.15
    assert right > 1.5 / len(names)
    assert f"Its accuracy on validation inputs as they come: {certified:.4g}." in hub_card(hub)
    assert module.steps == 12


@pytest.mark.parametrize(
    ("settings", "words"), [({"head": "linear", "labels": ["a"]}, "Expected a label for each class from 0 to")]
)
def test_a_head_that_cannot_be_fitted_is_a_finding_and_the_encoder_goes_without(
    tmp_path: Path, hub: Hub, settings: dict[str, Any], words: str
) -> None:
    with pytest.warns(UserWarning, match=words):
        train([publishing("end", **settings)], tmp_path, max_epochs=1)
    assert published(hub, tmp_path / "pulled").head is None


def test_arguments_of_a_head_out_of_range() -> None:
    for settings in ({"head": "forest"}, {"labels": ["a"]}, {"head": "linear", "labels": ["a", "a"]}):
        with pytest.raises(ValueError, match="Expected"):
            HubExport(NAME, **settings)


def test_what_onnx_cannot_hold_is_a_finding_and_the_export_goes_without(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def refused(encoder: Any, example: Any) -> bytes:
        tried.append(encoder)
        raise onnx_model.OnnxError("no such operator")

    monkeypatch.setattr(onnx_model, "find_spec", lambda package: True)
    monkeypatch.setattr("lightning_invariant.hub.export.onnx_model", refused)
    with pytest.warns(UserWarning, match="goes without model.onnx: no such operator"):
        train([publishing(onnx=True), checkpoints(tmp_path)], tmp_path)
    assert tried
    published(hub, tmp_path / "pulled")
    assert not (tmp_path / "pulled" / "model.onnx").exists()


@pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))), reason="needs the extra onnx")
def test_onnx_is_published(tmp_path: Path, hub: Hub) -> None:
    train([publishing(onnx=True), checkpoints(tmp_path)], tmp_path)
    published(hub, tmp_path / "pulled")
    assert (tmp_path / "pulled" / "model.onnx").stat().st_size > 1000
    assert "`model.onnx` gives" in hub_card(hub)


def test_onnx_without_its_packages_is_refused_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_model, "find_spec", lambda package: None)
    with pytest.raises(onnx_model.OnnxError, match="to be installed"):
        HubExport(NAME, onnx=True)
