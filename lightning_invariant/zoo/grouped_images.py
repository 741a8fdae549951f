"""Small images in which those of one group are alike, such as the cells of one smear: split by group."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch.utils.data import TensorDataset

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.chula_cells import cut_cells, is_chula
from lightning_invariant.zoo.downloads import downloaded_chula
from lightning_invariant.zoo.image_archive import labelled_images
from lightning_invariant.zoo.split_data import HeldParts

if TYPE_CHECKING:
    from torch import Tensor

GROUPS = ("groups", "smears", "patients", "slides", "videos")
"""Arrays that may say which group each image belongs to; the first that there is."""
PARTS = ("train", "val", "test")
"""Of a set laid out as MedMNIST's are, whose split is kept."""


class ImageSet(NamedTuple):
    """Images with what is known of them.

    Args:
        images: From 0 to 1, (N, 1, side, side).
        labels: Classes from 0, (N,).
        groups: Group of each image, (N,); its own number where none is known.
        parts: 0 for training, 1 for validation, 2 for test images, (N,); None where no split was published.
    """

    images: Tensor
    labels: Tensor
    groups: Tensor
    parts: Tensor | None = None


class GroupedImages(HeldParts):
    """Images, classes and groups: batches (x, y, group), where no group is in two of the three parts.

    Args:
        data_dir: An .npz file or a folder that holds one, alone or in a folder "cells": arrays `images`, bytes
            (N, h, w) or (N, h, w, 3), `labels`, whole numbers (N,), and if images of one group are alike `groups` (or
            `smears`, `patients`, `slides`, `videos`), (N,); or MedMNIST's layout, whose split is kept. Or a folder with
            Chula-RBC-12 as published; None to download that, 78 MB.
        side: Height and width that the images are brought to, a multiple of 4.
        batch_size: Images a step.
        train_size: Most images to train on, drawn at random; all if None.
        validation_size: Most images to validate on, likewise.
        seed: Of the split and of the order of training.

    Raises:
        ValueError: A side that is no multiple of 4.
    """

    def __init__(
        self,
        data_dir: str | None = None,
        side: int = 48,
        batch_size: int = 128,
        train_size: int | None = None,
        validation_size: int | None = 2000,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, seed)
        if side < 8 or side % 4:
            raise ValueError(f"Expected a side that is a multiple of 4, at least 8, but got {side}.")
        self.data_dir, self.side = data_dir, side
        self.train_size, self.validation_size = train_size, validation_size

    def setup(self, stage: str) -> None:
        """Read and split the images: of the groups, 65% for training, 10% for validation and 25% for the test.

        Raises:
            InvariantError: There is no such file, or it holds something else.
        """
        found = read_images(self.data_dir, self.side)
        generator = torch.Generator().manual_seed(self.seed)
        parts = split_by_group(found.groups, generator) if found.parts is None else found.parts
        columns = found.images, found.labels, found.groups
        rows = []
        for part, size in enumerate((self.train_size, self.validation_size, None)):
            place = (parts == part).nonzero()[:, 0]
            rows.append(place[torch.randperm(len(place), generator=generator)][:size])
        self.classes = int(found.labels.max()) + 1
        self.training, self.validation, self.testing = (
            TensorDataset(*(column[chosen] for column in columns)) for chosen in rows
        )


def split_by_group(groups: Tensor, generator: torch.Generator) -> Tensor:
    """The part of each image: 0 for training, 1 for validation, 2 for the test; whole groups, drawn at random.

    Raises:
        InvariantError: Fewer than three groups.
    """
    numbers, place = groups.unique(return_inverse=True)
    count = len(numbers)
    if count < 3:
        raise InvariantError(f"Expected at least 3 groups to split but got {count}; leave out the groups, or add data.")
    held, tested = max(1, round(0.10 * count)), max(1, round(0.25 * count))
    part = torch.zeros(count, dtype=torch.int64)
    order = torch.randperm(count, generator=generator)
    part[order[:held]], part[order[held : held + tested]] = 1, 2
    return part[place]


def read_images(data_dir: str | None, side: int) -> ImageSet:
    """The images of a file or folder, as `GroupedImages` describes them.

    Raises:
        InvariantError: There is no such file, or it holds something else.
    """
    place = downloaded_chula() if data_dir is None else Path(data_dir)
    if is_chula(place):
        cells = cut_cells(place)
        return ImageSet(*labelled_images(place, cells.images, cells.labels, side), torch.from_numpy(cells.groups))
    path = _archive(place)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name.endswith(("images", "labels")) or name in GROUPS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvariantError(f"Expected arrays without pickles in {path} but got: {error}; get it again.") from error
    if f"{PARTS[0]}_images" in arrays:
        return _in_parts(path, arrays, side)
    if not {"images", "labels"} <= arrays.keys():
        raise InvariantError(
            f"Expected the arrays images and labels in {path}, or train_images, train_labels and so on, but got "
            f"{', '.join(sorted(arrays)) or 'none of them'}; rename them."
        )
    images, labels = labelled_images(path, arrays["images"], arrays["labels"], side)
    known = next((arrays[name] for name in GROUPS if name in arrays), np.arange(len(labels)))
    if known.shape != (len(labels),):
        raise InvariantError(f"Expected a group for each of {len(labels)} images in {path} but got {known.shape}.")
    return ImageSet(images, labels, torch.from_numpy(np.unique(known, return_inverse=True)[1]))


def _in_parts(path: Path, arrays: dict[str, np.ndarray], side: int) -> ImageSet:
    missing = [f"{part}_{kind}" for part in PARTS for kind in ("images", "labels") if f"{part}_{kind}" not in arrays]
    if missing:
        raise InvariantError(f"Expected training, validation and test arrays in {path} but {missing} are missing.")
    pairs = [labelled_images(path, arrays[f"{part}_images"], arrays[f"{part}_labels"], side) for part in PARTS]
    images, labels = (torch.cat(column) for column in zip(*pairs, strict=True))
    parts = torch.cat([torch.full((len(y),), number) for number, (_, y) in enumerate(pairs)])
    return ImageSet(images, labels, torch.arange(len(labels)), parts)


def _archive(place: Path) -> Path:
    """The .npz file that is meant."""
    if place.is_file():
        return place
    for folder in (place, place / "cells"):
        found = sorted(folder.glob("*.npz"))
        if len(found) == 1:
            return found[0]
    raise InvariantError(
        f"Expected one .npz file, or Chula-RBC-12 with its folders Dataset and Label, in {place} or its folder cells "
        "but found neither; download https://github.com/Chula-PIC-Lab/Chula-RBC-12-Dataset and give its folder, or "
        "an .npz file with the arrays images, labels and groups."
    )
