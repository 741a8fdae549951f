"""What programs around an encoder expect: names, types, images, pipelines, engines, projections alone."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_invariant.artifact.config import CONFIG, GRAPH
from lightning_invariant.encoder import (
    Card,
    ExportOptions,
    Head,
    InvariantEncoder,
    Measurements,
    Preprocessing,
    export_encoder,
    export_projection,
)
from lightning_invariant.errors import ArtifactError, GraphError
from lightning_invariant.hub.download import Source
from lightning_invariant.probes import ridge_fit
from lightning_invariant.projections import MaxFilter
from tests.hub.loopback import Hub
from tests.hub.small_encoder import export, images, network, projection

Image = pytest.importorskip("PIL.Image")
IMAGES = ExportOptions(preprocessing=Preprocessing((0.0,), (1.0,)))


@pytest.fixture
def encoder(tmp_path: Path) -> InvariantEncoder:
    return export_encoder(tmp_path / "folder", network(), projection(), images(3), options=IMAGES)


def picture(mode: str = "L", seed: int = 0, size: tuple[int, int] = (6, 6)) -> Any:
    values = np.random.default_rng(seed).integers(0, 256, (*size, len(mode)), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if len(mode) == 1 else values, mode)


def test_types_by_name(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    for name, dtype in (("float16", torch.float16), ("torch.bfloat16", torch.bfloat16), ("auto", torch.float32)):
        assert InvariantEncoder.from_pretrained(tmp_path / "folder", dtype=name).dtype == dtype
    with pytest.raises(ValueError, match="Expected dtype among 'auto', 'float16'"):
        InvariantEncoder.from_pretrained(tmp_path / "folder", dtype="int8")


@pytest.mark.parametrize(
    ("name", "settings", "wanted"),
    [
        ("user/name", {}, ("user/name", None, "")),
        ("user/name@v1.0", {}, ("user/name", "v1.0", "")),
        ("user/name@refs/pr/3", {}, ("user/name", "refs/pr/3", "")),
        ("https://huggingface.co/user/name", {}, ("user/name", None, "")),
        ("https://hf.co/user/name/tree/v2/a/b", {}, ("user/name", "v2", "a/b")),
        ("hf://user/name@main", {"subfolder": "a"}, ("user/name", "main", "a")),
    ],
)
def test_names_and_addresses_of_the_hub(name: str, settings: dict[str, Any], wanted: tuple[Any, ...]) -> None:
    assert Source(name, **settings).repository() == wanted


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("user/name@a", {"revision": "b"}),
        ("user/name", {"subfolder": "../x"}),
        ("user/name", {"subfolder": "a/../../x"}),
        ("https://huggingface.co/datasets/user/name", {}),
        ("https://example.com/user/name", {}),
    ],
)
def test_other_names_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="Expected"):
        Source(name, **settings).repository()


def test_subfolder_revision_folder_and_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path / "a")
    export(tmp_path / "b", seed=1)
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        from huggingface_hub import HfApi

        api = HfApi(endpoint=hub.endpoint)
        api.create_repo("tester/two")
        api.upload_folder(repo_id="tester/two", folder_path=tmp_path / "a", path_in_repo="small")
        first = api.upload_folder(repo_id="tester/two", folder_path=tmp_path / "b", path_in_repo="sets/large").oid
        settings: dict[str, Any] = {"cache_dir": tmp_path / "cache"}
        x = images(2)
        for subfolder, seed in (("small", 0), ("sets/large", 1)):
            for name in (
                "tester/two",
                f"tester/two@{first}",
                f"https://huggingface.co/tester/two/tree/main/{subfolder}",
            ):
                found = InvariantEncoder.from_pretrained(name, subfolder=subfolder, **settings)
                assert torch.equal(found(x), projection()(network(seed)(x)))
        local = InvariantEncoder.from_pretrained(
            "tester/two", subfolder="small", local_dir=tmp_path / "mine", **settings
        )
        assert local.folder == tmp_path / "mine" / "small"
        assert (tmp_path / "mine" / "small" / GRAPH).is_file()
        assert torch.equal(InvariantEncoder.from_pretrained(tmp_path / "mine", subfolder="small")(x), local(x))
        with pytest.raises(ArtifactError, match=f"it has no {CONFIG}; give subfolder="):
            InvariantEncoder.from_pretrained("tester/two", **settings)
        asked = len([1 for method, path in hub.requests if method == "GET" and "/resolve/" in path])
        InvariantEncoder.from_pretrained("tester/two", subfolder="small", **settings)
        assert len([1 for method, path in hub.requests if method == "GET" and "/resolve/" in path]) == asked
        InvariantEncoder.from_pretrained("tester/two", subfolder="small", force_download=True, **settings)
        assert len([1 for method, path in hub.requests if method == "GET" and "/resolve/" in path]) == asked + 4


def test_files_that_config_does_not_name_are_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path / "a")
    for i in (1, 2):
        (tmp_path / "a" / f"model-0000{i}-of-00002.safetensors").write_bytes(bytes(10**6))
    (tmp_path / "a" / "README.md").write_bytes(b"x" * 10**7)
    with Hub() as hub:
        hub.serve(monkeypatch, tmp_path / "home")
        from huggingface_hub import HfApi

        api = HfApi(endpoint=hub.endpoint)
        api.create_repo("tester/a")
        api.upload_folder(repo_id="tester/a", folder_path=tmp_path / "a")
        InvariantEncoder.from_pretrained("tester/a", cache_dir=tmp_path / "cache")
        fetched = {path.rpartition("/")[2] for method, path in hub.requests if method == "GET" and "/resolve/" in path}
        assert fetched == {CONFIG, GRAPH, "certificate.json", "model.safetensors"}
        large = b"{" + b" " * (5 * 2**20) + b"}"
        api.upload_file(repo_id="tester/a", path_or_fileobj=large, path_in_repo=CONFIG)
        with pytest.raises(ArtifactError, match=f"Expected {CONFIG} of tester/a of at most"):
            InvariantEncoder.from_pretrained("tester/a", cache_dir=tmp_path / "cache")


def test_one_image_in_all_its_forms(encoder: InvariantEncoder, tmp_path: Path) -> None:
    image = picture()
    image.save(tmp_path / "x.png")
    raw = torch.from_numpy(np.asarray(image).copy())[None]
    with torch.no_grad():
        wanted = encoder(encoder.preprocess(raw[None]))[0].numpy()
    for given in (image, tmp_path / "x.png", str(tmp_path / "x.png"), raw, raw.numpy()):
        found = encoder.encode(given)
        assert found.shape == (16,)
        assert np.allclose(found, wanted, atol=1e-6)
    both = encoder.encode([image, picture(seed=1)])
    assert both.shape == (2, 16)
    assert np.allclose(both[0], wanted, atol=1e-6)
    assert np.allclose(np.linalg.norm(encoder.encode([image], normalize=True), axis=1), 1)


def test_sixteen_bits_keep_their_range(encoder: InvariantEncoder, tmp_path: Path) -> None:
    grey = np.asarray(picture())
    Image.fromarray(grey).save(tmp_path / "eight.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    assert Image.open(tmp_path / "sixteen.png").mode.startswith("I")
    one, other = (encoder.encode(tmp_path / f"{name}.png") for name in ("eight", "sixteen"))
    assert np.allclose(one, other, atol=1e-6)
    Image.fromarray(grey.astype(np.float32)).save(tmp_path / "float.tiff")
    with pytest.raises(ArtifactError, match="8 or 16 bits a channel but got Pillow's mode 'F'"):
        encoder.encode(tmp_path / "float.tiff")


def test_orientation_and_transparency_are_kept_to(encoder: InvariantEncoder, tmp_path: Path) -> None:
    image = picture()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    assert np.allclose(encoder.encode(tmp_path / "turned.png"), encoder.encode(upright), atol=1e-6)
    hidden = Image.merge("LA", [image, Image.new("L", image.size, 0)])
    assert np.allclose(encoder.encode(hidden), encoder.encode(Image.new("L", image.size, 255)), atol=1e-6)
    shown = Image.merge("LA", [image, Image.new("L", image.size, 255)])
    assert np.allclose(encoder.encode(shown), encoder.encode(image), atol=1e-6)


def test_other_formats_start_no_program(encoder: InvariantEncoder, tmp_path: Path, monkeypatch) -> None:
    import subprocess

    ran: list[Any] = []
    monkeypatch.setattr(subprocess, "check_call", lambda *given, **more: ran.append(given))
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n")
    with pytest.raises(ArtifactError, match="Expected an image"):
        encoder.encode(tmp_path / "x.png")
    assert ran == []


def test_features_that_are_no_numbers_are_said(encoder: InvariantEncoder) -> None:
    x = images(5)
    x[3] = float("nan")
    with pytest.warns(UserWarning, match="1 of 5 rows of features are NaN or infinite, row 3 first"):
        encoder.encode(x, batch_size=2)


def test_an_output_is_never_the_input(encoder: InvariantEncoder, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", images(4).numpy())
    before = (tmp_path / "x.npy").read_bytes()
    with pytest.raises(ArtifactError, match="it would be replaced"):
        encoder.encode(tmp_path / "x.npy", output=tmp_path / "." / "x.npy")
    assert (tmp_path / "x.npy").read_bytes() == before


def test_batches_are_as_large_as_the_bound_allows(encoder: InvariantEncoder) -> None:
    x, wanted = images(50), None
    with torch.no_grad():
        wanted = encoder(x).numpy()
    encoder.network._known.clear()  # type: ignore[operator]
    encoder.network.max_bytes = encoder.network.need({"batch": 7})  # type: ignore[operator]
    with pytest.raises(GraphError, match="give fewer inputs at a time"):
        encoder(x)
    seen: list[int] = []
    forward = encoder.network.forward
    encoder.network.forward = lambda *given: seen.append(len(given[0])) or forward(*given)  # type: ignore[method-assign]
    assert np.allclose(encoder.encode(x), wanted, atol=1e-6)
    assert max(seen) == 7
    assert sum(seen) == 50


def test_processes_share_the_work(encoder: InvariantEncoder, tmp_path: Path) -> None:
    x = images(23)
    np.savez(tmp_path / "x.npz", x=x.numpy(), label=np.arange(23))
    alone, shared = encoder.encode(x, batch_size=4), encoder.encode(x, batch_size=4, num_processes=2)
    assert np.array_equal(alone, shared)
    path = encoder.encode(tmp_path / "x.npz", output=tmp_path / "f.npz", batch_size=4, num_processes=2)
    with np.load(path) as found:
        assert np.array_equal(found["features"], alone)
        assert np.array_equal(found["labels"], np.arange(23))
    with pytest.raises(ArtifactError, match="known length"):
        encoder.encode((x for _ in range(2)), num_processes=2)


def test_a_step_of_a_pipeline(encoder: InvariantEncoder) -> None:
    base = pytest.importorskip("sklearn.base")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    x, y = images(30).numpy(), np.arange(30) % 2
    pipeline = make_pipeline(encoder.as_transformer(batch_size=8), LogisticRegression())
    assert pipeline.fit(x, y).predict(x).shape == (30,)
    assert np.array_equal(pipeline.predict(x), pipeline.predict(x.reshape(30, -1)))
    assert cross_val_score(pipeline, x, y, cv=3).shape == (3,)
    assert base.clone(pipeline)[0].encoder is encoder
    assert pickle.loads(pickle.dumps(pipeline)).predict(x).shape == (30,)


def test_a_function_of_batches_pickles(encoder: InvariantEncoder) -> None:
    function = pickle.loads(pickle.dumps(encoder.as_batch_function("x", output="z")))
    x = images(4).numpy()
    batch = function({"x": x, "id": [1, 2, 3, 4]})
    assert batch.keys() == {"x", "id", "z"}
    assert np.allclose(batch["z"], encoder.encode(x))
    assert np.allclose(function({"x": x.tolist()})["z"], batch["z"], atol=1e-6)
    assert function({"x": [picture(), picture(seed=1)]})["z"].shape == (2, 16)


def test_a_projection_alone(tmp_path: Path) -> None:
    kind = MaxFilter("C4: 16 regular")
    z = torch.randn(40, 64)
    head = Head.from_probe(ridge_fit(kind(z), torch.arange(40) % 2), ["a", "b"])
    card = Card("projection", license="mit", base_model="facebook/dinov2-base", datasets=("mnist",))
    measured = Measurements({"knn": 0.9, "knn_raw": 0.4})
    made = export_projection(tmp_path / "p", kind, head=head, card=card, measured=measured)
    loaded = InvariantEncoder.from_pretrained(tmp_path / "p")
    for found in (made, loaded):
        assert torch.equal(found.projection(z), kind(z))
        assert torch.equal(found(z), kind(z))
    assert loaded.classify(z).labels[0] in ("a", "b")
    assert not (tmp_path / "p" / GRAPH).exists()
    assert loaded.encode(z, output="torch").shape == (40, kind.out_features)
    text = (tmp_path / "p" / "README.md").read_text()
    assert "base_model: facebook/dinov2-base" in text
    assert 'from_pretrained("path/or/repository").projection' in text
    assert "| kNN accuracy | 0.4 | 0.9 |" in text
    loaded.save_pretrained(tmp_path / "again")
    assert torch.equal(InvariantEncoder.from_pretrained(tmp_path / "again").projection(z), kind(z))
    assert "base_model: facebook/dinov2-base" in (tmp_path / "again" / "README.md").read_text()


def test_the_bound_of_a_graph_is_an_argument_of_loading(tmp_path: Path) -> None:
    export(tmp_path / "folder")
    with pytest.raises(GraphError, match=r"from_pretrained\(\.\.\., max_bytes="):
        InvariantEncoder.from_pretrained(tmp_path / "folder", max_bytes=100)
    assert InvariantEncoder.from_pretrained(tmp_path / "folder", max_bytes=2**20)(images(2)).shape == (2, 16)
