"""What an artefact is written to, and that it is written as a whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lightning_invariant.artifact.config import CARD, CERTIFICATE, CONFIG, FIGURE, GRAPH, WEIGHTS, is_own
from lightning_invariant.artifact.folder import Beside, check_target, read_artifact
from lightning_invariant.artifact.folder import write_artifact as write
from lightning_invariant.errors import ArtifactError
from tests.hub.small_encoder import export

KILLED = """
import itertools, os, pathlib, random, shutil, signal, sys, time
import torch
from lightning_invariant.artifact.folder import Beside, read_artifact, write_artifact
from lightning_invariant.artifact.directory import STALE
torch.set_num_threads(1)
folder, turns, moments = pathlib.Path(sys.argv[1]), int(sys.argv[2]), random.Random(0)
known = [read_artifact(path) for path in sys.argv[3:]]
hashes = [artifact.config["files"] for artifact in known]
write_artifact(folder, known[0], Beside("0"))
seen, before = set(), None
for turn in range(turns):
    done, told = os.pipe()
    child = os.fork()
    if child == 0:
        for i in itertools.count(turn):
            write_artifact(folder, known[i % 2], Beside(str(i % 2)))
            os.write(told, b"1")
    os.close(told)
    for _ in range(moments.randrange(3)):
        os.read(done, 1)
    time.sleep(moments.random() * 0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(done)
    found = read_artifact(folder)
    which = hashes.index(found.config["files"])
    assert found.graph == known[which].graph and found.certificate == known[which].certificate
    assert found.tensors.keys() == known[which].tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in known[which].tensors.items())
    assert (folder / "README.md").read_text() == str(which)
    seen.add(which)
    for path in folder.parent.iterdir():
        if path.name.startswith(STALE):
            shutil.rmtree(path)
print(sorted(seen))
"""


def test_an_export_has_the_layout_of_a_repository(tmp_path: Path) -> None:
    export(tmp_path / "folder", figure=b"picture")
    written = {path.name for path in (tmp_path / "folder").iterdir()}
    assert written == {CONFIG, GRAPH, WEIGHTS, CERTIFICATE, CARD, FIGURE}
    assert all(is_own(name) for name in written)
    assert (tmp_path / "folder" / "embeddings.png").read_bytes() == b"picture"
    config = json.loads((tmp_path / "folder" / CONFIG).read_text())
    assert config["format"] == "lightning-invariant"
    assert config["format_version"] == 1
    assert config["inputs"] == [{"shape": ["batch", 1, 6, 6], "dtype": "float32"}]
    assert config["latent"] == {"shape": ["batch", 8], "dtype": "float32"}
    assert (config["network"], config["head"], config["preprocessing"]) == ({"kind": "graph"}, None, None)
    assert config["certified"] == config["files"][WEIGHTS]
    assert (config["latent_size"], config["features"]) == (8, 16)
    assert set(config["files"]) == {GRAPH, WEIGHTS, CERTIFICATE}
    names = load_file(tmp_path / "folder" / WEIGHTS)
    assert {name.partition(".")[0] for name in names} == {"network", "projection"}


def test_a_file_of_ours_that_is_not_written_again_goes(tmp_path: Path) -> None:
    export(tmp_path / "folder", figure=b"picture")
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    export(tmp_path / "folder", seed=1)
    names = {path.name for path in (tmp_path / "folder").iterdir()}
    assert "embeddings.png" not in names
    assert (tmp_path / "folder" / "notes.txt").read_text() == "mine"


def test_writing_what_was_read_gives_the_same_files(tmp_path: Path) -> None:
    export(tmp_path / "first")
    write(tmp_path / "second", read_artifact(tmp_path / "first"), Beside((tmp_path / "first" / CARD).read_text()))
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes(), path.name


def test_a_check_that_fails_leaves_the_old_export(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    before = {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()}
    artifact = read_artifact(tmp_path / "folder")

    def check(fresh: Path) -> None:
        assert read_artifact(fresh).config["files"] == artifact.config["files"]
        raise ArtifactError("the check failed")

    with pytest.raises(ArtifactError, match="the check failed"):
        write(tmp_path / "folder", artifact, Beside("other"), check=check)
    assert {path.name: path.read_bytes() for path in (tmp_path / "folder").iterdir()} == before
    with pytest.raises(ValueError, match="JSON"):
        write(tmp_path / "new", type(artifact)(artifact.config, {}, artifact.tensors, {"x": float("nan")}), Beside(""))
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
@pytest.mark.parametrize("turns", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments_of_an_export(tmp_path: Path, turns: int) -> None:
    export(tmp_path / "a")
    export(tmp_path / "b", seed=1)
    command = [sys.executable, "-c", KILLED, tmp_path / "folder", str(turns), tmp_path / "a", tmp_path / "b"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout == "[0, 1]\n", done.stderr


def test_targets_that_are_taken(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    check_target(foreign)
    (foreign / "thesis.tex").write_text("ten years of work")
    with pytest.raises(ArtifactError, match=r"holds thesis.tex; choose another folder"):
        check_target(foreign)
    (foreign / CONFIG).write_text('{"model_type": "bert"}')
    with pytest.raises(ArtifactError, match="Expected an empty folder or an earlier export"):
        check_target(foreign)
    with pytest.raises(ArtifactError, match="Expected an empty folder or an earlier export"):
        write(foreign, None, Beside(""))  # pyright: ignore[reportArgumentType]
    (foreign / CONFIG).write_bytes(b"\x80\x04 no JSON")
    with pytest.raises(ArtifactError, match="Expected an empty folder or an earlier export"):
        check_target(foreign)
    assert (foreign / "thesis.tex").read_text() == "ten years of work"


def test_targets_that_are_free(tmp_path: Path) -> None:
    check_target(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    export(tmp_path / "folder")
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    check_target(tmp_path / "folder")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="something else"):
        check_target(tmp_path / "file")
