"""Image sets in one .npz file: what is read, and what is said about other files."""

import numpy as np
import pytest
import torch

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.mnist import MNIST, load_mnist
from tests.zoo.tiny_mnist import write_tiny_mnist


def arrays(side=28, colours=False, count=40, seed=0):
    rng = np.random.default_rng(seed)
    shape = (side, side, 3) if colours else (side, side)
    return {
        f"{part}_{name}": rng.integers(256, size=(count, *shape), dtype=np.uint8)
        if name == "images"
        else (np.arange(count) % 4).astype(np.uint8)[:, None]
        for part in ("train", "val", "test")
        for name in ("images", "labels")
    }


def test_an_archive_is_read_as_it_is(tmp_path):
    content = arrays()
    np.savez_compressed(tmp_path / "tissue.npz", **content)
    (x, y), (x_test, _) = load_mnist(str(tmp_path))
    assert torch.equal((x * 255).round()[:, 0], torch.from_numpy(content["train_images"]).float())
    assert torch.equal((x_test * 255).round()[:, 0], torch.from_numpy(content["test_images"]).float())
    assert y.tolist() == content["train_labels"].ravel().tolist()
    data = MNIST(str(tmp_path), validation_size=10)
    data.setup("fit")
    assert [len(part) for part in (data.training, data.validation, data.testing)] == [30, 10, 40]


def test_colours_and_other_sizes_become_grey_and_small(tmp_path):
    content = arrays(side=56, colours=True)
    np.savez(tmp_path / "blood.npz", **content)
    (x, _), _ = load_mnist(str(tmp_path))
    assert x.shape == (40, 1, 28, 28)
    blocks = content["train_images"].astype(float).mean(axis=3).reshape(40, 28, 2, 28, 2).mean(axis=(2, 4))
    assert torch.allclose(x[:, 0] * 255, torch.from_numpy(blocks).float(), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_images": None}, "train_images"),
        ({"train_images": np.zeros((40, 28, 28))}, r"images float64 \(40, 28, 28\)"),
        ({"train_images": np.zeros((40, 28, 28, 4), np.uint8)}, r"\(40, 28, 28, 4\)"),
        ({"test_labels": np.zeros(39, np.int64)}, r"labels int64 \(39,\)"),
        ({"test_labels": np.zeros((40, 3), np.int64)}, r"labels int64 \(40, 3\)"),
        ({"train_labels": np.array([None] * 40)}, "allow_pickle"),
    ],
)
def test_other_arrays_are_refused(tmp_path, change, message):
    content = {name: array for name, array in (arrays() | change).items() if array is not None}
    np.savez(tmp_path / "set.npz", **content)
    with pytest.raises(InvariantError, match=message):
        load_mnist(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_broken_archive_is_named(tmp_path, content):
    (tmp_path / "set.npz").write_bytes(content)
    with pytest.raises(InvariantError, match=r"set\.npz but got"):
        load_mnist(str(tmp_path))


def test_two_archives_are_not_chosen_from(tmp_path):
    for name in ("a.npz", "b.npz"):
        np.savez(tmp_path / name, **arrays())
    with pytest.raises(InvariantError, match="MNIST's file"):
        load_mnist(str(tmp_path))


def test_the_files_of_mnist_come_first(tmp_path):
    np.savez(tmp_path / "a.npz", **arrays())
    write_tiny_mnist(tmp_path)
    assert len(load_mnist(str(tmp_path))[0][0]) == 240
