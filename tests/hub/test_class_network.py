"""Networks that cannot be traced: published by class path, loaded only with the caller's own class or consent."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_invariant.artifact.config import CARD, CONFIG, GRAPH
from lightning_invariant.encoder import ExportOptions, InvariantEncoder, export_encoder
from lightning_invariant.errors import ArtifactError, GraphError
from tests.hub.small_encoder import export, images, projection

PATH = f"{__name__}.Branching"


class Branching(nn.Module):
    """Takes one of two ways, by value: no graph can say that."""

    def __init__(self, width: int, names: list[str] | None = None) -> None:
        super().__init__()
        self.names = names
        self.first, self.second = nn.Linear(36, width), nn.Linear(36, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        return self.first(x) if x.sum() > 0 else self.second(x)


def live() -> Branching:
    torch.manual_seed(0)
    return Branching(8, ["a"]).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    arguments = {"width": 8, "names": ["a"]}
    export_encoder(tmp_path / "folder", live(), projection(), images(3), options=ExportOptions(arguments=arguments))
    return tmp_path / "folder"


@pytest.mark.parametrize("way", ["class", "factory", "instance", "trusted"])
@pytest.mark.parametrize("sign", [1, -1])
def test_loads_with_the_class(way: str, sign: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, dict[str, Any]] = {
        "class": {"network": Branching},
        "factory": {"network": lambda width, names: Branching(width, names)},
        "instance": {"network": Branching(8).train()},
        "trusted": {"trust_remote_code": True},
    }
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    encoder = InvariantEncoder.from_pretrained(folder, **given[way])
    x = images(4).abs() * sign
    with torch.no_grad():
        assert torch.equal(encoder(x), projection()(live()(x)))
    assert not any(part.training for part in encoder.modules())
    assert not encoder.train().network.network.training
    with pytest.raises(GraphError, match=r"got \[4, 1, 7, 7\]"):
        encoder(torch.zeros(4, 1, 7, 7))
    assert encoder.double()(x.double()).dtype == torch.float64


def test_does_not_load_without(folder: Path) -> None:
    imported = set(sys.modules)
    with pytest.raises(ArtifactError, match=r"Expected network=Branching, the author's class .*Branching"):
        InvariantEncoder.from_pretrained(folder)
    assert not any("Branching" in name for name in set(sys.modules) - imported)


def test_the_folder_says_so(folder: Path) -> None:
    config = json.loads((folder / CONFIG).read_text())
    assert config["network"] == {"kind": "class", "class": PATH, "arguments": {"width": 8, "names": ["a"]}}
    assert not (folder / GRAPH).exists()
    card = (folder / CARD).read_text()
    assert "could not be written without its class" in card
    assert f"from {__name__} import Branching" in card
    assert ", network=Branching)" in card
    assert "Loading executes" not in card


@pytest.mark.parametrize(
    ("change", "given", "message"),
    [
        (
            {"class": "os.system", "arguments": {"command": "touch ran"}},
            {"trust_remote_code": True},
            "not a subclass|to be",
        ),
        ({"class": "no.such.Module"}, {"trust_remote_code": True}, "to be installed"),
        ({"class": "os.path.no_such"}, {"trust_remote_code": True}, "to be installed"),
        ({"trust_remote_code": True}, {}, "Expected network="),
        ({"arguments": {"width": 9}}, {"network": Branching}, "4 of them differ|2 of them differ|differ in name"),
        ({}, {"network": nn.Linear(3, 3)}, "differ in name, shape or type"),
        ({}, {"network": lambda width, names: "no module"}, "makes an nn.Module but got str"),
        ({}, {"network": Branching(8).double()}, "differ in name, shape or type"),
    ],
)
def test_what_is_refused(
    change: dict[str, Any],
    given: dict[str, Any],
    message: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = json.loads((folder / CONFIG).read_text())
    config["network"] |= change
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=message):
        InvariantEncoder.from_pretrained(folder, **given)
    assert not (tmp_path / "ran").exists()


def test_a_graph_takes_no_class(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    with pytest.raises(ArtifactError, match="Expected no network="):
        InvariantEncoder.from_pretrained(tmp_path / "folder", network=Branching)


def test_exports_that_are_refused(tmp_path: Path) -> None:
    class Local(Branching):
        pass

    with pytest.raises(GraphError, match="With ExportOptions"):
        export_encoder(tmp_path / "a", live(), projection(), images(3))
    for network, arguments, message in [
        (live(), {"width": object()}, "arguments that JSON can hold"),
        (live(), {"width": float("nan")}, "arguments that JSON can hold"),
        (Local(8).eval(), {"width": 8}, "define it at the top of a module"),
        (live(), {"width": 9}, "differ in name, shape or type"),
    ]:
        with pytest.raises(ArtifactError, match=message):
            export_encoder(tmp_path / "a", network, projection(), images(3), options=ExportOptions(arguments=arguments))
    assert not (tmp_path / "a").exists()


def test_what_can_be_traced_is_a_graph_even_with_arguments(tmp_path: Path) -> None:
    export(tmp_path / "folder", arguments={"anything": 1})
    assert (tmp_path / "folder" / GRAPH).exists()


def test_saving_again(folder: Path, tmp_path: Path) -> None:
    encoder = InvariantEncoder.from_pretrained(folder, network=Branching)
    encoder.save_pretrained(tmp_path / "again")
    for path in folder.iterdir():
        if path.name != CARD:
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name
