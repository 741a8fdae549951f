"""Images with groups: what is read, how it is split, and what is said about files that are something else."""

import numpy as np
import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo import downloads
from lightning_invariant.zoo.cell_classifier import CellClassifier, Disc
from lightning_invariant.zoo.chula_cells import cut_cells
from lightning_invariant.zoo.grouped_images import GroupedImages, read_images, split_by_group
from tests.zoo.tiny_cells import tiny_cells, write_tiny_cells


def setup(folder, **settings):
    data = GroupedImages(str(folder), side=16, **settings)
    data.setup("fit")
    return data


def test_no_group_is_in_two_parts(tmp_path):
    data = setup(write_tiny_cells(tmp_path))
    parts = [set(part.tensors[2].tolist()) for part in (data.training, data.validation, data.testing)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12
    assert [len(part) for part in parts] == [8, 1, 3]
    assert data.classes == 4
    x, y, group = next(iter(data.train_dataloader()))
    assert x.shape == (128, 1, 16, 16)
    assert 0.2 < x.max() <= 1
    assert y.dtype == group.dtype == torch.int64


def test_the_seed_splits_anew(tmp_path):
    folder = write_tiny_cells(tmp_path)
    first, again, other = (setup(folder, seed=seed).testing.tensors[2].unique().tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_sizes_bound_training_and_validation(tmp_path):
    data = setup(write_tiny_cells(tmp_path), train_size=50, validation_size=7)
    assert [len(part) for part in (data.training, data.validation)] == [50, 7]


@pytest.mark.parametrize("name", ["smears", "patients"])
def test_groups_go_by_several_names(tmp_path, name):
    found = read_images(str(write_tiny_cells(tmp_path, groups=name)), 16)
    assert len(found.groups.unique()) == 12


def test_without_groups_each_image_is_its_own(tmp_path):
    arrays = tiny_cells(40)
    del arrays["groups"]
    np.savez(tmp_path / "any.npz", **arrays)
    assert len(read_images(str(tmp_path / "any.npz"), 16).groups.unique()) == 40


def test_colours_and_other_sizes_are_brought_to_grey(tmp_path):
    arrays = tiny_cells(40, side=40)
    arrays["images"] = np.repeat(arrays["images"][..., None], 3, axis=3)
    (tmp_path / "cells").mkdir()
    np.savez(tmp_path / "cells" / "any.npz", **arrays)
    assert read_images(str(tmp_path), 24).images.shape == (40, 1, 24, 24)


def test_a_published_split_is_kept(tmp_path):
    arrays = tiny_cells(60)
    parts = {"train": slice(0, 30), "val": slice(30, 40), "test": slice(40, 60)}
    files = {f"{part}_{kind}": arrays[kind][rows] for part, rows in parts.items() for kind in ("images", "labels")}
    np.savez(tmp_path / "medmnist.npz", **files)
    data = setup(tmp_path)
    assert [len(part) for part in (data.training, data.validation, data.testing)] == [30, 10, 20]
    kept = {bytes(pixels) for pixels in (data.testing.tensors[0] * 255).round().byte().numpy()}
    assert kept == {bytes(pixels) for pixels in arrays["images"][40:]}
    del files["val_labels"]
    np.savez(tmp_path / "medmnist.npz", **files)
    with pytest.raises(InvariantError, match="val_labels"):
        read_images(str(tmp_path), 16)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((40, 16, 16))}, "bytes"),
        ({"groups": np.zeros((39,))}, "a group for each of 40"),
        ({"labels": None}, "images and labels"),
    ],
)
def test_other_files_are_refused(tmp_path, change, message):
    arrays = {name: array for name, array in (tiny_cells(40) | change).items() if array is not None}
    np.savez(tmp_path / "any.npz", **arrays)
    with pytest.raises(InvariantError, match=message):
        read_images(str(tmp_path), 16)


def test_an_empty_folder_is_told_where_the_cells_are(tmp_path):
    with pytest.raises(InvariantError, match="Chula-PIC-Lab/Chula-RBC-12-Dataset"):
        read_images(str(tmp_path), 48)
    with pytest.raises(InvariantError, match="at least 3 groups"):
        split_by_group(torch.zeros(9, dtype=torch.int64), torch.Generator())
    with pytest.raises(ValueError, match="multiple of 4"):
        GroupedImages(side=18)


def write_smears(folder):
    image = pytest.importorskip("PIL.Image")
    for name in ("Dataset", "Label"):
        (folder / name).mkdir(parents=True)
    for name, lines in (("1", "50 40 3\n\n10 40 5\n"), ("2", "96 40 12\n72 24 0\n")):
        pixels = np.zeros((96, 120, 3), dtype=np.uint8)
        for line in lines.split("\n"):
            if line:
                x, y, label = map(int, line.split())
                pixels[y - 2 : y + 2, x - 2 : x + 2] = (255, 40 + 10 * label, 0)
        image.fromarray(pixels).save(folder / "Dataset" / f"{name}.jpg", quality=100, subsampling=0)
        (folder / "Label" / f"{name}.txt").write_text(lines)
    return folder


def test_cells_are_cut_out_of_smears(tmp_path):
    cells = cut_cells(write_smears(tmp_path))
    assert cells.labels.tolist() == [3, 12, 0]  # the one at 10 pixels from the border is left out
    assert cells.groups.tolist() == [0, 1, 1]
    centres = cells.images[:, 22:26, 22:26].mean(axis=(1, 2))
    assert np.abs(centres - [70, 160, 40]).max() < 20
    assert read_images(str(tmp_path), 48).images.shape == (3, 1, 48, 48)
    (tmp_path / "Label" / "2.txt").write_text("96 40 13\n")
    with pytest.raises(InvariantError, match="classes up to 12"):
        cut_cells(tmp_path)
    (tmp_path / "Dataset" / "1.jpg").unlink()
    with pytest.raises(InvariantError, match=r"1\.jpg"):
        cut_cells(tmp_path)


def test_cells_are_downloaded_once_and_checked(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    folder = write_smears(tmp_path / "chula")
    files = [str(path) for path in folder.rglob("*.*")]
    monkeypatch.setattr(pooch, "retrieve", lambda url, digest, **settings: files)
    with pytest.raises(InvariantError, match="623 files"):
        downloads.downloaded_chula()
    digest = downloads._digest(sorted((folder / "Label").glob("*.txt")))
    monkeypatch.setattr(downloads, "CHULA", downloads.CHULA._replace(sha256=digest))
    assert downloads.downloaded_chula() == folder
    assert len(read_images(None, 48).labels) == 3


def test_the_disc_loses_no_corner():
    x = torch.rand(2, 1, 16, 16)
    flat = Disc()(x)
    assert flat[..., 0, 0].abs().max() == 0
    assert torch.allclose(flat.rot90(1, (2, 3)), Disc()(x.rot90(1, (2, 3))), atol=1e-6)
    assert flat.sum(dim=(2, 3)).abs().max() < 1e-4
    assert flat.abs().max() > 0.1


@pytest.mark.parametrize("head", ["latent", "max", "projection"])
def test_the_heads_that_project_are_invariant(head):
    torch.manual_seed(0)
    network = CellClassifier("D8", head, fields=4, classes=3).eval()
    x = torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        change = (network(x) - network(x.rot90(1, (2, 3)).flip(3))).abs().max()
    assert (change < 1e-5) == (head != "latent")


def test_a_head_without_a_group_is_refused():
    with pytest.raises(ValueError, match="'projection'"):
        CellClassifier(None, "projection")
    with pytest.raises(ValueError, match="T8"):
        CellClassifier("T8")
    assert CellClassifier(None, fields=4)(torch.zeros(2, 1, 16, 16)).shape == (2, 13)
