"""Whole data sets in, arrays and files out, in bounded memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lightning_invariant.encoder import InvariantEncoder
from lightning_invariant.encoder.preprocessing import Preprocessing
from lightning_invariant.errors import ArtifactError, GraphError
from tests.hub.small_encoder import export, images
from tests.memory import linux_only, printed

ROWS = 23
LABELS = torch.arange(ROWS) % 3


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> InvariantEncoder:
    return export(tmp_path_factory.mktemp("encode") / "folder")


@pytest.fixture(scope="module")
def expected(encoder: InvariantEncoder) -> torch.Tensor:
    return encoder(images(ROWS)).detach()


class Dicts(Dataset):
    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"id": index, "image": images(ROWS)[index], "label": LABELS[index]}


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        return iter(images(ROWS))


DATA: dict[str, Any] = {
    "tensor": lambda: images(ROWS),
    "array": lambda: images(ROWS).numpy(),
    "double array": lambda: images(ROWS).double().numpy(),
    "list of samples": lambda: list(images(ROWS)),
    "dataset": lambda: TensorDataset(images(ROWS), LABELS),
    "dataset of dicts": Dicts,
    "loader": lambda: DataLoader(TensorDataset(images(ROWS), LABELS), batch_size=4),
    "loader of dicts": lambda: DataLoader(Dicts(), batch_size=5),
    "loader of a stream": lambda: DataLoader(Stream(), batch_size=4),
    "generator of batches": lambda: (x for x in images(ROWS).split(9)),
    "workers": lambda: DataLoader(TensorDataset(images(ROWS)), batch_size=7, num_workers=1),
}


@pytest.mark.parametrize("name", DATA)
def test_data_of_every_kind(name: str, encoder: InvariantEncoder, expected: torch.Tensor) -> None:
    features = encoder.encode(DATA[name](), batch_size=8, progress=False)
    assert isinstance(features, np.ndarray)
    torch.testing.assert_close(torch.from_numpy(features), expected)


@pytest.mark.parametrize("name", ["dataset", "loader of a stream"])
@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet", ".safetensors"])
def test_files_of_every_kind(
    name: str, ending: str, encoder: InvariantEncoder, expected: torch.Tensor, tmp_path: Path
) -> None:
    path = tmp_path / f"features{ending}"
    assert encoder.encode(DATA[name](), batch_size=8, output=path) == path
    features, labels = read(path)
    torch.testing.assert_close(features, expected)
    if name == "dataset" and ending != ".npy":
        assert labels is not None
        assert torch.equal(labels, LABELS)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def read(path: Path) -> tuple[torch.Tensor, torch.Tensor | None]:
    if path.suffix == ".npy":
        return torch.from_numpy(np.load(path)), None
    if path.suffix == ".npz":
        with np.load(path) as found:
            arrays = {name: torch.from_numpy(found[name]) for name in found.files}
        return arrays["features"], arrays.get("labels")
    if path.suffix == ".safetensors":
        arrays = load_file(path)
        return arrays["features"], arrays.get("labels")
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    labels = torch.tensor(table["label"].to_pylist()) if "label" in table.column_names else None
    return torch.tensor(table["features"].to_pylist()), labels


def test_torch_and_latents(encoder: InvariantEncoder, expected: torch.Tensor) -> None:
    features = encoder.encode(images(ROWS), output="torch")
    assert isinstance(features, torch.Tensor)
    torch.testing.assert_close(features, expected)
    latents = encoder.encode(images(ROWS), output="torch", latents=True, batch_size=3)
    torch.testing.assert_close(latents, encoder.latent(images(ROWS)).detach())


@pytest.mark.parametrize("output", ["numpy", "torch", "f.npy", "f.npz", "f.parquet", "f.safetensors"])
def test_no_rows(output: str, encoder: InvariantEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = encoder.encode(images(ROWS)[:0], output=output)
    found = read(result)[0] if isinstance(result, Path) else result
    assert len(found) == 0


@pytest.mark.parametrize("ending", [".npy", ".npz", ".parquet", ".safetensors"])
def test_half_precision_comes_out(ending: str, encoder: InvariantEncoder, tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        path = tmp_path / f"features{ending}"
        half = InvariantEncoder.from_artifact(artifact_of(encoder, tmp_path)).to(dtype)
        half.encode(images(ROWS), output=path)
        assert (read(path)[0].float() - encoder(images(ROWS)).detach()).abs().max() < 0.05


def artifact_of(encoder: InvariantEncoder, folder: Path) -> Any:
    from lightning_invariant.artifact.folder import read_artifact

    if not (folder / "saved").exists():
        encoder.save_pretrained(folder / "saved")
    return read_artifact(folder / "saved")


def test_an_error_midway_leaves_the_old_file(encoder: InvariantEncoder, tmp_path: Path) -> None:
    path = tmp_path / "features.npy"
    path.write_bytes(b"old")

    def breaks() -> Any:
        yield images(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encoder.encode(breaks(), output=path)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["features.npy"]


@pytest.mark.parametrize(
    ("data", "settings", "error", "message"),
    [
        (images(2), {"output": "features.csv"}, ArtifactError, "ending in .npy, .npz, .parquet"),
        (images(2), {"output": "nowhere/features.npy"}, ArtifactError, "make it first"),
        (images(2), {"batch_size": 0}, ValueError, "batch_size and num_processes of at least 1"),
        (torch.zeros(2, 1, 7, 7), {}, GraphError, r"got \[2, 1, 7, 7\]"),
        (torch.zeros(2, 1, 6, 6, dtype=torch.uint8), {}, ArtifactError, "exported without preprocessing"),
        (3, {}, ArtifactError, "got int; wrap it in a DataLoader"),
        ([{"what": torch.zeros(1, 6, 6)}], {}, ArtifactError, "got dict of what"),
        ("no/such/place", {}, ArtifactError, "found none at"),
        ("no/such/file.csv", {}, ArtifactError, "found none at"),
    ],
)
def test_bad_requests(data: Any, settings: Any, error: type[Exception], message: str, encoder: Any) -> None:
    with pytest.raises(error, match=message):
        encoder.encode(data, **settings)


@pytest.mark.parametrize("ending", ["npy", "npz", "safetensors", "parquet"])
def test_input_files(ending: str, encoder: InvariantEncoder, expected: torch.Tensor, tmp_path: Path) -> None:
    path = tmp_path / f"inputs.{ending}"
    x, names = images(ROWS), np.array(["a", "b", "c"])[LABELS.numpy()]
    if ending == "npy":
        np.save(path, x.numpy())
    elif ending == "npz":
        np.savez(path, images=x.numpy(), labels=names)
    elif ending == "safetensors":
        save_file({"x": x, "labels": LABELS}, path)
    else:
        import pyarrow
        import pyarrow.parquet as parquet

        parquet.write_table(pyarrow.table({"image": x.tolist(), "label": LABELS.tolist()}), path)
    torch.testing.assert_close(encoder.encode(path, output="torch"), expected)
    if ending != "npy":
        encoder.encode(path, output=tmp_path / "out.safetensors")
        assert torch.equal(load_file(tmp_path / "out.safetensors")["labels"], LABELS)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"no array", "cannot be read"),
        ("x.npz", b"no archive", "cannot be read"),
        ("x.safetensors", b"", "cannot be read"),
        ("x.parquet", b"PAR1", "cannot be read"),
        ("x.txt", b"", "a file ending in"),
    ],
)
def test_damaged_input_files(name: str, content: bytes, message: str, encoder: Any, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=message):
        encoder.encode(tmp_path / name)


def test_a_pickled_array_is_refused(encoder: InvariantEncoder, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match="cannot be read"):
        encoder.encode(tmp_path / "x.npy")


def test_a_folder_of_images(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    scaled = Preprocessing(mean=(0.5,), std=(0.25,), size=(6, 6))
    encoder = export(tmp_path / "folder", preprocessing=scaled)
    raw = (torch.rand(3, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 255).byte()
    (tmp_path / "images" / "more").mkdir(parents=True)
    for i, pixels in enumerate(raw):
        image.fromarray(pixels[0].numpy()).save(tmp_path / "images" / ("more" if i == 2 else "") / f"{i}.png")
    by_hand = encoder((raw.float() / 255 - 0.5) / 0.25).detach()
    features = encoder.encode(tmp_path / "images", output="torch", batch_size=2)
    torch.testing.assert_close(features, by_hand)
    torch.testing.assert_close(encoder.encode(raw, output="torch"), by_hand)
    torch.testing.assert_close(encoder.encode(raw.float(), preprocess=True, output="torch"), by_hand)
    ready = encoder.preprocess(raw)
    torch.testing.assert_close(encoder.encode(ready, output="torch"), by_hand)
    encoder.encode(tmp_path / "images", output=tmp_path / "f.parquet")
    import pyarrow.parquet as parquet

    names = parquet.read_table(tmp_path / "f.parquet")["file"].to_pylist()
    assert names == ["0.png", "1.png", os.path.join("more", "2.png")]
    (tmp_path / "images" / "3.png").write_bytes(b"no image")
    with pytest.raises(ArtifactError, match=r"3.png cannot be read"):
        encoder.encode(tmp_path / "images")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match="found none"):
        encoder.encode(tmp_path / "empty")
    loaded = InvariantEncoder.from_pretrained(tmp_path / "folder")
    assert loaded.preprocessing == scaled


def test_an_image_folder_needs_recorded_preprocessing(encoder: InvariantEncoder, tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    with pytest.raises(ArtifactError, match="export it with ExportOptions"):
        encoder.encode(tmp_path)


ENCODE = """
import sys
from lightning_invariant import InvariantEncoder
from tests.hub.small_encoder import images
encoder, target = InvariantEncoder.from_pretrained(sys.argv[1]), sys.argv[2]
batch = images(1).expand(32_768, -1, -1, -1)
encoder.encode(images(4), output=target)
encoder.encode(batch, output=target, batch_size=32_768)
before = peak()
encoder.encode((batch for _ in range(40)), output=target)
print(peak() - before)
"""


@linux_only
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """Rows that would take 190 MB go through a few MB."""
    export(tmp_path / "folder")
    assert printed(ENCODE, tmp_path / "folder", tmp_path / "f.npy")[0] < 60  # MiB
    assert (tmp_path / "f.npy").stat().st_size > 80e6
