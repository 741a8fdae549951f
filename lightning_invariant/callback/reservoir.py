"""A bounded uniform sample of a stream of rows that is the same however the stream is divided."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from jaxtyping import Int64


class Reservoir:
    """Keeps the rows of least priority, at most `capacity` of them and at most `max_bytes` large.

    A row's priority is a hash of the seed and of the row's position in the whole stream. So the sample is uniform, a
    smaller sample is part of a larger one, and the best of what several processes keep is what one process would have
    kept of the whole stream. Rows are copied to the CPU one batch at a time; nothing of a batch is held or changed, and
    the global random state is not touched.

    Args:
        capacity: Rows kept, at least 1.
        max_bytes: Bound on the kept rows' memory.
        seed: Of the choice of rows.

    Raises:
        ValueError: Capacity or bound below 1.

    Source:
        Efraimidis and Spirakis 2006, Weighted random sampling with a reservoir; all weights equal.
    """

    def __init__(self, capacity: int, max_bytes: int = 256 * 2**20, seed: int = 0) -> None:
        if capacity < 1 or max_bytes < 1:
            raise ValueError(f"Expected a capacity and a bound of at least 1 but got {capacity} and {max_bytes}.")
        self.capacity, self.max_bytes, self.seed = capacity, max_bytes, seed
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.seen, self._kept, self._room = 0, 0, self.capacity
        self._columns: dict[str, Tensor] = {}
        self._positions = self._priorities = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return self._kept

    @property
    def room(self) -> int:
        """Rows that the bounds allow; known once a row was seen."""
        return self._room

    @property
    def keys(self) -> Int64[Tensor, "len 2"]:
        """Priority and position of each kept row, in the order of `take`."""
        return torch.stack([self._priorities[: self._kept], self._positions[: self._kept]], dim=1)

    @property
    def columns(self) -> dict[str, Tensor]:
        """All kept rows by position, each column of shape (len, ...), on the CPU."""
        return self.take(self._positions[: self._kept].argsort())

    def few(self, count: int) -> dict[str, Tensor]:
        """Copies of at most so many kept rows, for a look."""
        return self.take(torch.arange(min(count, self._kept)))

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Copies of some of the kept rows.

        Args:
            rows: Indices into `keys`.
        """
        return {name: column[rows] for name, column in self._columns.items()}

    def add(self, columns: Mapping[str, Tensor], positions: Int64[Tensor, "rows"] | None = None) -> None:
        """Offer a batch of rows.

        Args:
            columns: Tensors of one length; every call has the same names and row shapes.
            positions: Of the rows in the whole stream, each once; None where all of the stream comes this way.

        Raises:
            ValueError: Lengths, names, or row shapes differ.
        """
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"Expected columns of one length but got lengths {sorted(lengths)}.")
        rows = lengths.pop()
        if not self._columns:
            self._allocate(columns)
        if {n: c.shape[1:] for n, c in columns.items()} != {n: c.shape[1:] for n, c in self._columns.items()}:
            raise ValueError(
                f"Expected rows of {_shapes(self._columns)} as before but got {_shapes(columns)}; "
                "rows of changing size cannot be kept together."
            )
        if positions is None:
            positions = torch.arange(self.seen, self.seen + rows)
        self.seen += rows
        priorities = priority(self.seed, positions)
        source, target = self._places(priorities)
        if len(source):
            self._priorities[target], self._positions[target] = priorities[source], positions[source]
            for name, column in columns.items():
                kept = column.detach()[source.to(column.device)]
                self._columns[name][target] = kept.to("cpu", self._columns[name].dtype)

    def _allocate(self, columns: Mapping[str, Tensor]) -> None:
        row_bytes = sum(column[:1].numel() * column.element_size() for column in columns.values() if len(column))
        self._room = max(1, min(self.capacity, self.max_bytes // max(1, row_bytes)))
        self._columns = {
            name: torch.empty(self._room, *column.shape[1:], dtype=column.dtype) for name, column in columns.items()
        }
        self._positions, self._priorities = (torch.empty(self._room, dtype=torch.int64) for _ in range(2))

    def _places(self, priorities: Tensor) -> tuple[Tensor, Tensor]:
        """Which new rows stay, and in whose place."""
        kept, free = self._priorities[: self._kept].numpy(), self._room - self._kept
        offered = priorities.numpy()
        source = np.arange(len(offered)) if free else (offered < kept.max()).nonzero()[0]
        target = np.arange(self._kept, self._kept + len(source))
        surplus = len(source) - free
        if surplus > 0:
            # Partitioning takes a fifth of the time of torch's topk.
            leave = np.concatenate([kept, offered[source]]).argpartition(-surplus)[-surplus:]
            source = np.delete(source, leave[leave >= self._kept] - self._kept)
            target = np.concatenate([target[:free], leave[leave < self._kept]])[: len(source)]
        self._kept = min(self._room, self._kept + len(source))
        return torch.from_numpy(source), torch.from_numpy(target)


def priority(seed: int, positions: Int64[Tensor, "rows"]) -> Int64[Tensor, "rows"]:
    """Uniform random numbers from 0 to 2^63 - 1, each a function of the seed and one position alone.

    Source:
        Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators (SplitMix64).
    """
    with np.errstate(over="ignore"):
        x = positions.numpy().astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += _mixed(np.asarray(seed + 1).astype(np.uint64) * np.uint64(0xD1342543DE82EF95))
        return torch.from_numpy((_mixed(x) >> np.uint64(1)).astype(np.int64))


def _mixed(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _shapes(columns: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(column.shape[1:])}" for name, column in columns.items())
