"""Sets of small images in one .npz file, laid out as MedMNIST's are."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

PARTS = ("train", "test")
CHUNK = 4096


def image_archive(folder: Path) -> Path | None:
    """The .npz file of a folder; None if there is none, or more than one."""
    found = sorted(folder.glob("*.npz"))
    return found[0] if len(found) == 1 else None


def read_archive(path: Path, side: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test set, each images (N, 1, side, side) from 0 to 1 and labels (N,).

    Args:
        path: File with the arrays train_images, train_labels, test_images and test_labels: bytes (N, h, w) or
            (N, h, w, 3), of which the mean over the colours is taken, and whole numbers (N,) or (N, 1).
        side: Height and width that the images are brought to, by the mean over the pixels that fall into one.

    Raises:
        InvariantError: It is no such file, or an array is missing or of another shape.

    Source:
        Yang et al. 2023, MedMNIST v2 (arXiv 2110.14795), for the layout.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for part in PARTS for name in (f"{part}_images", f"{part}_labels")}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InvariantError(
            f"Expected the arrays train_images, train_labels, test_images and test_labels in {path} but got: {error}; "
            "get the file again, or leave it out of the folder."
        ) from error
    train, test = (labelled_images(path, arrays[f"{part}_images"], arrays[f"{part}_labels"], side) for part in PARTS)
    return train, test


def labelled_images(path: Path, images: np.ndarray, labels: np.ndarray, side: int) -> tuple[Tensor, Tensor]:
    """Images (N, 1, side, side) from 0 to 1 and labels (N,), from arrays as `read_archive` describes them.

    Args:
        path: Where they come from, for the message.
        images: Bytes.
        labels: Whole numbers.
        side: Height and width that the images are brought to.

    Raises:
        InvariantError: An array is of another kind or shape.
    """
    plain = images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)
    single = labels.ndim == 1 or (labels.ndim == 2 and labels.shape[1] == 1)
    if not (
        plain
        and images.dtype == np.uint8
        and images.size
        and single
        and labels.dtype.kind in "iu"
        and len(labels) == len(images)
        and labels.min() >= 0
    ):
        raise InvariantError(
            f"Expected bytes (N, h, w) or (N, h, w, 3) and a class for each image in {path} but got images "
            f"{images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}."
        )
    parts = [_small(torch.from_numpy(images[i : i + CHUNK]), side) for i in range(0, len(images), CHUNK)]
    return torch.cat(parts), torch.from_numpy(labels.reshape(-1).astype(np.int64))


def _small(pixels: Tensor, side: int) -> Tensor:
    grey = pixels.float()
    grey = (grey.mean(dim=3) if grey.dim() == 4 else grey)[:, None] / 255
    return grey if grey.shape[2:] == (side, side) else F.interpolate(grey, (side, side), mode="area")
