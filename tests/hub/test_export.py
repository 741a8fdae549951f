"""Networks of all kinds on their way into a folder, and what is refused on that way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_invariant.encoder import InvariantEncoder, export_encoder
from lightning_invariant.encoder import export as room
from lightning_invariant.errors import ArtifactError, GraphError, LatentError
from lightning_invariant.projections import MaxFilter, OrbitMean, Projection, Sort
from tests.hub.graph_networks import Tied
from tests.hub.small_encoder import export, images, network, projection


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(11, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.table(x).sum(1)


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


CASES: dict[str, tuple[nn.Module, Projection, Tensor]] = {
    "float64": (nn.Linear(5, 8).double(), MaxFilter("C4: 2 regular").double(), torch.randn(3, 5).double()),
    "float64 projection only": (nn.Linear(5, 8), MaxFilter("C4: 2 regular").double(), torch.randn(3, 5)),
    "bfloat16": (nn.Linear(5, 8).bfloat16(), MaxFilter("C4: 2 regular"), torch.randn(3, 5).bfloat16()),
    "integers": (Tokens(), MaxFilter("C4: 2 regular"), torch.randint(11, (3, 5))),
    "tied weights": (Tied(), MaxFilter("C2: 3 regular"), torch.randn(3, 6)),
    "dotted names": (nn.ModuleDict({"a": nn.Linear(5, 4)})["a"], Sort("S4: 4 points"), torch.randn(3, 5)),
    "deep names": (
        nn.Sequential(nn.Sequential(nn.Sequential(nn.Linear(5, 4)))),
        Sort("S4: 4 points"),
        torch.randn(3, 5),
    ),
    "field layout": (
        nn.Sequential(nn.Linear(5, 8), nn.Unflatten(1, (2, 4))),
        OrbitMean("C4: 2 regular"),
        torch.randn(3, 5),
    ),
    "no weights": (nn.Identity(), Sort("S4: 4 points"), torch.randn(2, 4)),
    "in place on the input": (nn.Sequential(nn.ReLU(inplace=True)), Sort("S4: 4 points"), torch.randn(2, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_exported_features_equal_the_live_ones(name: str, tmp_path: Path) -> None:
    live, projected, example = CASES[name]
    given = example.clone()
    exported = export_encoder(tmp_path / "folder", live.eval(), projected, example)
    assert torch.equal(example, given), "the example was written into"
    pulled = InvariantEncoder.from_pretrained(tmp_path / "folder")
    for rows in (1, 2, 5):
        x = example[:1].repeat(rows, *[1] * (example.dim() - 1))
        if x.is_floating_point():
            x = x + torch.randn(x.shape, generator=torch.Generator().manual_seed(rows)).to(x)
        with torch.no_grad():
            features = projected(live(x.clone()))
            assert torch.equal(pulled(x.clone()), features)
            assert torch.equal(exported(x.clone()), features)
    assert pulled.projection.state_dict().keys() == projected.state_dict().keys()
    for key, tensor in projected.state_dict().items():
        assert torch.equal(pulled.projection.state_dict()[key], tensor)
        assert pulled.projection.state_dict()[key].dtype == tensor.dtype


def test_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    live, projected = network(), projection()
    before = {name: tensor.clone() for name, tensor in live.state_dict().items()}
    flags = [parameter.requires_grad for parameter in live.parameters()]
    state = torch.random.get_rng_state()
    encoder = export_encoder(tmp_path / "folder", live, projected, images(3))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in live.state_dict().items())
    assert [parameter.requires_grad for parameter in live.parameters()] == flags
    assert not any(live._forward_hooks)
    with torch.no_grad():
        live[0].weight.add_(1)
        projected.get_buffer("products.templates").add_(1)
    assert not torch.equal(encoder(images(2)), projected(live(images(2))))


def test_numbers_that_json_does_not_know(tmp_path: Path) -> None:
    numbers = {"nan": float("nan"), "inf": float("inf"), "tensor": torch.tensor(0.5), "raw/knn": float("nan")}
    encoder = export(tmp_path / "folder", numbers=numbers)
    assert encoder.certificate["measured"] == {"nan": None, "inf": None, "tensor": 0.5, "raw/knn": None}


def test_a_name_for_the_card(tmp_path: Path) -> None:
    export(tmp_path / "folder", name="digits C4")
    assert "# digits C4\n" in (tmp_path / "folder" / "README.md").read_text()
    export(tmp_path / "folder")
    assert "# folder\n" in (tmp_path / "folder" / "README.md").read_text()


@pytest.mark.parametrize("existing", [False, True], ids=["new", "over an earlier export"])
def test_what_cannot_be_exported_changes_nothing(tmp_path: Path, *, existing: bool) -> None:
    folder = tmp_path / "folder"
    if existing:
        export(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()} if existing else None
    training, poisoned = network().train(), network()
    statistics = training[1].running_mean.clone()
    with torch.no_grad():
        poisoned[4].bias.fill_(float("nan"))

    class Own(MaxFilter):
        pass

    for live, projected, example, error, message in [
        (training, projection(), images(3), ArtifactError, r"in eval mode .*; call .eval\(\) first"),
        (network(), Own("C4: 2 regular"), images(3), ArtifactError, "a registered projection but got Own"),
        (network(), Sort("S9: 9 points"), images(3), LatentError, r"Expected latents of shape .* but got \(3, 8\)"),
        (Pair().eval(), projection(), torch.zeros(2, 8), ArtifactError, "returns a tensor of latents but got tuple"),
        (network(), projection(), images(1), GraphError, "length 2 or more"),
        (poisoned, projection(), images(3), ArtifactError, "Expected finite features"),
    ]:
        with pytest.raises(error, match=message):
            export_encoder(folder, live, projected, example)
        assert ({path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else None) == before
    assert torch.equal(training[1].running_mean, statistics), "a network in training mode was run"
    assert [path.name for path in tmp_path.iterdir()] == (["folder"] if existing else [])


def test_other_features_than_the_live_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = room.export_graph

    def damaged(*arguments, **settings):
        recorded = genuine(*arguments, **settings)
        recorded.tensors["encoder.4.bias"].add_(1e-2)
        return recorded

    monkeypatch.setattr(room, "export_graph", damaged)
    with pytest.raises(ArtifactError, match=r"live features of the example within .* the export is refused"):
        export(tmp_path / "folder")
    assert list(tmp_path.iterdir()) == []


def test_a_taken_folder_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ArtifactError, match=r"holds thesis\.tex"):
        export_encoder(tmp_path, None, None, None)  # pyright: ignore[reportArgumentType]


def test_nothing_of_the_author_is_written(tmp_path: Path) -> None:
    example = torch.full((3, 1, 6, 6), 0.123456789)
    export_encoder(tmp_path / "folder", network(), projection(), example)
    files = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
    for name, content in files.items():
        for secret in (b"small_encoder", str(tmp_path).encode(), str(Path(__file__).parents[2]).encode(), b"0.1234567"):
            assert secret not in content, name
    assert json.loads(files["config.json"])["projection"]["name"] == "MaxFilter"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an accelerator")
def test_tensors_on_another_device(tmp_path: Path) -> None:
    live = network().cuda()
    for projected in (projection(), projection().cuda()):
        encoder = export_encoder(tmp_path / "folder", live, projected, images(3).cuda())
        assert {tensor.device.type for tensor in encoder.state_dict().values()} == {"cpu"}
        torch.testing.assert_close(encoder(images(4)), projection()(network()(images(4))))
        moved = InvariantEncoder.from_pretrained(tmp_path / "folder", device="cuda")
        assert moved(images(4).cuda()).device.type == "cuda"
