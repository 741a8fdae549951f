"""Classifiers of MNIST on a rotation-equivariant encoder: an ordinary one, and one that is invariant by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from lightning_invariant.zoo.image_classifier import ImageClassifier
from lightning_invariant.zoo.one_cycle import one_cycle
from lightning_invariant.zoo.planar_encoder import PlanarEncoder

if TYPE_CHECKING:
    from pytorch_lightning.utilities.types import OptimizerLRScheduler
    from torch import Tensor


class MNISTClassifier(ImageClassifier):
    """An equivariant encoder with a linear classifier; it knows nothing of invariant projections.

    Args:
        group: "C8", "D4" or any other C_n or D_n.
        width: Regular fields of the encoder's first layer.
        fields: Regular fields of the latent.
        classes: Number of classes.
        invariant: Whether the classifier sees only the largest value of each field: then the network is invariant by
            itself, as far as its layers are equivariant.
        lr: Highest learning rate of Adam, under one cycle over the whole training.
    """

    def __init__(
        self,
        group: str = "C8",
        width: int = 8,
        fields: int = 32,
        classes: int = 10,
        invariant: bool = False,
        lr: float = 1e-2,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.encoder = PlanarEncoder(group, 1, width, fields)
        self.invariant, self.lr = invariant, lr
        order = 1 if invariant else self.encoder.order
        self.head = nn.Linear(order * fields, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        z = self.encoder(x)
        return self.head(z.amax(dim=2) if self.invariant else z.flatten(1))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with one cycle of learning rates."""
        return one_cycle(self, self.lr)
