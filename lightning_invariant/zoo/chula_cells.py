"""Red blood cells cut out of the labelled smears of Chula-RBC-12."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lightning_invariant.errors import InvariantError

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 48
SMEARS, LABELS = "Dataset", "Label"
"""Folders of the published repository: photographs of smears, and for each a text with one cell a line, "x y class"."""
CLASSES = (
    "normal",
    "macrocyte",
    "microcyte",
    "spherocyte",
    "target cell",
    "stomatocyte",
    "ovalocyte",
    "teardrop",
    "burr cell",
    "schistocyte",
    "uncategorised",
    "hypochromia",
    "elliptocyte",
)


class Cells(NamedTuple):
    """Cells with their classes and the smears that they come from.

    Args:
        images: Bytes (N, 48, 48), the green channel, in which haemoglobin absorbs most.
        labels: Numbers of `CLASSES`, (N,).
        groups: Numbers of smears, (N,).
    """

    images: np.ndarray
    labels: np.ndarray
    groups: np.ndarray


def is_chula(folder: Path) -> bool:
    """Whether a folder is the published repository."""
    return (folder / SMEARS).is_dir() and (folder / LABELS).is_dir()


def cut_cells(folder: Path) -> Cells:
    """Cut every labelled cell whose square of 48 x 48 pixels lies inside its photograph.

    Args:
        folder: With the folders Dataset and Label.

    Raises:
        InvariantError: A photograph is missing or cannot be read, a line is no cell, or there are no cells.
        ImportError: Pillow is not installed.

    References:
        Naruenatthanaset et al. 2021, Red blood cell segmentation and classification on imbalanced dataset
        (arXiv 2012.01321).
    """
    half, found = SIDE // 2, []
    for group, text in enumerate(sorted((folder / LABELS).glob("*.txt"))):
        smear = _green(folder / SMEARS / f"{text.stem}.jpg")
        for x, y, label in _lines(text):
            if half <= x <= smear.shape[1] - half and half <= y <= smear.shape[0] - half:
                found.append((smear[y - half : y + half, x - half : x + half], label, group))
    if not found:
        raise InvariantError(f"Expected labelled cells in {folder / LABELS} but got none; download the data again.")
    images, labels, groups = zip(*found, strict=True)
    return Cells(np.stack(images), np.array(labels), np.array(groups))


def _green(path: Path) -> np.ndarray:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise ImportError("Photographs of smears are read with Pillow: pip install pillow.") from error
    try:
        with Image.open(path) as photograph:
            return np.asarray(photograph.convert("RGB"))[..., 1]
    except (OSError, UnidentifiedImageError) as error:
        raise InvariantError(f"Expected a photograph {path} but got: {error}; download the data again.") from error


def _lines(path: Path) -> list[tuple[int, int, int]]:
    """Column, row and class of each cell."""
    cells = []
    for line in path.read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words:
            continue
        if len(words) != 3 or not all(word.isdigit() for word in words) or int(words[2]) >= len(CLASSES):
            raise InvariantError(
                f"Expected lines 'x y class' with classes up to {len(CLASSES) - 1} in {path} but got {line!r}; "
                "download the data again."
            )
        x, y, label = map(int, words)
        cells.append((x, y, label))
    return cells
