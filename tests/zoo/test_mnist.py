"""MNIST from files: what is read, and what is said about files that are not MNIST."""

import gzip
import sys
from urllib.error import URLError

import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.mnist import MNIST, load_mnist
from tests.zoo.tiny_mnist import write_idx, write_tiny_mnist


@pytest.fixture
def folder(tmp_path):
    return write_tiny_mnist(tmp_path)


def test_training_validation_and_test_images_are_apart(folder):
    data = MNIST(str(folder), batch_size=16, train_size=100, validation_size=60)
    data.setup("fit")
    (images, labels), (tested, _) = load_mnist(str(folder))
    assert [len(part) for part in (data.training, data.validation, data.testing)] == [100, 60, 60]
    assert torch.equal(data.validation.tensors[0], images[180:])
    assert torch.equal(data.testing.tensors[0], tested)
    rows = {bytes(row.numpy()) for row in data.training.tensors[0]}
    assert len(rows) == 100
    assert not rows & {bytes(row.numpy()) for row in images[180:]}
    x, y = next(iter(data.train_dataloader()))
    assert x.shape == (16, 1, 28, 28)
    assert y.dtype == torch.int64
    assert 0.5 < x.max() <= 1
    assert labels[:3].tolist() == [0, 1, 2]


def test_the_seed_chooses_images_and_order(folder):
    def first(seed):
        data = MNIST(str(folder), train_size=64, validation_size=60, seed=seed)
        data.setup("fit")
        return next(iter(data.train_dataloader()))[0]

    assert torch.equal(first(0), first(0))
    assert not torch.equal(first(0), first(1))


def test_files_need_not_be_zipped(folder):
    _, (images, labels) = load_mnist(str(folder))
    for name, array in (("images-idx3", images[:, 0] * 255), ("labels-idx1", labels)):
        (folder / f"t10k-{name}-ubyte.gz").unlink()
        write_idx(folder / f"t10k-{name}-ubyte", array.round(), zipped=False)
    _, again = load_mnist(str(folder))
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], labels)


def test_the_files_may_lie_in_a_folder_mnist(tmp_path):
    (tmp_path / "mnist").mkdir()
    write_tiny_mnist(tmp_path / "mnist")
    data = MNIST(str(tmp_path), validation_size=40)
    data.setup("fit")
    assert len(data.training) == 200


def test_a_missing_file_is_named(folder):
    (folder / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InvariantError, match=r"train-labels-idx1-ubyte.gz in .* but there is none"):
        load_mnist(str(folder))


@pytest.mark.parametrize("content", [b"no gzip", b"\x1f\x8b cut off", gzip.compress(b"0" * 99)[:-20] + b"1" * 20])
def test_a_broken_file_is_named(folder, content):
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(content)
    with pytest.raises(InvariantError, match=r"t10k-images-idx3-ubyte\.gz cannot be read"):
        load_mnist(str(folder))


@pytest.mark.parametrize("shape", [(60,), (60, 32, 32)])
def test_other_arrays_are_refused(folder, shape):
    write_idx(folder / "t10k-images-idx3-ubyte.gz", torch.zeros(shape))
    with pytest.raises(InvariantError, match="images of 28 x 28"):
        load_mnist(str(folder))


def test_a_file_without_its_numbers_is_refused(folder):
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"\0\0\x08\x01\0\0\0\x09"))
    with pytest.raises(InvariantError, match=r"sizes \[9\] and 0 bytes"):
        load_mnist(str(folder))


def test_images_without_labels_are_refused(folder):
    write_idx(folder / "t10k-labels-idx1-ubyte.gz", torch.zeros(59))
    with pytest.raises(InvariantError, match=r"has 60 and t10k-labels-idx1-ubyte\.gz 59"):
        load_mnist(str(folder))


def test_fewer_images_than_a_batch_are_one_batch(folder):
    data = MNIST(str(folder), batch_size=64, train_size=10, validation_size=60)
    data.setup("fit")
    assert [len(x) for x, _ in data.train_dataloader()] == [10]


def test_more_images_than_there_are(folder):
    with pytest.raises(ValueError, match=r"at most 240 images .* train_size of 200"):
        MNIST(str(folder), train_size=200, validation_size=60).setup("fit")
    with pytest.raises(ValueError, match="at least 1"):
        MNIST(str(folder), train_size=0)


def test_without_a_folder_and_scikit_learn_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"data_dir, or: pip install"):
        load_mnist(None)


def test_a_failed_download_is_told(monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")

    def offline(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr(datasets, "fetch_openml", offline)
    with pytest.raises(InvariantError, match=r"no route.* data_dir"):
        load_mnist(None)


def test_what_openml_gives_is_read_alike(folder, monkeypatch):
    datasets = pytest.importorskip("sklearn.datasets")
    (images, labels), (tested, answers) = load_mnist(str(folder))
    pixels = (torch.cat([images, tested]).flatten(1) * 255).round().double().numpy()
    classes = torch.cat([labels, answers]).numpy().astype(str).astype(object)
    monkeypatch.setattr("lightning_invariant.zoo.mnist.TESTED", len(tested))
    monkeypatch.setattr(datasets, "fetch_openml", lambda *args, **kwargs: (pixels, classes))
    (again, _), (_, told) = load_mnist(None)
    assert torch.allclose(again, images)
    assert torch.equal(told, answers)
