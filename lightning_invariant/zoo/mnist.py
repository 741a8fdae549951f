"""MNIST: 70,000 handwritten digits of 28 x 28 pixels, from files or from OpenML; or another set of small images."""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import TensorDataset

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.image_archive import image_archive, read_archive
from lightning_invariant.zoo.split_data import HeldParts

if TYPE_CHECKING:
    from torch import Tensor

SIDE, TESTED = 28, 10_000
FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
"""Names under which MNIST is passed on; the endings .gz may be missing."""


class MNIST(HeldParts):
    """Upright digits, or another set in the same format, with values from 0 to 1: training, validation and test images.

    Validation images are the last ones of the training set, and never trained on. The set as published is not rotated;
    who needs turned digits turns them, as `InvariantCallback` does: by `ImageAction`, bilinearly except for quarter
    turns.

    Args:
        data_dir: Folder with MNIST's four idx files, or with a folder "mnist" that has them, or with one .npz file of
            another set (`image_archive`); None to download MNIST with scikit-learn's `fetch_openml`, which keeps it in
            its own cache.
        batch_size: Images a step.
        train_size: Training images; all that are not held for validation if None.
        validation_size: Validation images.
        seed: Which images are taken, and the order of training.

    Raises:
        ValueError: A size below 1; in `setup`, more images than there are.

    Source:
        LeCun, Bottou, Bengio, Haffner 1998, Gradient-based learning applied to document recognition.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        batch_size: int = 64,
        train_size: int | None = None,
        validation_size: int = 10_000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        for name, size in (("train_size", train_size), ("validation_size", validation_size)):
            if size is not None and size < 1:
                raise ValueError(f"Expected {name} of at least 1 but got {size}.")
        self.data_dir, self.train_size, self.validation_size = data_dir, train_size, validation_size

    def setup(self, stage: str) -> None:
        """Read the images, and choose among them.

        Raises:
            InvariantError: A file is missing or no MNIST; the message names it.
            ImportError: There is nothing to read, and scikit-learn is not installed.
        """
        (images, labels), (test_images, test_labels) = load_mnist(self.data_dir)
        rest = len(images) - self.validation_size
        wanted = rest if self.train_size is None else self.train_size
        if not 1 <= wanted <= rest:
            raise ValueError(
                f"Expected at most {len(images)} images for training and validation but got a train_size of {wanted} "
                f"and a validation_size of {self.validation_size}; lower one."
            )
        rows = torch.randperm(rest, generator=torch.Generator().manual_seed(self.seed))[:wanted]
        self.training = TensorDataset(images[rows], labels[rows])
        self.validation = TensorDataset(images[rest:], labels[rest:])
        self.testing = TensorDataset(test_images, test_labels)


def load_mnist(data_dir: str | None) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test set, each images (N, 1, 28, 28) from 0 to 1 and labels (N,).

    Args:
        data_dir: Folder with the idx files, or with one .npz file of another set; None to download MNIST.

    Raises:
        InvariantError: A file is missing or holds something else.
        ImportError: scikit-learn is not installed and would be needed.
    """
    if data_dir is None:
        return _downloaded()
    archive = image_archive(Path(data_dir))
    if archive is not None and _place(Path(data_dir), FILES["train"][0]) is None:
        return read_archive(archive, SIDE)
    train, test = (_pair(Path(data_dir), *FILES[part]) for part in ("train", "test"))
    return train, test


def _pair(folder: Path, images: str, labels: str) -> tuple[Tensor, Tensor]:
    x, y = _read(folder, images), _read(folder, labels)
    if len(x) != len(y):
        raise InvariantError(
            f"Expected a label for each image in {folder} but {images} has {len(x)} and {labels} {len(y)}; get both."
        )
    return _scaled(x), y.long()


def _downloaded() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    try:
        from sklearn.datasets import fetch_openml
    except ImportError as error:
        raise ImportError(
            "Expected a folder with MNIST's files, or scikit-learn to download them; give data_dir, or: "
            'pip install "lightning-invariant[recipes]".'
        ) from error
    # pandas reads the 70,000 rows in seconds; scikit-learn's own reader takes minutes, but is always there.
    parser = "pandas" if importlib.util.find_spec("pandas") else "liac-arff"
    try:
        pixels, classes = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False, parser=parser)
    except (OSError, ValueError, HTTPException) as error:  # ValueError: what came has another checksum
        raise InvariantError(
            f"Expected to download MNIST from OpenML but got: {error}; download its four idx files otherwise and give "
            "their folder as data_dir."
        ) from error
    images = _scaled(torch.as_tensor(pixels).reshape(-1, SIDE, SIDE))
    labels = torch.as_tensor(classes.astype(int))
    return (images[:-TESTED], labels[:-TESTED]), (images[-TESTED:], labels[-TESTED:])


def _scaled(pixels: Tensor) -> Tensor:
    return pixels.float()[:, None] / 255


def _place(folder: Path, name: str) -> Path | None:
    places = (place / file for place in (folder, folder / "mnist") for file in (name, name.removesuffix(".gz")))
    return next((place for place in places if place.is_file()), None)


def _read(folder: Path, name: str) -> Tensor:
    """The array of an idx file, uint8: two zero bytes, the type (8), the dimensions, their sizes, the values."""
    path = _place(folder, name)
    if path is None:
        raise InvariantError(
            f"Expected MNIST's file {name} in {folder} but there is none; download it, or give no folder."
        )
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise InvariantError(f"Expected a gzip file but {path} cannot be read: {error}; download it again.") from error
    dimensions = data[3] if len(data) > 4 and data[:3] == b"\0\0\x08" else 0
    sizes = [int.from_bytes(data[4 + 4 * i : 8 + 4 * i], "big") for i in range(dimensions)]
    body = bytearray(data[4 + 4 * dimensions :]) if dimensions else bytearray()
    values = torch.frombuffer(body, dtype=torch.uint8) if body else torch.empty(0)
    fits = sizes[1:] == ([SIDE, SIDE] if "images" in name else [])
    if not (sizes and fits and sizes[0] and len(values) == torch.Size(sizes).numel()):
        expected = f"images of {SIDE} x {SIDE}" if "images" in name else "labels"
        raise InvariantError(
            f"Expected {expected} as bytes in {path} but got sizes {sizes} and {len(values)} bytes; download it again."
        )
    return values.reshape(sizes)
