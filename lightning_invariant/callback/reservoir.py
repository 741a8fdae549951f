"""A bounded uniform sample of a stream of rows."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Reservoir:
    """Keeps a uniform random sample of all rows seen, at most `capacity` of them and at most `max_bytes` large.

    Rows are copied to the CPU one batch at a time; nothing of a batch is held or changed. The same stream gives the
    same sample.

    Args:
        capacity: Rows kept, at least 1.
        max_bytes: Bound on the kept rows' memory.
        seed: Of the choice of rows; the global random state is not touched.

    Raises:
        ValueError: Capacity or bound below 1.

    Source:
        Vitter 1985, Random sampling with a reservoir, algorithm R.
    """

    def __init__(self, capacity: int, max_bytes: int = 256 * 2**20, seed: int = 0) -> None:
        if capacity < 1 or max_bytes < 1:
            raise ValueError(f"Expected a capacity and a bound of at least 1 but got {capacity} and {max_bytes}.")
        self.capacity, self.max_bytes, self.seed = capacity, max_bytes, seed
        self.clear()

    def clear(self) -> None:
        """Forget all rows."""
        self.seen, self._columns = 0, {}
        self._room = self.capacity
        self._generator = torch.Generator().manual_seed(self.seed)

    def __len__(self) -> int:
        return min(self.seen, self._room)

    @property
    def columns(self) -> dict[str, Tensor]:
        """The kept rows, each column of shape (len, ...), on the CPU."""
        return {name: column[: len(self)] for name, column in self._columns.items()}

    def add(self, columns: Mapping[str, Tensor]) -> None:
        """Offer a batch of rows.

        Args:
            columns: Tensors of one length; every call has the same names and row shapes.

        Raises:
            ValueError: Lengths, names, or row shapes differ.
        """
        rows = {len(column) for column in columns.values()}
        if len(rows) != 1:
            raise ValueError(f"Expected columns of one length but got lengths {sorted(rows)}.")
        if not self._columns:
            self._allocate(columns)
        if {n: c.shape[1:] for n, c in columns.items()} != {n: c.shape[1:] for n, c in self._columns.items()}:
            raise ValueError(
                f"Expected rows of {_shapes(self._columns)} as before but got {_shapes(columns)}; "
                "rows of changing size cannot be kept together."
            )
        source, target = self._places(rows.pop())
        if len(source):
            for name, column in columns.items():
                kept = column.detach()[source.to(column.device)]
                self._columns[name][target] = kept.to("cpu", self._columns[name].dtype)

    def _allocate(self, columns: Mapping[str, Tensor]) -> None:
        row_bytes = sum(column[:1].numel() * column.element_size() for column in columns.values() if len(column))
        self._room = max(1, min(self.capacity, self.max_bytes // max(1, row_bytes)))
        self._columns = {
            name: torch.empty(self._room, *column.shape[1:], dtype=column.dtype) for name, column in columns.items()
        }

    def _places(self, rows: int) -> tuple[Tensor, Tensor]:
        number = self.seen + torch.arange(rows)
        place = (torch.rand(rows, generator=self._generator, dtype=torch.float64) * (number + 1)).long()
        place = torch.where(number < self._room, number, place)
        self.seen += rows
        source = (place < self._room).nonzero()[:, 0]
        target = place[source]
        # Of rows that fall on one place the last stays, as if they had come one by one.
        last = {int(t): int(s) for s, t in zip(source, target, strict=True)}
        return torch.tensor(list(last.values()), dtype=torch.int64), torch.tensor(list(last), dtype=torch.int64)


def _shapes(columns: Mapping[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(column.shape[1:])}" for name, column in columns.items())
