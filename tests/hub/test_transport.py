"""The trip to a Hub and back, with the genuine client in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_invariant import InvariantEncoder
from lightning_invariant.artifact.config import CERTIFICATE, CONFIG, GRAPH, WEIGHTS
from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.download import Source, drop_damaged, local_folder
from tests.hub.loopback import Fault, Hub
from tests.hub.small_encoder import export, images, network, projection

FILES = {CONFIG, GRAPH, WEIGHTS, CERTIFICATE}
"""What an encoder is loaded from."""
PUBLISH = """
import sys
from huggingface_hub import HfApi
api = HfApi()
name = api.create_repo("tester/digits", exist_ok=True).repo_id
print(api.upload_folder(repo_id=name, folder_path=sys.argv[1]).oid)
"""
PULL = """
import json, sys, torch
from safetensors.torch import load_file, save_file
from lightning_invariant import InvariantEncoder
torch.set_num_threads(int(sys.argv[2]))
features, errors = {}, []
for i, (name, settings) in enumerate(json.loads(sys.argv[3])):
    try:
        with torch.no_grad():
            features[str(i)] = InvariantEncoder.from_pretrained(name, **settings)(load_file(sys.argv[1])["x"])
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
save_file(features, sys.argv[1] + ".out")
print(json.dumps(errors))
"""
NAME = "tester/digits"


@pytest.fixture
def batch(tmp_path: Path) -> Path:
    save_file({"x": images(5)}, tmp_path / "x")
    return tmp_path / "x"


def pull(hub: Hub, home: Path, batch: Path, *requests: dict[str, object], name: str = NAME) -> list:
    """Features or error of each request, in one process."""
    asked = json.dumps([(name, request) for request in requests or ({},)])
    done = hub.python(PULL, home, batch, torch.get_num_threads(), asked)
    features = load_file(f"{batch}.out")
    return [*features.values(), *json.loads(done.stdout.splitlines()[-1])]


def live(seed: int = 0) -> torch.Tensor:
    with torch.no_grad():
        return projection()(network(seed)(images(5)))


def publish(hub: Hub, tmp_path: Path, seed: int = 0) -> str:
    export(tmp_path / f"folder{seed}", seed)
    return hub.python(PUBLISH, tmp_path / "publisher", tmp_path / f"folder{seed}").stdout.strip()


def test_published_encoder_comes_back_bit_for_bit(tmp_path: Path, batch: Path) -> None:
    home = tmp_path / "home"
    with Hub() as hub:
        first = publish(hub, tmp_path)
        assert {*FILES, "README.md"} < set(hub.repositories[NAME].commits[first])
        (pulled,) = pull(hub, home, batch)
        assert torch.equal(pulled, live())
        second = publish(hub, tmp_path, seed=1)
        newest, pinned, named = pull(hub, home, batch, {}, {"revision": first}, {"revision": "main"})
        assert torch.equal(newest, live(1))
        assert torch.equal(pinned, live())
        assert torch.equal(named, live(1))
        assert first != second
        assert not torch.equal(newest, pinned)
        asked = len(hub.requests)
        offline = {"local_files_only": True}
        newest, pinned = pull(hub, home, batch, offline, {**offline, "revision": first})
        assert torch.equal(newest, live(1))
        assert torch.equal(pinned, live())
        (missing,) = pull(hub, tmp_path / "other", batch, offline)
        assert "LocalEntryNotFoundError" in missing
        assert len(hub.requests) == asked, "local_files_only asked the Hub"


def test_a_branch_that_moves_meanwhile_is_not_mixed_in(tmp_path: Path, batch: Path) -> None:
    moved = []

    def move(method: str, path: str) -> None:
        if armed and not moved and "/resolve/" in path:
            moved.append(path)
            hub.repositories[NAME].branches["main"] = second

    armed = False
    with Hub(before=move) as hub:
        first, second = publish(hub, tmp_path), publish(hub, tmp_path, seed=1)
        hub.repositories[NAME].branches["main"] = first
        armed = True
        before, after = pull(hub, tmp_path / "home", batch, {}, {})
        assert moved
        assert torch.equal(before, live(1))
        assert torch.equal(after, live(1))
        commits = [path.split("/resolve/")[1].split("/")[0] for _, path in hub.requests if "/resolve/" in path]
        assert set(commits) == {"main", second}


def test_only_the_files_of_an_artefact_are_downloaded(tmp_path: Path, batch: Path) -> None:
    with Hub() as hub:
        publish(hub, tmp_path)
        repository = hub.repositories[NAME]
        extra = {"run.py": b"raise SystemExit", "weights.pt": b"pickle", "more/config.json": b"{}", "x/README.md": b""}
        repository.commit({**repository.commits[repository.branches["main"]], **extra})
        hub.requests.clear()
        (pulled,) = pull(hub, tmp_path / "home", batch)
        assert torch.equal(pulled, live())
        fetched = {path.partition("/resolve/")[2].partition("/")[2] for _, path in hub.requests if "/resolve/" in path}
        assert fetched == FILES


def test_what_the_hub_does_not_know_is_the_hubs_own_error(tmp_path: Path, batch: Path) -> None:
    with Hub() as hub:
        (missing,) = pull(hub, tmp_path / "home", batch)
        (misspelt,) = pull(hub, tmp_path / "home", batch, name="tester/a b")
    assert "RepositoryNotFoundError" in missing
    assert "HFValidationError" in misspelt


def test_a_foreign_mixed_or_empty_repository_is_refused(tmp_path: Path, batch: Path) -> None:
    with Hub() as hub:
        first, second = publish(hub, tmp_path), publish(hub, tmp_path, seed=1)
        repository = hub.repositories[NAME]
        weights = {"model.safetensors": repository.commits[first]["model.safetensors"]}
        mixed = repository.commit(repository.commits[second] | weights)
        foreign = repository.commit({"config.json": b'{"model_type": "bert"}'})
        empty = repository.commit({"weights.pt": b""})
        revisions = [{"revision": revision} for revision in (mixed, foreign, empty, "v9")]
        errors = pull(hub, tmp_path / "home", batch, *revisions)
    assert "its hash differs" in errors[0]
    assert "only encoders that lightning-invariant exported" in errors[1]
    assert "it has no config.json" in errors[2]
    assert "RevisionNotFoundError" in errors[3]
    assert all(error.startswith("ArtifactError") for error in errors[:3])


@pytest.mark.parametrize("kind", ["wrong hash", "short", "cut"])
def test_what_was_damaged_on_its_way_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind) -> None:
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        cache = tmp_path / "cache"
        hub.faults.plan(*(Fault("get", kind) for _ in range(2)))
        for _ in range(3):  # the client gives up on what is too short; then the next call goes on
            try:
                encoder = InvariantEncoder.from_pretrained(NAME, cache_dir=cache)
                break
            except OSError:
                continue
        assert hub.faults.happened
        with torch.no_grad():
            assert torch.equal(encoder(images(5)), live())
        assert [path for path in cache.rglob("*.incomplete") if path.stat().st_size] == []


def test_what_stays_damaged_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Hub() as hub:
        publish(hub, tmp_path)
        hub.serve(monkeypatch, tmp_path / "home")
        hub.faults.plan(Fault("get", "wrong hash", times=100))
        with pytest.raises(ArtifactError):
            InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")
        hub.faults.clear()
        with torch.no_grad():
            assert torch.equal(InvariantEncoder.from_pretrained(NAME, cache_dir=tmp_path / "cache")(images(5)), live())


def test_stopped_server_is_gone(tmp_path: Path) -> None:
    with Hub() as hub:
        assert hub.python("from huggingface_hub import HfApi; print(HfApi().whoami()['name'])", tmp_path).stdout == (
            "tester\n"
        )
    code = "import urllib.request, os; urllib.request.urlopen(os.environ['HF_ENDPOINT'])"
    assert "refused" in hub.python(code, tmp_path, check=False).stderr.lower()


def test_a_folder_needs_no_hub(tmp_path: Path) -> None:
    export(tmp_path / "user" / "name")
    assert local_folder(Source(tmp_path / "user" / "name")) == tmp_path / "user" / "name"
    code = (
        "import sys; from lightning_invariant import InvariantEncoder; InvariantEncoder.from_pretrained('user/name');"
        "heavy = {'huggingface_hub', 'pytorch_lightning', 'lightning', 'matplotlib', 'scipy', 'sklearn', 'PIL'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "[]\n", done.stderr


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "/user/name", "./user", "~/name", "user/", Path("user/name")])
def test_what_is_neither_folder_nor_name_is_refused(name: str | Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArtifactError, match=r"Expected a folder(, a| or a) repository 'user/name'.* but got"):
        local_folder(Source(name))


def test_nothing_outside_the_clients_cache_is_thrown_away(tmp_path: Path) -> None:
    """A plain folder with links, and a snapshot with links that lead elsewhere."""
    mine = tmp_path / "elsewhere" / "blobs" / ("a" * 40)
    mine.parent.mkdir(parents=True)
    mine.write_text("the user's own file")
    snapshot = tmp_path / "cache" / "models--u--n" / "snapshots" / ("c" * 40)
    for folder in (tmp_path / "plain", snapshot):
        export(folder)
        (folder / CONFIG).write_text("{}")
        (folder / WEIGHTS).unlink()
        (folder / WEIGHTS).symlink_to(mine)
        (folder / "notes.txt").symlink_to(mine)
        with pytest.raises(ArtifactError):
            InvariantEncoder.from_pretrained(folder)
        assert drop_damaged(folder) == []
    assert mine.read_text() == "the user's own file"


def test_a_damaged_blob_of_a_snapshot_is_thrown_away_and_nothing_else(tmp_path: Path) -> None:
    repository = tmp_path / "models--u--n"
    snapshot, blobs = repository / "snapshots" / ("c" * 40), repository / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
    for name, blob, content in [
        (CONFIG, empty, b""),
        (WEIGHTS, "b" * 64, b"damaged"),
        (GRAPH, "d" * 40, b"damaged"),
        ("notes.txt", "f" * 40, b"not loaded"),
    ]:
        (blobs / blob).write_bytes(content)
        (snapshot / name).symlink_to(Path("../../blobs") / blob)
    assert drop_damaged(snapshot) == sorted([GRAPH, WEIGHTS])
    assert {path.name for path in snapshot.iterdir()} == {CONFIG, "notes.txt"}
    assert {path.name for path in blobs.iterdir()} == {empty, "f" * 40}
