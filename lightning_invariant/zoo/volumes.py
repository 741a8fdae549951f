"""Generated volumes: the 29 pentacubes, each lying one way in noise, and a network on convolutions over the cube."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_invariant.groups import Cube
from lightning_invariant.zoo.cube_conv import CubeConv, CubeLifting
from lightning_invariant.zoo.image_classifier import ImageClassifier
from lightning_invariant.zoo.one_cycle import one_cycle
from lightning_invariant.zoo.split_data import HeldParts

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor

SIDE, CELLS = 6, 5
"""Voxels of a volume along each axis, and of a piece."""


def pentacubes() -> list[Int[Tensor, "5 3"]]:
    """The 29 pieces of five voxels that no rotation of space moves onto each other; 12 of them are 6 mirrored pairs."""
    rotations = Cube().matrices().round().long()
    pieces: dict[tuple[tuple[int, ...], ...], Tensor] = {((0, 0, 0),): torch.zeros(1, 3, dtype=torch.int64)}
    steps = torch.cat([torch.eye(3, dtype=torch.int64), -torch.eye(3, dtype=torch.int64)])
    for _ in range(CELLS - 1):
        grown: dict[tuple[tuple[int, ...], ...], Tensor] = {}
        for piece in pieces.values():
            taken = set(map(tuple, piece.tolist()))
            for voxel in (piece[:, None] + steps).flatten(0, 1):
                if tuple(voxel.tolist()) not in taken:
                    bigger = torch.cat([piece, voxel[None]])
                    grown.setdefault(min(_sorted(bigger @ r.mT) for r in rotations), bigger)
        pieces = grown
    return [torch.tensor(key) for key in sorted(pieces)]


def _sorted(voxels: Tensor) -> tuple[tuple[int, ...], ...]:
    """Voxels from the corner, in order."""
    return tuple(sorted(map(tuple, (voxels - voxels.amin(dim=0)).tolist())))


class Pentacubes(HeldParts):
    """Volumes (1, 6, 6, 6) with one of the 29 pieces, in one orientation and at any place, and Gaussian noise.

    Args:
        size: Training volumes; there are a quarter as many for validation, and half as many for the test.
        noise: Deviation of the noise; a voxel of the piece is 1 brighter.
        batch_size: Volumes a step.
        seed: Of places, noise, and the order of training.

    Raises:
        ValueError: Fewer than 4 volumes.
    """

    def __init__(self, size: int = 3000, noise: float = 0.2, batch_size: int = 64, seed: int = 0) -> None:
        super().__init__(batch_size, seed)
        if size < 4:
            raise ValueError(f"Expected a size of at least 4 volumes but got {size}.")
        self.size, self.noise = size, noise

    def setup(self, stage: str) -> None:
        """Draw the volumes."""
        generator, pieces = torch.Generator().manual_seed(self.seed), pentacubes()
        sizes = (self.size, self.size // 4, self.size // 2)
        self.training, self.validation, self.testing = (self._drawn(pieces, size, generator) for size in sizes)

    def _drawn(self, pieces: list[Tensor], count: int, generator: torch.Generator) -> TensorDataset:
        labels = torch.randint(len(pieces), (count,), generator=generator)
        x = self.noise * torch.randn(count, 1, SIDE, SIDE, SIDE, generator=generator)
        for volume, label in zip(x[:, 0], labels.tolist(), strict=True):
            room = SIDE - pieces[label].amax(dim=0)
            place = (torch.rand(3, generator=generator) * room).long()
            volume[tuple((pieces[label] + place).T)] += 1
        return TensorDataset(x, labels)


class CubeEncoder(nn.Module):
    """Three group convolutions, with a pooling after the first, and the mean over all positions.

    Args:
        fields: Regular fields of the latent.

    Note:
        Exactly equivariant under the 24 rotations of the cube, up to rounding, for volumes of even sides.

    Example:
        >>> CubeEncoder(fields=4)(torch.zeros(2, 1, 6, 6, 6)).shape
        torch.Size([2, 4, 24])
    """

    def __init__(self, fields: int = 8) -> None:
        super().__init__()
        self.first, self.second, self.last = CubeLifting(1, 3), CubeConv(3, 4), CubeConv(4, fields)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for channels in (3, 4, fields))

    def forward(self, x: Float[Tensor, "B 1 D H W"]) -> Float[Tensor, "B C 24"]:
        """Latents of the representation "Cube: C regular"."""
        first, second, last = self.norms
        maps = _normed(first, self.first(x)).relu()
        # Pooling one element's map at a time keeps the group out of it.
        maps = nn.functional.avg_pool3d(maps.flatten(1, 2), 2).unflatten(1, maps.shape[1:3])
        maps = _normed(second, self.second(maps)).relu()
        return _normed(last, self.last(maps)).relu().mean(dim=(-3, -2, -1))


def _normed(norm: nn.Module, maps: Tensor) -> Tensor:
    """One mean and deviation a field, over its elements and voxels."""
    return norm(maps.flatten(3)).reshape(maps.shape)


class PieceClassifier(ImageClassifier):
    """A linear classifier on latents, or on the largest value of each field.

    Args:
        fields: Regular fields of the latent.
        head: "latent", or "max", which makes the network invariant by itself.
        lr: Highest learning rate of Adam, under one cycle over the whole training.
    """

    def __init__(self, fields: int = 10, head: Literal["latent", "max"] = "latent", lr: float = 1e-2) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder, self.head, self.lr = CubeEncoder(fields), head, lr
        self.classifier = nn.Linear(fields if head == "max" else Cube().order * fields, len(pentacubes()))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        z = self.encoder(x)
        return self.classifier(z.amax(dim=2) if self.head == "max" else z.flatten(1))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with one cycle of learning rates."""
        return one_cycle(self, self.lr)
