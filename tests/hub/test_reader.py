"""What is not an intact artefact is refused, in words, and nothing of it runs."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_invariant.artifact import Artifact, files, tensors
from lightning_invariant.artifact.config import CARD, CERTIFICATE, CONFIG, GRAPH, INDEX, WEIGHTS
from lightning_invariant.artifact.files import file_hash, read_bytes
from lightning_invariant.artifact.folder import read_artifact, read_config
from lightning_invariant.artifact.readme import read_card
from lightning_invariant.encoder import InvariantEncoder
from lightning_invariant.encoder.description import require_whole
from lightning_invariant.errors import ArtifactError, InvariantError
from tests.hub.small_encoder import export, images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    export(tmp_path / "folder")
    return tmp_path / "folder"


def edit(folder: Path, change: Callable[[dict[str, Any]], object], name: str = CONFIG) -> None:
    """Change a JSON file, and the hashes with it as a crafted artefact would."""
    data = json.loads((folder / name).read_text())
    change(data)
    (folder / name).write_text(json.dumps(data))
    if name != CONFIG:
        rehash(folder)


def rehash(folder: Path) -> None:
    edit(
        folder, lambda config: config["files"].update({n: file_hash(folder / n) for n in (GRAPH, WEIGHTS, CERTIFICATE)})
    )


@pytest.mark.parametrize("name", [CONFIG, GRAPH, WEIGHTS, CERTIFICATE])
def test_missing_truncated_or_flipped(folder: Path, name: str) -> None:
    path, content = folder / name, (folder / name).read_bytes()
    for damaged in (b"", content[: len(content) // 2], content.rstrip()[:-1], b"\xff" + content[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"Expected .*; (export or )?pull again"):
            read_artifact(folder)
    path.unlink()
    with pytest.raises(ArtifactError, match=f"{name} but it is missing; export or pull again"):
        read_artifact(folder)
    path.mkdir()
    with pytest.raises(ArtifactError, match="is missing"):
        read_artifact(folder)
    path.rmdir()
    path.write_bytes(content)
    read_artifact(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(folder: Path) -> None:
    (folder / GRAPH).unlink()
    os.mkfifo(folder / GRAPH)
    with pytest.raises(ArtifactError, match="missing"):
        read_artifact(folder)


def test_every_flipped_byte_of_the_weights_is_seen(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    for position in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[position] ^= 1
        (folder / WEIGHTS).write_bytes(flipped)
        with pytest.raises(ArtifactError, match="its hash differs"):
            read_artifact(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "Expected a JSON object"),
        (b"{", "JSONDecodeError"),
        (b"\xff\xfe", "UnicodeDecodeError"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"format": "x", "format": "lightning-invariant"}', "a key stands twice"),
        (b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}", "Expected JSON"),
        (b'{"a": ' + b"1" * 5000 + b"}", "Expected"),
        (b" " * (4 * 2**20 + 1), "larger"),
        (b'{"model_type": "bert"}', "only encoders that lightning-invariant exported"),
        (b'{"format": "lightning-invariant", "format_version": 2}', "format version 1 .* got 2; install"),
        (b'{"format": "lightning-invariant", "format_version": true}', "format version 1 .* got True"),
        (b'{"format": "lightning-invariant", "format_version": 1}', "Expected a version as 'library'"),
    ],
)
def test_configurations_that_are_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / CONFIG).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        read_config(folder)


def test_a_newer_version_is_recognised_before_its_fields(folder: Path) -> None:
    edit(folder, lambda config: (config.clear(), config.update(format="lightning-invariant", format_version=7)))
    with pytest.raises(ArtifactError, match="got 7; install the version"):
        InvariantEncoder.from_pretrained(folder)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {GRAPH: 1, WEIGHTS: None, CERTIFICATE: []},
        {"../../etc/passwd": "0" * 64},
        {WEIGHTS: "0" * 64},
        {GRAPH: "0" * 64, CERTIFICATE: "0" * 64},
    ],
)
def test_hashes_that_are_not_there(folder: Path, files: dict[str, Any]) -> None:
    edit(folder, lambda config: config.update(files=files))
    with pytest.raises(ArtifactError, match=r"hash differs|a SHA-256 for each|among the files"):
        read_artifact(folder)


def test_weights_that_are_no_safetensors(folder: Path) -> None:
    torch.save({"x": torch.zeros(2)}, folder / WEIGHTS)
    rehash(folder)
    with pytest.raises(ArtifactError, match="Expected weights in safetensors"):
        read_artifact(folder)


def test_tensors_of_neither_part_are_refused(folder: Path) -> None:
    save_file(load_file(folder / WEIGHTS) | {"extra": torch.zeros(1)}, folder / WEIGHTS)
    rehash(folder)
    with pytest.raises(ArtifactError, match="got 'extra'"):
        read_artifact(folder)


CRAFTED: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("unknown projection", lambda c: c["projection"].update(name="Evil")),
    ("imported name", lambda c: c["projection"].update(name="os.system")),
    ("unknown setting", lambda c: c["projection"].update(trust_remote_code=True)),
    ("setting of another kind", lambda c: c["projection"].update(seed="x")),
    ("other representation", lambda c: c.update(representation="C2: 4 regular")),
    (
        "both representations",
        lambda c: (c.update(representation="C2: 3 regular"), c["projection"].update(representation="C2: 3 regular")),
    ),
    ("no representation", lambda c: c.update(representation="what")),
    ("latent size", lambda c: c.update(latent_size=9)),
    ("features", lambda c: c.update(features=17)),
    ("fewer features", lambda c: c["projection"].update(out_features=15)),
    ("input", lambda c: c["inputs"][0].update(dtype="float16")),
    ("claims more", lambda c: c["guarantee"].update(separation="isometric")),
    ("other group", lambda c: c["guarantee"].update(group="SO3")),
    ("unknown guarantee", lambda c: c["guarantee"].update(separation="perfect")),
    ("foreign guarantee", lambda c: c["guarantee"].update(warranty=True)),
]


@pytest.mark.parametrize("change", [change for _, change in CRAFTED], ids=[name for name, _ in CRAFTED])
def test_crafted_configurations(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    edit(folder, change)
    with pytest.raises(ArtifactError, match="Expected"):
        InvariantEncoder.from_pretrained(folder)


def test_what_does_not_change_a_number_is_free(folder: Path) -> None:
    """A later version may word its guarantee differently, or add what this one does not read."""
    before = InvariantEncoder.from_pretrained(folder)(images(2))
    edit(folder, lambda c: (c["guarantee"].update(source="other words", separation="generic"), c.update(later=1)))
    (folder / CARD).write_bytes(b"\xff no text")
    edit(folder, lambda certificate: certificate.update(more={"nested": [1]}), CERTIFICATE)
    encoder = InvariantEncoder.from_pretrained(folder)
    assert torch.equal(encoder(images(2)), before)
    assert encoder.certificate["more"] == {"nested": [1]}
    assert encoder.guarantee.separation.name == "BILIPSCHITZ"


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "integer"])
def test_tensors_that_do_not_fit_the_projection(folder: Path, change: str) -> None:
    tensors = load_file(folder / WEIGHTS)
    name = "projection.products.templates"
    templates = tensors.pop(name)
    if change == "extra":
        tensors |= {name: templates, "projection.more": templates.clone()}
    elif change == "shape":
        tensors[name] = templates[:1].clone()
    elif change == "integer":
        tensors[name] = templates.long()
    save_file(tensors, folder / WEIGHTS)
    rehash(folder)
    with pytest.raises(ArtifactError, match="Expected"):
        InvariantEncoder.from_pretrained(folder)


def test_a_graph_of_another_network_is_refused(folder: Path) -> None:
    edit(folder, lambda graph: graph["output"].update(shape=["batch", 9]), GRAPH)
    with pytest.raises(InvariantError, match="Expected"):
        InvariantEncoder.from_pretrained(folder)


def test_nothing_is_unpickled_and_no_import_is_asked_for(folder: Path, tmp_path: Path) -> None:
    code = """
import pickle, sys, torch

package = "lightning_invariant"
for name in ("pytorch_lightning", "lightning", "matplotlib", "scipy", "huggingface_hub", f"{package}.zoo"):
    sys.modules[name] = None  # whoever imports it gets an ImportError

def poison(*arguments, **settings):
    raise SystemExit("something was unpickled")
from lightning_invariant import InvariantEncoder
from safetensors.torch import load_file, save_file
pickle.Unpickler = pickle._Unpickler = type("Poison", (), {"__init__": poison})
pickle.load = pickle.loads = torch.load = torch.export.load = poison
torch.jit.load = poison
try:
    torch.load("x")
except SystemExit:
    pass
else:
    raise AssertionError("the poison does not work")
torch.set_num_threads(int(sys.argv[3]))
encoder = InvariantEncoder.from_pretrained(sys.argv[1])
with torch.no_grad():
    save_file({"f": encoder(load_file(sys.argv[2])["x"])}, sys.argv[2] + ".out")
"""
    save_file({"x": images(4)}, tmp_path / "x")
    command = [sys.executable, "-c", code, str(folder), str(tmp_path / "x"), str(torch.get_num_threads())]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        assert torch.equal(load_file(tmp_path / "x.out")["f"], InvariantEncoder.from_pretrained(folder)(images(4)))


def test_a_pickle_in_place_of_any_file_never_runs(folder: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for name in (CONFIG, GRAPH, WEIGHTS, CERTIFICATE, CARD):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(pickle.dumps(Evil()))
        if name == CARD:
            InvariantEncoder.from_pretrained(folder)
        else:
            if name != CONFIG:
                rehash(folder)
            with pytest.raises(InvariantError):
                InvariantEncoder.from_pretrained(folder)
        (folder / name).write_bytes(content)
        rehash(folder)
    assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(Evil()))
    assert (tmp_path / "ran").exists(), "the pickle was harmless"


WRITER = """
import itertools, sys, torch
from lightning_invariant.artifact.folder import Beside, read_artifact, write_artifact
torch.set_num_threads(1)
known = [read_artifact(source) for source in sys.argv[2:]]
print("reading", flush=True)
for i in itertools.count():
    write_artifact(sys.argv[1], known[i % 2], Beside(""))
"""


def test_a_reader_beside_a_writer_gets_one_version(tmp_path: Path) -> None:
    sources = [tmp_path / "a", tmp_path / "b"]
    for seed, source in enumerate(sources):
        export(source, seed=seed)
    export(tmp_path / "folder")
    known = [read_artifact(source) for source in sources]
    hashes = [artifact.config["files"] for artifact in known]
    command = [sys.executable, "-c", WRITER, *map(str, [tmp_path / "folder", *sources])]
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    seen, read, end = set(), 0, time.monotonic() + 120
    try:
        assert writer.stdout.readline() == "reading\n"
        while (read < 100 or seen != {0, 1}) and time.monotonic() < end:
            try:
                found = read_artifact(tmp_path / "folder")
            except ArtifactError as error:
                assert "was replaced 5 times" in str(error)  # noqa: PT017  (a writer without a pause may win)
                continue
            which = hashes.index(found.config["files"])
            assert all(torch.equal(found.tensors[name], known[which].tensors[name]) for name in found.tensors)
            seen.add(which)
            read += 1
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert seen == {0, 1}
    assert read >= 100


def test_numbers_that_no_float_holds_are_refused(folder: Path) -> None:
    for change in (
        lambda c: c.update(preprocessing={"size": None, "scale": 10**400, "mean": [0.0], "std": [1.0]}),
        lambda c: c.update(preprocessing={"size": None, "scale": 1.0, "mean": [0.0], "std": [10**400]}),
        lambda c: c["guarantee"].update(distortion=10**400),
    ):
        kept = (folder / CONFIG).read_bytes()
        edit(folder, change)
        with pytest.raises(ArtifactError, match="Expected"):
            InvariantEncoder.from_pretrained(folder)
        (folder / CONFIG).write_bytes(kept)


@pytest.mark.parametrize("size", [[16383, 16383], [6, 7], [5, 6]])
def test_preprocessing_to_another_size_than_the_networks_is_refused(folder: Path, size: list[int]) -> None:
    edit(folder, lambda c: c.update(preprocessing={"size": size, "scale": 1.0, "mean": [0.0], "std": [1.0]}))
    with pytest.raises(ArtifactError, match=r"Expected preprocessing to images of \[6, 6\]"):
        InvariantEncoder.from_pretrained(folder)
    edit(folder, lambda c: c["preprocessing"].update(size=[6, 6]))
    InvariantEncoder.from_pretrained(folder)


def test_preprocessing_is_bounded_where_the_network_takes_any_size() -> None:
    inputs = [{"shape": ["batch", 1, "height", "width"], "dtype": "float32"}]

    def require(size: list[int] | None) -> None:
        config = {"inputs": inputs, "preprocessing": {"size": size}, "network": {"kind": "class"}}
        require_whole(Artifact(config, None, {}, {}))

    require([4096, 30])
    require(None)
    with pytest.raises(ArtifactError, match="at most 4096"):
        require([30, 4097])


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="needs files without an end")
def test_a_file_without_an_end_does_not_hang() -> None:
    endless = Path("/proc/self/pagemap")
    with pytest.raises(ArtifactError, match="Expected"):
        read_bytes(endless)
    assert file_hash(endless) == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("name", [CONFIG, GRAPH, WEIGHTS, CERTIFICATE, CARD])
def test_a_link_out_of_the_folder_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    """Also where it leads to the very same bytes; a link within the folder, and one to the folder, are taken."""
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    with pytest.raises(ArtifactError, match="is a link out of it; replace it by a copy"):
        read_card(folder) if name == CARD else InvariantEncoder.from_pretrained(folder)
    (folder / name).unlink()
    (tmp_path / name).rename(folder / f"{name}.kept")
    (folder / name).symlink_to(f"{name}.kept")
    (tmp_path / "latest").symlink_to(folder)
    InvariantEncoder.from_pretrained(tmp_path / "latest")
    assert read_card(tmp_path / "latest")


def test_a_snapshot_may_link_to_its_own_blobs_only(folder: Path, tmp_path: Path) -> None:
    snapshot, blobs = tmp_path / "models--u--n" / "snapshots" / ("c" * 40), tmp_path / "models--u--n" / "blobs"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    blobs.mkdir()
    (snapshot / WEIGHTS).rename(blobs / "a")
    (snapshot / WEIGHTS).symlink_to("../../blobs/a")
    InvariantEncoder.from_pretrained(snapshot)
    (blobs / "deeper").mkdir()
    (blobs / "a").rename(blobs / "deeper" / "a")
    (blobs / "a").symlink_to("deeper/a")
    with pytest.raises(ArtifactError, match="is a link out of it"):
        InvariantEncoder.from_pretrained(snapshot)
    (blobs / "a").unlink()
    (blobs / "deeper" / "a").rename(blobs / "a")
    InvariantEncoder.from_pretrained(snapshot)
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match="is a link out of it"):
        InvariantEncoder.from_pretrained(snapshot)


def test_weights_that_change_after_their_check_are_not_used(folder: Path) -> None:
    with torch.no_grad():
        wanted = InvariantEncoder.from_pretrained(folder)(images(4))
    artifact, content = read_artifact(folder), (folder / WEIGHTS).read_bytes()
    for later in (bytes(len(content)), b""):
        with (folder / WEIGHTS).open("r+b") as file:
            file.write(later)
            file.truncate(len(later))
        with torch.no_grad():
            assert torch.equal(InvariantEncoder.from_artifact(artifact)(images(4)), wanted)


@pytest.mark.parametrize("left", [0, 9, -5])
def test_weights_that_shrink_while_they_are_read_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    read = files.read_bytes

    def shrinking(path: Path, limit: int | None = None) -> bytes:
        if path.name == WEIGHTS:
            os.truncate(path, left % path.stat().st_size)
        return read(path, limit)

    monkeypatch.setattr(files, "read_bytes", shrinking)
    with pytest.raises(ArtifactError, match="damaged"):
        read_artifact(folder)


def test_tensors_are_those_that_safetensors_reads(tmp_path: Path) -> None:
    kinds = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16]
    kinds += [torch.int8, torch.uint8, torch.bool, torch.complex64]
    known = {f"head.{i}": (100 * torch.randn(i % 3 + 1, 5)).to(kind) for i, kind in enumerate(kinds)}
    known |= {"head.none": torch.zeros(0, 3), "head.one": torch.tensor(2.5)}
    save_file(known, tmp_path / WEIGHTS, {"format": "pt"})
    found = tensors.read_weights(tmp_path, {WEIGHTS: file_hash(tmp_path / WEIGHTS)})
    other = load_file(tmp_path / WEIGHTS)
    assert found.keys() == other.keys()
    assert all(found[n].dtype == other[n].dtype and torch.equal(found[n], other[n]) for n in other)


LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "gap": lambda h: h["head.b"].update(data_offsets=[9, 17]),
    "overlap": lambda h: h["head.b"].update(data_offsets=[4, 12]),
    "beyond": lambda h: h["head.b"].update(data_offsets=[8, 20], shape=[3]),
    "huge": lambda h: h["head.b"].update(shape=[2**40, 2**40]),
    "negative": lambda h: h["head.b"].update(shape=[-1, -2]),
    "boolean size": lambda h: h["head.b"].update(shape=[True, 2]),
    "unused bytes": lambda h: h.pop("head.b"),
    "type": lambda h: h["head.b"].update(dtype="F8_E4M3"),
    "type of a list": lambda h: h["head.b"].update(dtype=[]),
    "no booleans": lambda h: h["head.b"].update(dtype="BOOL", shape=[8]),
    "rank": lambda h: h["head.b"].update(shape=[1] * 17 + [2]),
}


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie_are_refused(tmp_path: Path, lie: str) -> None:
    header = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]}
        for i, name in enumerate(("head.a", "head.b"))
    }
    for change in (lambda h: None, LIES[lie]):
        change(header)
        text = json.dumps(header).encode()
        (tmp_path / WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + bytes(range(16)))
        hashes = {WEIGHTS: file_hash(tmp_path / WEIGHTS)}
        if change is not LIES[lie]:
            tensors.read_weights(tmp_path, hashes)
            continue
        with pytest.raises(ArtifactError, match="damaged"):
            tensors.read_weights(tmp_path, hashes)


def test_what_steers_a_terminal_never_reaches_a_message(folder: Path) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u202e\ud800"
    for change in (
        lambda c: c.update(library=evil),
        lambda c: c["guarantee"].update(group=evil),
        lambda c: c["projection"].update(representation=evil),
        lambda c: c.update(representation=evil),
    ):
        kept = (folder / CONFIG).read_bytes()
        edit(folder, change)
        with pytest.raises(ArtifactError) as caught:
            InvariantEncoder.from_pretrained(folder)
        assert "x1b" in str(caught.value)
        assert str(caught.value).replace("\n", "").isprintable()
        str(caught.value).encode()
        (folder / CONFIG).write_bytes(kept)


SHRINKS = """
import os, sys, torch
from lightning_invariant.artifact.folder import read_artifact
folder, (one, other) = sys.argv[1], sys.argv[2:]
artifact = read_artifact(folder)
before = {name: tensor.clone() for name, tensor in artifact.tensors.items()}
os.truncate(f"{folder}/model.safetensors", 10)
assert all(torch.equal(tensor, before[name]) for name, tensor in artifact.tensors.items())
from safetensors.torch import load_file
if one == "mapped":  # the control: the reader of safetensors dies of the same
    weights = load_file(other)
    os.truncate(other, 10)
    print("touching", flush=True)
    print(float(sum(tensor.double().sum() for tensor in weights.values())))
print("whole")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
@pytest.mark.parametrize("how", ["copied", "mapped"])
def test_a_file_that_shrinks_after_it_was_read_changes_nothing(folder: Path, tmp_path: Path, how: str) -> None:
    large = tmp_path / "large.safetensors"
    save_file({"x": torch.ones(2**20)}, large)
    done = subprocess.run(
        [sys.executable, "-c", SHRINKS, str(folder), how, str(large)], capture_output=True, text=True, check=False
    )
    if how == "copied":
        assert done.stdout == "whole\n", done.stderr
    else:
        assert (done.returncode, done.stdout) == (-signal.SIGBUS, "touching\n"), done.stderr


def test_booleans_that_are_neither_are_refused(tmp_path: Path) -> None:
    save_file({"network.x": torch.ones(4, dtype=torch.bool)}, tmp_path / WEIGHTS)
    content = (tmp_path / WEIGHTS).read_bytes()
    (tmp_path / WEIGHTS).write_bytes(content[:-1] + b"\x02")
    with pytest.raises(ArtifactError, match="booleans that are 0 or 1"):
        tensors.read_weights(tmp_path, {WEIGHTS: file_hash(tmp_path / WEIGHTS)})


def test_tensors_of_all_shards_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    for i, name in enumerate(names):
        save_file({f"head.{i}{j}": torch.zeros(0) for j in range(3)}, tmp_path / name)
    places = {f"head.{i}{j}": name for i, name in enumerate(names) for j in range(3)}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": places}))
    hashes = {name: file_hash(tmp_path / name) for name in (INDEX, *names)}
    assert len(tensors.read_weights(tmp_path, hashes)) == 6
    monkeypatch.setattr(tensors, "MAX_TENSORS", 5)
    with pytest.raises(ArtifactError, match="at most 5 tensors"):
        tensors.read_weights(tmp_path, hashes)


def test_a_class_that_does_not_take_the_arguments_is_an_error_of_the_artefact(folder: Path) -> None:
    network = {"kind": "class", "class": "torch.nn.Linear", "arguments": {"evil": 1}}
    edit(folder, lambda c: c.update(network=network))
    with pytest.raises(ArtifactError, match="to take the artefact's arguments"):
        InvariantEncoder.from_pretrained(folder, network=torch.nn.Linear)
