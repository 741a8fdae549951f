"""What processes tell each other; every function but the first two is a collective call."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import distributed

from lightning_invariant.errors import LatentError

if TYPE_CHECKING:
    from jaxtyping import Int64
    from torch import Tensor

    from lightning_invariant.callback.reservoir import Reservoir

T = TypeVar("T")


def process_count() -> int:
    """Number of processes that take part."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def gathered(value: Any) -> list[Any]:
    """The value of every process, in rank order, on every process; for small values."""
    if process_count() == 1:
        return [value]
    parts: list[Any] = [None] * process_count()
    distributed.all_gather_object(parts, value)
    return parts


def collected(value: Any) -> list[Any]:
    """The value of every process, in rank order, on rank 0; an empty list on the others."""
    if process_count() == 1:
        return [value]
    parts: list[Any] | None = [None] * process_count() if process_rank() == 0 else None
    distributed.gather_object(value, parts, dst=0)
    return parts or []


def shared(value: Any) -> Any:
    """The value of rank 0, on every process."""
    if process_count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def together(work: Callable[[], T]) -> T:
    """Work that makes no collective call; what fails on one process fails on all, so that none waits for another.

    Raises:
        LatentError: The work failed on another process only.
        Exception: Whatever it raised on this one.
    """
    if process_count() == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except Exception as raised:
        error = raised
    failures = gathered(None if error is None else f"{type(error).__name__}: {error}")
    if error is not None:
        raise error
    for rank, failure in enumerate(failures):
        if failure is not None:
            raise LatentError(f"Process {rank} failed: {failure}")
    return result  # type: ignore[return-value]


@dataclass(frozen=True)
class Share:
    """One process's part of a sample.

    Args:
        rows: Indices of its rows, as in `Reservoir.keys`.
        places: Of each of them in the whole sample, ascending.
        counts: Rows of every process.
    """

    rows: Int64[Tensor, "mine"]
    places: Int64[Tensor, "mine"]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Rows of the whole sample."""
        return sum(self.counts)


def agreed(reservoir: Reservoir, share: float) -> Share:
    """Who brings which rows of the sample that one process would have kept of the whole stream.

    Args:
        reservoir: What this process kept of its part.
        share: Of the rows that the reservoir's bounds allow, over 0 and at most 1.

    Returns:
        The rows of least priority of all processes, by position; a position that several hold counts once.
    """
    parts = gathered((reservoir.keys, reservoir.room))
    limit = math.ceil(share * min(room for _, room in parts))
    owners = torch.cat([torch.full((len(keys),), rank) for rank, (keys, _) in enumerate(parts)])
    rows = torch.cat([torch.arange(len(keys)) for keys, _ in parts])
    keys = torch.cat([keys for keys, _ in parts])
    order = keys[:, 1].argsort(stable=True)
    positions = keys[order, 1]
    order = order[torch.cat([torch.ones(len(order[:1]), dtype=torch.bool), positions[1:] != positions[:-1]])]
    if len(order) > limit:
        order = order[keys[order, 0].topk(limit, largest=False).indices.sort().values]
    mine = (owners[order] == process_rank()).nonzero()[:, 0]
    counts = tuple(int((owners[order] == rank).sum()) for rank in range(len(parts)))
    return Share(rows[order[mine]], mine, counts)
