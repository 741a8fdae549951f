"""An ordinary classifier whose only knowledge of rotations is that its training images are turned at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

from lightning_invariant.groups import SO2
from lightning_invariant.groups.actions import ImageAction
from lightning_invariant.orbit_layer import OrbitLayer
from lightning_invariant.zoo.image_classifier import ImageClassifier
from lightning_invariant.zoo.one_cycle import one_cycle
from lightning_invariant.zoo.ordinary import SmallCNN, SmallViT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor


class AugmentedClassifier(ImageClassifier):
    """A CNN or ViT with a linear classifier, trained on images turned by random angles.

    `orbit` gives the latents of an image under the elements of a group; validation calls it, so that a callback can
    read it, and logs the accuracy of the mean over them beside that of the network alone.

    Args:
        backbone: "cnn" or "vit".
        augment: Whether training images are turned.
        size: Numbers in a latent.
        group: Whose elements `orbit` goes through.
        classes: Number of classes.
        lr: Highest learning rate of Adam, under one cycle over the whole training.
    """

    def __init__(
        self,
        backbone: Literal["cnn", "vit"] = "cnn",
        augment: bool = True,
        size: int = 64,
        group: str = "C8",
        classes: int = 10,
        lr: float = 3e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        if backbone not in ("cnn", "vit"):
            raise ValueError(f"Expected a backbone 'cnn' or 'vit' but got {backbone!r}.")
        self.orbit = OrbitLayer(SmallCNN(size) if backbone == "cnn" else SmallViT(size), group)
        self.head = nn.Linear(size, classes)
        self.augment, self.lr = augment, lr

    @property
    def encoder(self) -> nn.Module:
        """The network of one image."""
        return self.orbit.encoder

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.head(self.encoder(x))

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Cross entropy on turned images."""
        x, y, *_ = batch
        if self.augment:
            x = ImageAction(SO2()).transform(x, SO2().sample(len(x)))
        return super().training_step((x, y), batch_idx)

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Log loss and accuracy on images as they come, and accuracy of the mean over the orbit."""
        super().validation_step(batch, batch_idx)
        x, y, *_ = batch
        mean = self.head(self.orbit(x).mean(dim=2))
        self.log("val/orbit_accuracy", (mean.argmax(dim=1) == y).float().mean())

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with one cycle of learning rates."""
        return one_cycle(self, self.lr)
