"""list, inspect, verify and embed, as somebody types them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lightning_invariant import InvariantEncoder
from lightning_invariant.artifact.config import CARD, CERTIFICATE, CONFIG, GRAPH, WEIGHTS
from lightning_invariant.artifact.files import file_hash
from lightning_invariant.cli import main
from lightning_invariant.encoder.verify import verify
from tests.hub.loopback import Hub
from tests.hub.small_encoder import export, images

NAME = "digits-c4"


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    sklearn = pytest.importorskip("sklearn.datasets")
    found = sklearn.load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))[:500]
    x = (found.images[order] / 16).astype("float32")[:, None]
    np.savez(tmp_path / "digits.npz", images=x, labels=found.target[order])
    return tmp_path / "digits.npz"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def test_list_shows_what_each_bundled_encoder_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = run(capsys, "list")
    assert status == 0
    lines = shown.splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"{NAME}: features of small digit"))
    assert lines[place + 1].strip() == (
        "accuracy of 5 nearest upright digits on turned ones: 0.447 raw, 0.959 projected"
    )
    assert lines[place + 2].strip() == "input batch 1 8 8; C4: 16 regular; MaxFilter, 128 features"
    entries = {entry["name"]: entry for entry in json.loads(run(capsys, "list", "--json")[1])}
    assert entries[NAME]["features"] == 128
    assert {NAME, "augmented-cnn", "rotated-mnist-c8"} <= set(entries)
    for name, entry in entries.items():
        assert entry["purpose"].endswith("."), name
        assert entry["headline"][0].keys() == {"asked", "raw", "projected"}, name


def test_list_reads_what_lies_beside_an_encoder(tmp_path: Path) -> None:
    from lightning_invariant.cli.list import figures_of, purpose_of

    assert (purpose_of(tmp_path), figures_of(tmp_path)) == ("no description", [])
    (tmp_path / "recipe.yaml").write_text("# A network\n# of graphs. It is small.\n# Run it: now\nmodel: x\n")
    assert purpose_of(tmp_path) == "A network of graphs."
    (tmp_path / "recipe.yaml").write_text("# A network. It is small.\n# Run it: now\n# For: tests.\nmodel: x\n")
    assert purpose_of(tmp_path) == "tests."
    figure = {"asked": "score", "raw": "0.1", "projected": "0.9"}
    (tmp_path / "results.json").write_text(json.dumps({"headline": [figure]}))
    assert figures_of(tmp_path) == [figure]


def test_a_bundled_encoder_loads_offline_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.chdir(tmp_path)
    encoder = InvariantEncoder.from_pretrained(NAME)
    x = torch.rand(3, 1, 8, 8)
    assert torch.allclose(encoder(x), encoder(x.rot90(1, (2, 3))), atol=1e-4)


def test_every_bundled_encoder_loads(capsys: pytest.CaptureFixture[str]) -> None:
    from lightning_invariant.hub.download import bundled_names

    for name in bundled_names():
        assert InvariantEncoder.from_pretrained(name).folder is not None
        assert run(capsys, "inspect", name)[0] == 0


def test_bundled_encoders_are_small_and_in_the_wheel() -> None:
    from lightning_invariant.hub.download import bundled_folder

    assert sum(path.stat().st_size for path in bundled_folder(NAME).iterdir()) < 300_000
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '"hub_configs" = "lightning_invariant/hub_configs"' in pyproject


def test_inspect_does_not_build_the_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "folder")
    (tmp_path / "folder" / GRAPH).unlink()
    (tmp_path / "folder" / WEIGHTS).unlink()
    status, shown = run(capsys, "inspect", tmp_path / "folder")
    assert status == 0
    assert "latent      8 numbers, C4: 2 regular" in shown
    assert re.search(r"invariant/knn +0\.95", shown)
    assert "not measured here" in shown
    assert "# folder" not in shown
    assert "# folder" in run(capsys, "inspect", tmp_path / "folder", "--card")[1]
    found = json.loads(run(capsys, "inspect", tmp_path / "folder", "--json")[1])
    assert found["certificate"]["measured"]["invariant/knn"] == 0.95
    assert found["config"]["latent_size"] == 8
    assert "C4" in found["card"]


def test_inspect_of_text_that_commands_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "folder")
    (tmp_path / "folder" / CARD).write_text("# hello \x1b[2J\x1b]0;owned\x07 \u202e world")
    certificate = json.loads((tmp_path / "folder" / CERTIFICATE).read_text())
    certificate["measured"] = {"a": 1.0, "b": None}
    (tmp_path / "folder" / CERTIFICATE).write_text(json.dumps(certificate))
    config = json.loads((tmp_path / "folder" / CONFIG).read_text())
    config["files"][CERTIFICATE] = file_hash(tmp_path / "folder" / CERTIFICATE)
    config["guarantee"]["source"] = "\x1b[8m"
    (tmp_path / "folder" / CONFIG).write_text(json.dumps(config))
    status, shown = run(capsys, "inspect", tmp_path / "folder", "--card")
    assert status == 0
    assert not set(shown) & set("\x1b\x07\x9b\u202e")
    assert "hello" in shown
    for entry, evil in (("measured", {"a\x1b[31m": 1.0}), ("measured", {"a": "\x1b[5m"}), ("versions", {"x\x9b": "1"})):
        certificate = json.loads((tmp_path / "folder" / CERTIFICATE).read_text()) | {entry: evil}
        (tmp_path / "folder" / CERTIFICATE).write_text(json.dumps(certificate))
        config["files"][CERTIFICATE] = file_hash(tmp_path / "folder" / CERTIFICATE)
        (tmp_path / "folder" / CONFIG).write_text(json.dumps(config))
        assert main(["inspect", str(tmp_path / "folder")]) == 2
        said = capsys.readouterr()
        assert not set(said.out + said.err) & set("\x1b\x07\x9b\u202e")


def test_inspect_says_when_the_weights_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(tmp_path / "folder").half().save_pretrained(tmp_path / "half")
    assert "weights were changed" in run(capsys, "inspect", tmp_path / "half")[1]
    assert "weights were changed" not in run(capsys, "inspect", tmp_path / "folder")[1]


def test_inspect_downloads_neither_weights_nor_graph(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    code = (
        "import sys; from lightning_invariant.cli import main; sys.exit(main(['inspect', 'tester/digits', '--json']))"
    )
    with Hub() as hub:
        upload = "import sys; from huggingface_hub import HfApi; api = HfApi(); api.create_repo('tester/digits'); "
        upload += "api.upload_folder(repo_id='tester/digits', folder_path=sys.argv[1])"
        hub.python(upload, tmp_path / "home", tmp_path / "folder")
        done = hub.python(code, tmp_path / "fresh")
    assert json.loads(done.stdout)["config"]["features"] == 16
    fetched = {path.name for path in (tmp_path / "fresh").rglob("snapshots/*/*")}
    assert fetched == {CONFIG, CERTIFICATE, CARD}


def test_verify_holds_on_other_data(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, shown = run(capsys, "verify", NAME, "--data", digits)
    assert status == 0, shown
    assert "The certificate holds on 500 inputs" in shown
    status, shown = run(capsys, "verify", NAME, "--data", digits, "--json", "--limit", 100)
    found = json.loads(shown)
    assert (status, found["holds"], found["inputs"]) == (0, True, 100)
    names = {check["name"] for check in found["checks"]}
    assert {"guarantee", "invariant/error", "invariant/knn", "raw/linear"} <= names


def test_a_linear_probe_is_judged_where_it_knows_twice_as_many_inputs_as_features(digits: Path) -> None:
    """With about as many inputs as features least squares fails whatever the encoder is."""
    encoder = InvariantEncoder.from_pretrained(NAME)
    with np.load(digits) as found:
        x, y = (torch.as_tensor(np.concatenate([found[name]] * 2)) for name in ("images", "labels"))
    for count, judged in ((510, False), (512, True)):
        limits = {check.name: check.limit for check in verify(encoder, [x[:count]], y[:count])}
        assert (limits["invariant/linear"] is not None) == judged
        assert limits["invariant/knn"] is not None


@pytest.mark.parametrize("broken", ["network", "labels"])
def test_verify_sees_what_does_not_hold(
    broken: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source: Any = NAME
    if broken == "network":
        encoder = InvariantEncoder.from_pretrained(NAME)
        with torch.no_grad():
            weight = max(encoder.network.parameters(), key=torch.numel)
            weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(0)))
        encoder.save_pretrained(source := tmp_path / "broken")
    else:
        with np.load(digits) as found:
            np.savez(digits, images=found["images"], labels=np.roll(found["labels"], 1))
    status, shown = run(capsys, "verify", source, "--data", digits)
    assert status == 1
    assert "The certificate does not hold" in shown
    assert ("weights were changed" in shown) == (broken == "network")


@pytest.mark.parametrize("ending", ["parquet", "npy", "npz", "safetensors"])
def test_embed(ending: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / f"features.{ending}"
    status, shown = run(capsys, "embed", NAME, digits, "-o", output)
    assert status == 0
    assert "invariant features, 128 numbers an input" in shown
    with np.load(digits) as found:
        expected = InvariantEncoder.from_pretrained(NAME)(torch.from_numpy(found["images"])).detach()
    if ending == "safetensors":
        torch.testing.assert_close(load_file(output)["features"], expected)
    else:
        assert output.stat().st_size > 500 * 128 * 3


def test_embed_latents_as_json(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = run(capsys, "embed", NAME, digits, "-o", tmp_path / "z.npy", "--latents", "--json", "--batch-size", 64)[1]
    assert json.loads(shown)["size"] == 64
    assert np.load(tmp_path / "z.npy").shape == (500, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nothing"], "but got 'nothing'"),
        (["inspect", "./nothing"], "no such folder"),
        (["verify", NAME, "--data", "none.npz"], "found none at none.npz"),
        (["verify", NAME, "--data", "wrong.npz"], r"shape ['batch', 1, 8, 8]"),
        (["verify", NAME, "--data", "one.npz"], "at least 2 inputs but got 1"),
        (["embed", NAME, "wrong.npz", "-o", "f.csv"], "ending in .npy, .npz, .parquet"),
        (["embed", NAME, "wrong.npz", "-o", "f.npy"], r"shape ['batch', 1, 8, 8]"),
        (["embed", NAME, ".", "-o", "f.npy"], "export it with ExportOptions(preprocessing="),
    ],
)
def test_mistakes_are_one_message(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("wrong.npz", images=images(3).numpy())
    np.savez("one.npz", images=np.zeros((1, 1, 8, 8), dtype="float32"))
    status, shown = run(capsys, *arguments)
    assert status == 2
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "f.npy").exists()


def test_verify_and_embed_work_without_lightning(digits: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfor name in ('pytorch_lightning', 'lightning', 'matplotlib', 'huggingface_hub', 'rich'):\n"
        "    sys.modules[name] = None\nfrom lightning_invariant.cli import main\n"
        f"assert main(['verify', {NAME!r}, '--data', {str(digits)!r}]) == 0\n"
        f"assert main(['embed', {NAME!r}, {str(digits)!r}, '-o', {str(tmp_path / 'f.npy')!r}]) == 0\n"
        "assert main(['list']) == 0\n"
        f"assert main(['inspect', {NAME!r}, '--card']) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
