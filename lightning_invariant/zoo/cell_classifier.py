"""Classifiers of small images in which orientation means nothing: on equivariant or ordinary convolutions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from lightning_invariant.groups import O2, Cyclic, Dihedral, Translations
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.groups.grammar import parse_group
from lightning_invariant.projections import MaxFilter
from lightning_invariant.zoo.image_classifier import ImageClassifier
from lightning_invariant.zoo.one_cycle import one_cycle
from lightning_invariant.zoo.planar_conv import PlanarConv, PlanarLifting, PlanarPool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float
    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor

Head = Literal["latent", "max", "projection"]
WIDTHS = (4, 8)
"""Regular fields of the first two layers."""


class Disc(nn.Module):
    """Subtracts the mean brightness in a disc and clears what lies outside, so that turning an image loses no corner.

    Args:
        margin: Pixels between the disc and the border.

    Example:
        >>> Disc()(torch.full((1, 1, 8, 8), 0.5)).abs().max().item()
        0.0
    """

    def __init__(self, margin: float = 1.0) -> None:
        super().__init__()
        self.margin = margin

    def forward(self, x: Float[Tensor, "B I H W"]) -> Float[Tensor, "B I H W"]:
        """Images of mean 0 in the disc, 0 outside."""
        sides = x.shape[-2:]
        y, z = (torch.arange(side, device=x.device, dtype=x.dtype) - (side - 1) / 2 for side in sides)
        radius = min(sides) / 2 - self.margin
        window = (radius + 0.5 - (y[:, None].square() + z.square()).sqrt()).clamp(0, 1)
        mean = (x * window).sum(dim=(-2, -1), keepdim=True) / window.sum()
        return (x - mean) * window


class DihedralEncoder(nn.Module):
    """Three group convolutions with smooth pooling, and the mean over all positions.

    Args:
        group: "D8" or any other C_n or D_n.
        fields: Regular fields of the latent.

    Raises:
        ValueError: The group does not rotate the plane.

    Note:
        Exactly equivariant under quarter turns (and flips for D_n) of images whose side is a multiple of 4; under other
        elements as far as the pixel grid lets it.

    Example:
        >>> DihedralEncoder("D8", fields=4)(torch.zeros(3, 1, 48, 48)).shape
        torch.Size([3, 4, 16])
    """

    def __init__(self, group: str = "D8", fields: int = 16) -> None:
        super().__init__()
        acting, (first, second) = parse_group(group), WIDTHS
        if not isinstance(acting, (Cyclic, Dihedral)) or isinstance(acting, Translations):
            raise ValueError(f"Expected rotations of the plane, Cn or Dn, but got {group}.")
        self.order = acting.order
        self.body = nn.Sequential(
            Disc(),
            PlanarLifting(acting, 1, first),
            nn.BatchNorm3d(first),
            nn.ReLU(),
            PlanarPool(),
            PlanarConv(acting, first, second),
            nn.BatchNorm3d(second),
            nn.ReLU(),
            PlanarPool(),
            PlanarConv(acting, second, fields),
            nn.BatchNorm3d(fields),
            nn.ReLU(),
        )

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B C G"]:
        """Latents of the representation "GROUP: C regular"."""
        return self.body(x).mean(dim=(-2, -1))


class PlainEncoder(nn.Module):
    """The same layers, as many channels and operations, with ordinary filters: nothing makes it equivariant.

    Args:
        order: Channels that stand for one regular field.
        fields: A latent has `order * fields` numbers.
    """

    def __init__(self, order: int = 16, fields: int = 16) -> None:
        super().__init__()
        self.order = order
        first, second, last = (order * width for width in (*WIDTHS, fields))
        layers: list[nn.Module] = [Disc()]
        for count, channels, kernel in ((1, first, 7), (first, second, 5), (second, last, 5)):
            layers += [nn.Conv2d(count, channels, kernel, padding=kernel // 2), nn.BatchNorm2d(channels), nn.ReLU()]
            layers += [nn.AvgPool2d(2)] if channels != last else []
        self.body = nn.Sequential(*layers)

    def forward(self, x: Float[Tensor, "B 1 H W"]) -> Float[Tensor, "B D"]:
        """Latents."""
        return self.body(x).mean(dim=(-2, -1))


class CellClassifier(ImageClassifier):
    """A linear classifier on latents, on their channel-wise maxima, or on an invariant projection of them.

    Args:
        group: Under which the encoder is equivariant, "D8" or another C_n or D_n; None for ordinary convolutions.
        head: What the classifier sees: "latent" as it is; "max" over each field, or "projection" by a max filter,
            which both make the network invariant by itself, as far as its layers are equivariant.
        fields: Regular fields of the latent.
        classes: Number of classes.
        augment: Whether training images are turned by random angles, and half of them mirrored.
        lr: Highest learning rate of Adam, under one cycle over the whole training.

    Raises:
        ValueError: An unknown head, one that needs a group where there is none, or a group that does not rotate images.
    """

    def __init__(
        self,
        group: str | None = "D8",
        head: Head = "latent",
        fields: int = 16,
        classes: int = 13,
        augment: bool = False,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if head not in ("latent", "max", "projection") or (group is None and head != "latent"):
            raise ValueError(f"Expected a head 'latent', or with a group 'max' or 'projection', but got {head!r}.")
        self.encoder = PlainEncoder(fields=fields) if group is None else DihedralEncoder(group, fields)
        self.project = MaxFilter(f"{group}: {fields} regular") if head == "projection" else None
        size = self.encoder.order * fields if self.project is None else self.project.out_features
        self.classifier = nn.Linear(fields if head == "max" else size, classes)
        self.head, self.augment, self.lr = head, augment, lr

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        z = self.encoder(x)
        if self.head == "max":
            return self.classifier(z.amax(dim=2))
        return self.classifier(z.flatten(1) if self.project is None else self.project(z))

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy on images as they come, or turned."""
        x, *others = batch
        if self.augment:
            x = ImageAction(O2()).transform(x, O2().sample(len(x)))
        return super().training_step((x, *others), batch_idx)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with one cycle of learning rates."""
        return one_cycle(self, self.lr)
