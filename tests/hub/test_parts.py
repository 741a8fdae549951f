"""What can ride along with an encoder: heads, preprocessing, shards, several inputs, changed weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lightning_invariant.artifact import tensors
from lightning_invariant.artifact.config import CARD, CONFIG, INDEX, WEIGHTS
from lightning_invariant.artifact.files import file_hash
from lightning_invariant.encoder import ExportOptions, InvariantEncoder, export_encoder, export_projection
from lightning_invariant.encoder.preprocessing import Preprocessing
from lightning_invariant.errors import ArtifactError, GraphError
from lightning_invariant.probes import logistic_fit, ridge_fit
from lightning_invariant.projections import choose
from tests.hub.loopback import Hub
from tests.hub.small_encoder import export, images, network, projection
from tests.projections.table import ROWS

CLASSES = ["cat", "dog", "emu"]
FIRST = list({row.kind: row for row in reversed(ROWS)}.values())
"""One row for each projection."""


def features(count: int = 40) -> Tensor:
    with torch.no_grad():
        return projection()(network()(images(count)))


@pytest.mark.parametrize("fit", [logistic_fit, ridge_fit])
def test_a_head_names_classes(fit: Any, tmp_path: Path) -> None:
    targets = torch.arange(40) % 3
    probe = fit(features(), targets)
    export(tmp_path / "folder", head=probe, labels=CLASSES)
    encoder = InvariantEncoder.from_pretrained(tmp_path / "folder")
    said = encoder.classify(images(40))
    assert said.labels == [CLASSES[i] for i in probe.predict(features()).tolist()]
    assert len(set(said.labels)) > 1
    torch.testing.assert_close(said.scores.detach(), probe.scores(features()))
    assert json.loads((tmp_path / "folder" / CONFIG).read_text())["head"]["labels"] == CLASSES
    assert "`encoder.classify(x)` gives `cat`, `dog`, `emu`" in (tmp_path / "folder" / CARD).read_text()
    assert encoder.half().classify(images(2).half()).scores.dtype == torch.float16


def test_a_head_predicts_values(tmp_path: Path) -> None:
    encoder = export(tmp_path / "folder", head=ridge_fit(features(), torch.randn(40, 2)), labels=["mass", "charge"])
    assert encoder.predict(images(3)).shape == (3, 2)
    with pytest.raises(ArtifactError, match="predicts mass, charge; use predict"):
        encoder.classify(images(3))


def test_heads_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="exported with a head but it has none"):
        export(tmp_path / "folder").classify(images(2))
    probe = ridge_fit(features(), torch.arange(40) % 3)
    for labels in (["a"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match="Expected 3 different labels"):
            export(tmp_path / "other", head=probe, labels=labels)
    assert export(tmp_path / "other", head=probe).head.labels == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(head=None), "Expected no head but got"),
        (lambda c: c["head"].update(labels=CLASSES[:2]), "Expected a head of shapes"),
        (lambda c: c["head"].update(labels=[*CLASSES[:2], "dog"]), "kind and different labels"),
        (lambda c: c["head"].update(labels=["a", "b", "\x1b[2J"]), "kind and different labels"),
        (lambda c: c["head"].update(kind="code"), "kind and different labels"),
        (lambda c: c.update(preprocessing={"size": [10**9, 1], "scale": 1, "mean": [0], "std": [1]}), "size, scale"),
        (lambda c: c.update(preprocessing={"size": None, "scale": 1, "mean": [0], "std": [0]}), "size, scale"),
        (lambda c: c.update(preprocessing={"size": None, "scale": 1, "mean": [], "std": []}), "size, scale"),
        (lambda c: c.update(network={"kind": "graph", "trust_remote_code": True}), "a network as a graph"),
        (lambda c: c.update(network={"kind": "class", "class": "os.system; x", "arguments": {}}), "a network as"),
        (lambda c: c.update(representation="C4: " + "+".join(["1 trivial"] * 2000)), "less than 1000 terms"),
        (lambda c: c.update(certified="no hash"), "hash of the weights"),
    ],
)
def test_crafted_parts(change: Any, message: str, tmp_path: Path) -> None:
    export(tmp_path / "folder", head=ridge_fit(features(), torch.arange(40) % 3), labels=CLASSES)
    config = json.loads((tmp_path / "folder" / CONFIG).read_text())
    change(config)
    (tmp_path / "folder" / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=message):
        InvariantEncoder.from_pretrained(tmp_path / "folder")


def test_weights_in_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = export(tmp_path / "whole")
    folder = tmp_path / "folder"
    monkeypatch.setattr(tensors, "SHARD_BYTES", 1000)
    export(folder)
    names = sorted(path.name for path in folder.glob("model*"))
    assert len(names) > 3
    assert INDEX in names
    assert WEIGHTS not in names
    assert torch.equal(InvariantEncoder.from_pretrained(folder)(images(3)), whole(images(3)))
    monkeypatch.undo()
    export(folder)
    assert [path.name for path in folder.glob("model*")] == [WEIGHTS]
    monkeypatch.setattr(tensors, "SHARD_BYTES", 1000)
    export(folder)
    shard = folder / names[0]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + b"x")
    with pytest.raises(ArtifactError, match="hash differs"):
        InvariantEncoder.from_pretrained(folder)
    shard.unlink()
    with pytest.raises(ArtifactError, match="missing"):
        InvariantEncoder.from_pretrained(folder)


@pytest.mark.parametrize("kind", ["other shard", "two shards", "index without shards", "both kinds", "gap"])
def test_crafted_shards(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    monkeypatch.setattr(tensors, "SHARD_BYTES", 1000)
    export(folder)
    config, index = (json.loads((folder / name).read_text()) for name in (CONFIG, INDEX))
    shards = sorted(set(index["weight_map"].values()))
    if kind == "other shard":
        index["weight_map"][next(iter(index["weight_map"]))] = "../../other.safetensors"
        (folder / INDEX).write_text(json.dumps(index))
    elif kind == "two shards":
        (folder / shards[1]).write_bytes((folder / shards[0]).read_bytes())
    elif kind == "index without shards":
        config["files"] = {name: h for name, h in config["files"].items() if name not in shards}
    elif kind == "both kinds":
        config["files"][WEIGHTS] = "0" * 64
    else:
        del config["files"][shards[1]]
    config["files"] |= {name: file_hash(folder / name) for name in config["files"] if (folder / name).exists()}
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(ArtifactError, match=r"index.json to say|each tensor once|among the files|is missing"):
        InvariantEncoder.from_pretrained(folder)


class Pooled(nn.Module):
    """Sets of any number of points with a mask."""

    def __init__(self) -> None:
        super().__init__()
        self.point = nn.Linear(3, 16)
        self.set = nn.Linear(16, 8)

    def forward(self, points: Tensor, mask: Tensor) -> Tensor:
        z = torch.relu(self.point(points)).masked_fill(~mask[..., None], 0.0)
        return self.set(z.sum(1) / mask.sum(1, keepdim=True).clamp(min=1))


def test_padded_sets_with_a_mask(tmp_path: Path) -> None:
    torch.manual_seed(0)
    live, axes = Pooled().eval(), [{0: "batch", 1: "points"}] * 2
    example = (torch.randn(2, 5, 3), torch.rand(2, 5) > 0.3)
    encoder = export_encoder(tmp_path / "folder", live, projection(), example, options=ExportOptions(dynamic=axes))
    x, mask = torch.randn(4, 9, 3), torch.rand(4, 9) > 0.5
    with torch.no_grad():
        expected = projection()(live(x, mask))
        assert torch.equal(encoder(x, mask), expected)
    torch.testing.assert_close(encoder.encode((x, mask), output="torch", batch_size=3), expected)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, mask, torch.arange(4)), batch_size=2)
    torch.testing.assert_close(encoder.encode(loader, output="torch"), expected)
    with pytest.raises(GraphError, match=r"input 1 of shape \['batch', 'points'\] but got \[4, 8\]"):
        encoder(x, mask[:, :8])
    assert "features = encoder(x0, x1)" in (tmp_path / "folder" / CARD).read_text()


def test_saving_what_was_loaded_gives_the_same_files(tmp_path: Path) -> None:
    head = ridge_fit(features(), torch.arange(40) % 3)
    encoder = export(tmp_path / "a", head=head, labels=CLASSES, preprocessing=Preprocessing((0.5,), (0.5,)))
    encoder.save_pretrained(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        if path.name != CARD:
            assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name
    assert "| kNN accuracy |" in (tmp_path / "b" / CARD).read_text()


@pytest.mark.parametrize("change", ["tuned", "half", "bfloat16"])
def test_saving_changed_weights_shows_no_numbers_of_the_old_ones(change: str, tmp_path: Path) -> None:
    encoder = export(tmp_path / "a")
    if change == "tuned":
        with torch.no_grad():
            next(encoder.parameters()).add_(0.1)
    else:
        encoder.to(torch.float16 if change == "half" else torch.bfloat16)
    encoder.save_pretrained(tmp_path / "b")
    loaded = InvariantEncoder.from_pretrained(tmp_path / "b")
    x = images(3).to(loaded.dtype)
    assert torch.equal(loaded(x), encoder(x))
    assert loaded.config["certified"] == encoder.config["certified"] != loaded.config["files"][WEIGHTS]
    assert "kNN accuracy" not in (tmp_path / "b" / CARD).read_text()
    loaded.save_pretrained(tmp_path / "c")
    assert (tmp_path / "c" / WEIGHTS).read_bytes() == (tmp_path / "b" / WEIGHTS).read_bytes()


PUSH = """
import sys, torch
from lightning_invariant import InvariantEncoder
from safetensors.torch import load_file, save_file
encoder = InvariantEncoder.from_pretrained(sys.argv[1])
with torch.no_grad():
    next(encoder.parameters()).mul_(1.5)
print(encoder.push_to_hub("tester/tuned", message="Tuned"))
pulled = InvariantEncoder.from_pretrained("tester/tuned")
x = load_file(sys.argv[2])["x"]
print(torch.equal(pulled(x), encoder(x)))
try:
    encoder.push_to_hub("no name")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_tuned_encoder_is_pushed_and_pulled(tmp_path: Path) -> None:
    export(tmp_path / "a")
    save_file({"x": images(3)}, tmp_path / "x.safetensors")
    with Hub() as hub:
        done = hub.python(PUSH, tmp_path / "home", tmp_path / "a", tmp_path / "x.safetensors")
        commits = hub.repositories["tester/tuned"].commits
    address, same, refused = done.stdout.splitlines()
    assert "tester/tuned" in address
    assert same == "True"
    assert refused.startswith("HubError Expected a repository 'user/name'")
    assert any({CONFIG, WEIGHTS, CARD} <= set(files) for files in commits.values())


@pytest.mark.parametrize("row", FIRST, ids=str)
def test_every_projection_comes_back_bit_for_bit(row: Any, tmp_path: Path) -> None:
    made = row.build()
    size = made.representation.size
    torch.manual_seed(0)
    live, x = nn.Linear(size, size).eval(), torch.randn(5, size)
    encoder = export_encoder(tmp_path / "folder", live, made, x[:2])
    with torch.no_grad():
        assert torch.equal(encoder(x), made(live(x)))


def test_the_picture_stays_with_the_weights_that_it_shows(tmp_path: Path) -> None:
    drawn = b"\x89PNG\r\n\x1a\n" + bytes(100)
    export(tmp_path / "a", figure=drawn).save_pretrained(tmp_path / "b")
    encoder = InvariantEncoder.from_pretrained(tmp_path / "b")
    assert (tmp_path / "b" / "embeddings.png").read_bytes() == drawn
    assert "](embeddings.png)" in (tmp_path / "b" / "README.md").read_text()
    encoder.save_pretrained(tmp_path / "a")
    assert (tmp_path / "a" / "embeddings.png").read_bytes() == drawn
    with torch.no_grad():
        next(encoder.network.parameters()).mul_(1.1)
    encoder.save_pretrained(tmp_path / "b")
    assert not (tmp_path / "b" / "embeddings.png").exists()
    assert "embeddings.png" not in (tmp_path / "b" / "README.md").read_text()


def test_a_picture_that_is_none_is_left_behind(tmp_path: Path) -> None:
    export(tmp_path / "a", figure=b"no picture")
    InvariantEncoder.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "b")
    assert not (tmp_path / "b" / "embeddings.png").exists()
    (tmp_path / "secret").write_bytes(b"\x89PNG\r\n\x1a\n" + b"secret")
    (tmp_path / "a" / "embeddings.png").unlink()
    (tmp_path / "a" / "embeddings.png").symlink_to(tmp_path / "secret")
    InvariantEncoder.from_pretrained(tmp_path / "a").save_pretrained(tmp_path / "c")
    assert not (tmp_path / "c" / "embeddings.png").exists()


@pytest.mark.parametrize("representation", ["O3: 16x0e + 8x1o + 8x2e", "SO3: 2x0 + 6x1 + 6x2"])
def test_a_guarantee_that_is_measured_is_measured_alike_when_loaded(representation: str, tmp_path: Path) -> None:
    live = choose(representation)
    export_projection(tmp_path / "projection", live)
    loaded = InvariantEncoder.from_pretrained(tmp_path / "projection").projection
    z = live.representation.random(3)
    assert loaded.guarantee == live.guarantee
    assert torch.equal(loaded(z), live(z))
