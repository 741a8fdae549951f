"""Real digits that ship with scikit-learn, and an ordinary classifier for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from lightning_invariant.zoo.image_classifier import ImageClassifier
from lightning_invariant.zoo.quarter_turns import QuarterTurnEncoder
from lightning_invariant.zoo.split_data import SplitData

if TYPE_CHECKING:
    from torch import Tensor


class Digits(SplitData):
    """1,797 handwritten digits of 8 x 8 pixels, upright, split at random with a fixed seed.

    Args:
        batch_size: Images a step.
        validation_share: Share of the images kept for validation.
        seed: Of the split and of the order of training.

    Raises:
        ImportError: scikit-learn is not installed.

    Source:
        Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits (UCI), as in sklearn.datasets.load_digits.
    """

    def __init__(self, batch_size: int = 64, validation_share: float = 0.3, seed: int = 0) -> None:
        super().__init__(batch_size, validation_share, limit=None, seed=seed)

    def setup(self, stage: str) -> None:
        """Load and split the images; values from 0 to 1."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ImportError(
                'The digits ship with scikit-learn: pip install "lightning-invariant[recipes]".'
            ) from error
        pixels, classes = load_digits(return_X_y=True)
        images = torch.as_tensor(pixels, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
        labels = torch.as_tensor(classes)
        order = self.drawn(len(labels))
        self.split(images[order], labels[order])


class DigitsClassifier(ImageClassifier):
    """An equivariant encoder with a linear classifier on its latents; it knows nothing of invariant projections.

    Args:
        fields: Regular fields of the latent.
        lr: Learning rate of Adam.
    """

    def __init__(self, fields: int = 16, lr: float = 1e-2) -> None:
        super().__init__()
        self.encoder = QuarterTurnEncoder(1, fields)
        self.head = nn.Linear(4 * fields, 10)
        self.lr = lr

    def forward(self, x: Tensor) -> Tensor:
        """Class scores."""
        return self.head(self.encoder(x).flatten(1))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(self.parameters(), lr=self.lr)
