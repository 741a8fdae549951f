"""To the Hub on loopback and back, by commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lightning_invariant import InvariantEncoder
from lightning_invariant.cli import main
from lightning_invariant.hub.queue import Queue
from tests.hub.loopback import Fault, Hub
from tests.hub.small_encoder import export, images, network, projection
from tests.hub.test_delivery import add

NAME = "tester/digits"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from huggingface_hub import constants

    with Hub() as server:
        server.serve(monkeypatch, tmp_path / "home")
        monkeypatch.setenv("LIGHTNING_INVARIANT_QUEUE", str(tmp_path / "queue"))
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        yield server


def live(seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        return projection()(network(seed)(images(5)))


def features(folder: Path) -> torch.Tensor:
    with torch.no_grad():
        return InvariantEncoder.from_pretrained(folder)(images(5))


def test_a_folder_goes_there_and_comes_back(tmp_path: Path, hub: Hub, capsys) -> None:
    export(tmp_path / "out", figure=b"picture")
    assert main(["push", str(tmp_path / "out"), NAME, "--private", "--json"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert pushed["url"].startswith(f"{hub.endpoint}/{NAME}/commit/")
    assert hub.repositories[NAME].private
    assert main(["pull", NAME, "-o", str(tmp_path / "back"), "--json"]) == 0
    pulled = json.loads(capsys.readouterr().out)
    assert pulled["commit"] == pushed["commit"]
    assert {"config.json", "README.md", "embeddings.png"} < set(pulled["files"])
    assert torch.equal(features(tmp_path / "back"), live())
    (tmp_path / "back" / "notes").write_text("mine")
    export(tmp_path / "out", seed=1)
    assert main(["push", str(tmp_path / "out"), NAME, "--message", "Second"]) == 0
    assert main(["pull", NAME, "-o", str(tmp_path / "back")]) == 0
    assert torch.equal(features(tmp_path / "back"), live(1))
    assert (tmp_path / "back" / "notes").read_text() == "mine"
    assert not (tmp_path / "back" / "embeddings.png").exists()
    assert main(["pull", NAME, "-o", str(tmp_path / "first"), "--revision", pushed["commit"]]) == 0
    assert torch.equal(features(tmp_path / "first"), live())
    assert main(["pull", NAME]) == 0
    assert f'from_pretrained("{NAME}")' in capsys.readouterr().out


def test_the_queue_is_emptied(tmp_path: Path, hub: Hub, capsys) -> None:
    assert main(["push"]) == 0
    assert "nothing waits" in capsys.readouterr().out
    add(Queue())
    assert main(["push", "--dry-run"]) == 0
    assert NAME in capsys.readouterr().out
    hub.faults.plan(Fault("commit", "403"))
    assert main(["push"]) == 2
    assert "may not write there" in capsys.readouterr().out
    assert main(["push", "--dry-run", "--json"]) == 0
    (waiting,) = json.loads(capsys.readouterr().out)["waiting"]
    assert "may not write there" in waiting["trouble"]
    assert main(["push", "--json"]) == 0
    (outcome,) = json.loads(capsys.readouterr().out)["outcomes"]
    assert outcome["state"] == "published"
    assert Queue().entries() == []


def test_a_dry_run_of_a_folder_sends_nothing(tmp_path: Path, hub: Hub) -> None:
    export(tmp_path / "out")
    assert main(["push", str(tmp_path / "out"), NAME, "--dry-run"]) == 0
    assert hub.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push", "out"], "`lightning-invariant push FOLDER user/name`"),
        (["push", "out", "digits"], "Expected a repository 'user/name'"),
        (["push", "nowhere", NAME], "it is missing"),
        (["push", "out", "stranger/x"], "may not write there"),
        (["push", "out", NAME, "--create-pr", "--revision", "v2"], "leave out either"),
        (["pull", "digits"], "Expected a repository 'user/name'"),
        (["pull", "tester/nothing"], "404"),
        (["pull", NAME, "-o", "taken"], "holds thesis.tex"),
    ],
)
def test_bad_arguments_are_one_message(
    tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    export(tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("precious")
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert NAME not in hub.repositories


def test_a_damaged_folder_is_not_pushed(tmp_path: Path, hub: Hub, capsys) -> None:
    export(tmp_path / "out")
    path = tmp_path / "out" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    assert main(["push", str(tmp_path / "out"), NAME]) == 2
    assert "its hash differs" in capsys.readouterr().err
    assert hub.requests == []


def test_a_hub_that_is_away(tmp_path: Path, hub: Hub, capsys) -> None:
    export(tmp_path / "out")
    hub.faults.plan(Fault("whoami", "500"))
    assert main(["push", str(tmp_path / "out"), NAME]) == 2
    assert "try again later" in capsys.readouterr().err
