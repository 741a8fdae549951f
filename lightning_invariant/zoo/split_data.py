"""Data modules of samples that are held in memory, split into parts once and for all."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset


class HeldParts(pl.LightningDataModule):
    """A data module whose `setup` fills `training`, `validation` and `testing`.

    Args:
        batch_size: Samples a step.
        seed: Of the order of training.
    """

    training: TensorDataset
    validation: TensorDataset
    testing: TensorDataset

    def __init__(self, batch_size: int, seed: int) -> None:
        super().__init__()
        self.batch_size, self.seed = batch_size, seed

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches; a last one that is not full is left out, since one sample breaks batch normalisation."""
        generator = torch.Generator().manual_seed(self.seed)
        whole = len(self.training) >= self.batch_size
        return DataLoader(self.training, self.batch_size, shuffle=True, generator=generator, drop_last=whole)

    def val_dataloader(self) -> DataLoader:
        """Batches in a fixed order."""
        return DataLoader(self.validation, 256)

    def test_dataloader(self) -> DataLoader:
        """Batches in a fixed order."""
        return DataLoader(self.testing, 256)


class SplitData(pl.LightningDataModule):
    """A data module whose `setup` calls `split`.

    Args:
        batch_size: Samples a step.
        validation_share: Share of the samples kept for validation.
        limit: Use only so many samples, drawn at random; all of them if None.
        seed: Of the split and of the order of training.

    Raises:
        ValueError: A share outside (0, 1).
    """

    def __init__(self, batch_size: int, validation_share: float, limit: int | None, seed: int) -> None:
        super().__init__()
        if not 0 < validation_share < 1:
            raise ValueError(f"Expected a validation share between 0 and 1 but got {validation_share}.")
        self.batch_size, self.validation_share = batch_size, validation_share
        self.limit, self.seed = limit, seed

    def drawn(self, count: int) -> Tensor:
        """Which of so many samples are used, in a random order."""
        return torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))[: self.limit]

    def split(self, *columns: Tensor) -> None:
        """Keep the first samples for validation, and train on the others.

        Args:
            columns: Of the samples that were drawn, in the order in which a batch holds them.
        """
        cut = int(self.validation_share * len(columns[0]))
        self.validation = TensorDataset(*(column[:cut] for column in columns))
        self.training = TensorDataset(*(column[cut:] for column in columns))

    def train_dataloader(self) -> DataLoader:
        """Shuffled batches."""
        generator = torch.Generator().manual_seed(self.seed)
        return DataLoader(self.training, self.batch_size, shuffle=True, generator=generator)

    def val_dataloader(self) -> DataLoader:
        """Batches in a fixed order."""
        return DataLoader(self.validation, self.batch_size)
