"""Bounded samples of a stream of validation rows, the same however it is divided into batches and processes.

`Positions` numbers rows as in the whole stream, `Reservoir` keeps latents with their labels, and `CallSample` the
arguments of calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DistributedSampler

from lightning_invariant.batch import RowLayout, clone, leaves
from lightning_invariant.callback.support.gather import process_count, process_rank
from lightning_invariant.errors import BatchError

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64
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

    def peek(self, rows: int) -> Int64[Tensor, "rows"]:
        """Return the places of the next rows, without counting them."""
        return torch.arange(self.seen, self.seen + rows) * self.processes + self.process

    def next(self, rows: int) -> None:
        """Count rows."""
        self.seen += rows

    def real(self, places: Int64[Tensor, "rows"]) -> Bool[Tensor, "rows"] | None:
        """Whether each place is that of a row, and not of one that a sampler repeats at the end; None if all are."""
        if self.length is None or self.seen + len(places) <= self.length // self.processes:
            return None
        return places < self.length


def flat_loaders(loaders: Any) -> list[Any]:
    """The loaders of a trainer in the order of their numbers."""
    if isinstance(loaders, Mapping):
        return [leaf for part in loaders.values() for leaf in flat_loaders(part)]
    if isinstance(loaders, Sequence) and not hasattr(loaders, "sampler"):
        return [leaf for part in loaders for leaf in flat_loaders(part)]
    return [] if loaders is None else [loaders]


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
        growing: Whether rows are packed graphs, of which the largest sets the width.

    Raises:
        ValueError: Capacity or bound below 1.

    Source:
        Efraimidis and Spirakis 2006, Weighted random sampling with a reservoir; all weights equal.
    """

    def __init__(self, capacity: int, max_bytes: int = 256 * 2**20, seed: int = 0, *, growing: bool = False) -> None:
        if capacity < 1 or max_bytes < 1:
            raise ValueError(f"Expected a capacity and a bound of at least 1 but got {capacity} and {max_bytes}.")
        self.capacity, self.max_bytes, self.seed, self.growing = capacity, max_bytes, seed, growing
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

    def at(self, positions: Int64[Tensor, "n"]) -> dict[str, Tensor]:
        """Return copies of the kept rows of some positions, in their order.

        Args:
            positions: Ascending, all of them kept.
        """
        mine = self._positions[: self._kept]
        order = mine.argsort()
        return self.take(order[torch.searchsorted(mine[order], positions)])

    def take(self, rows: Tensor) -> dict[str, Tensor]:
        """Copies of some of the kept rows.

        Args:
            rows: Indices into `keys`.
        """
        return {name: column[rows] for name, column in self._columns.items()}

    def add(
        self,
        columns: Mapping[str, Tensor],
        positions: Int64[Tensor, "rows"] | None = None,
        priorities: Int64[Tensor, "rows"] | None = None,
    ) -> None:
        """Offer a batch of rows.

        Args:
            columns: Tensors of one length; every call has the same names and row shapes.
            positions: Of the rows in the whole stream, each once; None where all of the stream comes this way.
            priorities: Of the rows, least first; those of the positions if None.

        Raises:
            ValueError: Lengths, names, or row shapes differ.
        """
        lengths = {len(column) for column in columns.values()}
        if len(lengths) != 1:
            raise ValueError(f"Expected columns of one length but got lengths {sorted(lengths)}.")
        rows = lengths.pop()
        if not self._columns:
            self._allocate(columns)
        self._widen(columns)
        columns = {name: self._filled(name, column) for name, column in columns.items()}
        if {n: c.shape[1:] for n, c in columns.items()} != {n: c.shape[1:] for n, c in self._columns.items()}:
            raise ValueError(
                f"Expected rows of {_shapes(self._columns)} as before but got {_shapes(columns)}; "
                "rows of changing size cannot be kept together."
            )
        if positions is None:
            positions = torch.arange(self.seen, self.seen + rows)
        self.seen += rows
        if priorities is None:
            priorities = priority(self.seed, positions)
        source, target = self._places(priorities)
        if len(source):
            self._priorities[target], self._positions[target] = priorities[source], positions[source]
            for name, column in columns.items():
                kept = column.detach()[source.to(column.device)]
                self._columns[name][target] = kept.to("cpu", self._columns[name].dtype)

    def _widen(self, columns: Mapping[str, Tensor]) -> None:
        """Make room for rows of larger graphs than before, where rows are packed graphs."""
        for name, kept in self._columns.items() if self.growing else ():
            extra = columns[name].shape[1] - kept.shape[1] if name in columns and kept.dim() == 2 else 0
            if extra > 0:
                self._columns[name] = torch.nn.functional.pad(kept, (0, extra))

    def _filled(self, name: str, column: Tensor) -> Tensor:
        kept = self._columns.get(name)
        missing = 0 if kept is None or kept.dim() != 2 or column.dim() != 2 else kept.shape[1] - column.shape[1]
        return torch.nn.functional.pad(column, (0, missing)) if self.growing and missing > 0 else column

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


CHUNK = 256
"""Most rows of a call of our own."""


@dataclass
class Slice:
    """Some rows of one recorded call, or all of them.

    Args:
        arguments: By name.
        positions: Of its rows in the whole stream.
    """

    arguments: Any
    positions: Tensor


class CallSample:
    """Keeps the arguments of the rows of least priority, the same ones however the stream is divided into batches.

    Args:
        capacity: Rows kept; whole calls may exceed it by the last one.
        max_bytes: Bound on the memory of what is kept.
        layout: Which arguments have rows; None to keep whole calls.
    """

    def __init__(self, capacity: int, max_bytes: int, layout: RowLayout | None) -> None:
        self.capacity, self.max_bytes, self.layout = capacity, max_bytes, layout
        self.slices: list[Slice] = []
        self.cut = False
        self._priorities = torch.empty(0, dtype=torch.int64)

    def __len__(self) -> int:
        return sum(len(part.positions) for part in self.slices)

    def wants(self, priorities: Tensor) -> Tensor:
        """Return the indices of the offered rows that would be kept.

        Args:
            priorities: Of the rows, least first; those of one whole call are the same.
        """
        if len(self._priorities) < self.capacity:
            return torch.arange(len(priorities))
        return (priorities < self._priorities.max()).nonzero()[:, 0]

    def add(self, arguments: Any, positions: Tensor, priorities: Tensor) -> None:
        """Keep rows of a call that `wants` has asked for.

        Args:
            arguments: Of these rows only, or of the whole call; copies.
            positions: Of the rows.
            priorities: As in `wants`.
        """
        if not len(positions):
            return
        if not self.slices:
            size = sum(leaf.numel() * leaf.element_size() for leaf in leaves(arguments).values())
            room = max(1, int(self.max_bytes // max(1, size / len(positions))))
            self.cut, self.capacity = room < self.capacity, min(self.capacity, room)
        self.slices.append(Slice(arguments, positions))
        self._priorities = torch.cat([self._priorities, priorities])
        if self.layout is None:
            self._drop_calls()
        elif len(self._priorities) > 1.5 * self.capacity:
            self._drop_rows()

    def close(self) -> None:
        """Keep no more than the capacity; the stream has ended."""
        if self.layout is not None and len(self._priorities) > self.capacity:
            self._drop_rows()

    def keys(self) -> Tensor:
        """Return priority and position of each kept row, (len, 2)."""
        positions = [part.positions for part in self.slices]
        return torch.stack([self._priorities, torch.cat(positions)], 1) if positions else torch.empty(0, 2).long()

    def chunks(self, wanted: Tensor, chunk: int = CHUNK) -> list[Slice]:
        """Return the calls to make for some rows, joined where constants and shapes agree.

        Args:
            wanted: Their positions; whole calls hold others too.
            chunk: Most rows of a call.
        """
        if self.layout is None:
            return [part for part in self.slices if bool(torch.isin(part.positions, wanted).any())]
        made: list[Slice] = []
        waiting: list[Slice] = []
        for part in self.slices:
            keep = torch.isin(part.positions, wanted).nonzero()[:, 0]
            if not len(keep):
                continue
            if len(keep) < len(part.positions):
                part = Slice(self.layout.select(part.arguments, keep), part.positions[keep])
            waiting.append(part)
            if sum(len(one.positions) for one in waiting) >= chunk:
                made += self._joined(waiting)
                waiting = []
        return [piece for one in made + self._joined(waiting) for piece in self._split(one, chunk)]

    def _joined(self, parts: list[Slice]) -> list[Slice]:
        """As few calls as constants and shapes allow."""
        assert self.layout is not None
        groups: dict[Any, list[Slice]] = {}
        for part in parts:
            shapes = tuple((path, leaf.dtype, tuple(leaf.shape[1:])) for path, leaf in leaves(part.arguments).items())
            groups.setdefault(shapes, []).append(part)
        made = []
        for group in groups.values():
            try:
                joined = self.layout.join([part.arguments for part in group]) if len(group) > 1 else group[0].arguments
                made.append(Slice(joined, torch.cat([part.positions for part in group])))
            except BatchError:
                made += group
        return made

    def _split(self, part: Slice, chunk: int) -> list[Slice]:
        assert self.layout is not None
        if len(part.positions) <= 1.5 * chunk:
            return [part]
        return [
            Slice(self.layout.select(part.arguments, rows), part.positions[rows])
            for rows in torch.arange(len(part.positions)).split(chunk)
        ]

    def _drop_rows(self) -> None:
        assert self.layout is not None
        kept = torch.zeros(len(self._priorities), dtype=torch.bool)
        kept[self._priorities.topk(self.capacity, largest=False).indices] = True
        slices = []
        for part, keep in zip(self.slices, kept.split([len(one.positions) for one in self.slices]), strict=True):
            if bool(keep.all()):
                slices.append(part)
            elif bool(keep.any()):
                rows = keep.nonzero()[:, 0]
                slices.append(Slice(clone(self.layout.select(part.arguments, rows)), part.positions[rows]))
        self.slices, self._priorities = slices, self._priorities[kept]

    def _drop_calls(self) -> None:
        """Drop whole calls of the greatest priority while enough rows are left."""
        while len(self.slices) > 1:
            sizes = [len(part.positions) for part in self.slices]
            firsts = torch.tensor([0, *sizes[:-1]]).cumsum(0)
            worst = int(self._priorities[firsts].argmax())
            if sum(sizes) - sizes[worst] < self.capacity:
                return
            start = int(firsts[worst])
            self._priorities = torch.cat([self._priorities[:start], self._priorities[start + sizes[worst] :]])
            del self.slices[worst]
