"""Outlines of leaves and arrowheads as closed curves, on which no point is the first, and a network for them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_invariant.errors import InvariantError
from lightning_invariant.zoo.grouped_images import split_by_group
from lightning_invariant.zoo.image_classifier import ImageClassifier
from lightning_invariant.zoo.one_cycle import one_cycle
from lightning_invariant.zoo.split_data import HeldParts

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor

POINTS, PLACES = 256, 32
"""Points of an outline, and places of a latent that they are pooled to."""


class Outlines(HeldParts):
    """One number at each of 256 points of a closed outline, (1, 256), of mean 0 and deviation 1, and its class.

    Training and test outlines of the UCR archive are joined and split anew by the seed: 65% for training, 10% for
    validation, 25% for the test.

    Args:
        data_dir: Folder that holds NAME/NAME_TRAIN.ts and NAME/NAME_TEST.ts, or those files; None for the copy inside
            the package aeon, if that is installed.
        name: "OSULeaf" (442 leaves of 6 kinds), "ArrowHead" (211 projectile points of 3 kinds), or any other set of
            closed curves of one number a point in the same format.
        batch_size: Outlines a step.
        seed: Of the split and of the order of training.

    References:
        Dau et al. 2019, The UCR time series archive (arXiv 1810.07758); Middlehurst et al. 2024, aeon (2406.14231).
    """

    def __init__(self, data_dir: str | None = None, name: str = "OSULeaf", batch_size: int = 32, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        self.data_dir, self.outlines = data_dir, name

    def setup(self, stage: str) -> None:
        """Read and split the outlines.

        Raises:
            InvariantError: The files are missing or hold something else, or aeon is not installed.
        """
        x, y = read_outlines(self.data_dir, self.outlines)
        parts = split_by_group(torch.arange(len(x)), torch.Generator().manual_seed(self.seed))
        self.training, self.validation, self.testing = (
            TensorDataset(x[parts == part], y[parts == part]) for part in range(3)
        )


def read_outlines(data_dir: str | None, name: str) -> tuple[Tensor, Tensor]:
    """Outlines (N, 1, 256) and classes (N,), those of the training file first.

    Raises:
        InvariantError: The files are missing or hold something else, or aeon is not installed.
    """
    folder = _aeon() if data_dir is None else Path(data_dir)
    series, names = [], []
    for part in ("TRAIN", "TEST"):
        for curve, label in _lines(_place(folder, name, part)):
            series.append(_closed(curve))
            names.append(label)
    x = torch.stack(series)
    x = (x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True).clamp_min(1e-6)
    return x[:, None], torch.from_numpy(np.unique(names, return_inverse=True)[1])


def _aeon() -> Path:
    """The data inside the package aeon, which is not imported: it takes seconds."""
    found = importlib.util.find_spec("aeon")
    if found is None or found.origin is None:
        raise InvariantError(
            "Expected a folder with outlines, or the package aeon, which ships OSULeaf and ArrowHead, but got neither; "
            "pip install aeon, or give the folder aeon/datasets/data of its wheel (--data.data_dir of recipes, "
            "--data-dir of benchmarks)."
        )
    return Path(found.origin).parent / "datasets" / "data"


def _place(folder: Path, name: str, part: str) -> Path:
    file = f"{name}_{part}.ts"
    for path in (folder / name / file, folder / file, folder / "outlines" / name / file):
        if path.is_file():
            return path
    raise InvariantError(
        f"Expected {file} in {folder} or its folder {name} but there is none; get it from aeon's wheel."
    )


def _lines(path: Path) -> list[tuple[np.ndarray, str]]:
    """Curves and names of classes: comments, then "@data", then numbers between commas, a colon and the class."""
    _, marker, body = path.read_text(encoding="utf-8").partition("@data")
    found = []
    for line in body.strip().splitlines():
        numbers, colon, label = line.strip().rpartition(":")
        try:
            curve = np.array(numbers.split(","), dtype=np.float64)
        except ValueError:
            curve = np.empty(0)
        if not colon or ":" in numbers or len(curve) < 8 or not np.isfinite(curve).all():
            raise InvariantError(
                f"Expected lines 'number,number,...:class' of one curve in {path} but got {line[:60]!r}."
            )
        found.append((curve, label))
    if not marker or not found:
        raise InvariantError(f"Expected a line @data with curves under it in {path} but there are none.")
    return found


def _closed(curve: np.ndarray) -> Tensor:
    """256 points of a closed curve, by linear interpolation that goes on from the last point to the first."""
    count = len(curve)
    places = np.arange(POINTS) * count / POINTS
    return torch.from_numpy(np.interp(places, np.arange(count), curve, period=count)).float()


class OutlineEncoder(nn.Sequential):
    """Three circular convolutions, each halving the outline: a curve that starts 8 points later has its latent rolled.

    From outlines (B, 1, 256) to latents (B, C, 32) of the representation "T32: C regular".

    Args:
        fields: Numbers at each of 32 places of the latent.

    Example:
        >>> OutlineEncoder(fields=8)(torch.zeros(2, 1, 256)).shape
        torch.Size([2, 8, 32])
    """

    def __init__(self, fields: int = 8) -> None:
        layers: list[nn.Module] = []
        for count, channels, kernel in ((1, 16, 9), (16, 32, 9), (32, fields, 9)):
            layers.append(nn.Conv1d(count, channels, kernel, padding=kernel // 2, padding_mode="circular"))
            layers += [nn.BatchNorm1d(channels), nn.ReLU(), nn.AvgPool1d(2)]
        super().__init__(*layers)


class OutlineClassifier(ImageClassifier):
    """A linear classifier on all places of the latent, or on the largest value of each field.

    Args:
        fields: Regular fields of the latent.
        classes: Number of classes.
        head: "latent", or "max", which makes the network invariant by itself.
        lr: Highest learning rate of Adam, under one cycle over the whole training.
    """

    def __init__(
        self, fields: int = 8, classes: int = 6, head: Literal["latent", "max"] = "latent", lr: float = 1e-2
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder, self.head, self.lr = OutlineEncoder(fields), head, lr
        self.classifier = nn.Linear(fields if head == "max" else fields * PLACES, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        z = self.encoder(x)
        return self.classifier(z.amax(dim=2) if self.head == "max" else z.flatten(1))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with one cycle of learning rates."""
        return one_cycle(self, self.lr)
