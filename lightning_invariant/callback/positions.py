"""The place of each row in the whole stream, whichever process sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DistributedSampler

from lightning_invariant.callback.gather import process_count, process_rank

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor


@dataclass
class Positions:
    """Numbers the rows of one loader.

    A DistributedSampler gives row p of process r the place p * processes + r of its order, and repeats some rows at
    the end so that all processes have equally many.

    Args:
        processes: Among which the rows are dealt out.
        process: The number of this one.
        length: Rows without the repeated ones; None if there are none.
        seen: Rows so far on this process.
    """

    processes: int = 1
    process: int = 0
    length: int | None = None
    seen: int = 0

    @classmethod
    def of(cls, loader: Any) -> Positions:
        """For a fresh pass over a loader; one without a DistributedSampler counts as this process's own share."""
        for sampler in (getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", 0), "sampler", 0)):
            if isinstance(sampler, DistributedSampler):
                return cls(sampler.num_replicas, sampler.rank, len(sampler.dataset))  # type: ignore[arg-type]
        return cls(process_count(), process_rank())

    def next(self, rows: int) -> tuple[Int64[Tensor, "rows"], bool]:
        """Places of the next rows, and whether a repeated one is among them."""
        places = torch.arange(self.seen, self.seen + rows) * self.processes + self.process
        self.seen += rows
        return places, self.length is not None and rows > 0 and int(places[-1]) >= self.length


def flat_loaders(loaders: Any) -> list[Any]:
    """The loaders of a trainer in the order of their numbers."""
    if isinstance(loaders, Mapping):
        return [leaf for part in loaders.values() for leaf in flat_loaders(part)]
    if isinstance(loaders, Sequence) and not hasattr(loaders, "sampler"):
        return [leaf for part in loaders for leaf in flat_loaders(part)]
    return [] if loaders is None else [loaders]
