"""Evidence of all processes on one, and its numbers on all."""

from __future__ import annotations

from typing import Any

from torch import distributed


def process_count() -> int:
    """Number of processes that take part."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_rank() -> int:
    """Number of this process, from 0."""
    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0


def gathered(value: Any) -> list[Any]:
    """The value of every process, in rank order, on every process; a collective call."""
    if process_count() == 1:
        return [value]
    parts: list[Any] = [None] * process_count()
    distributed.all_gather_object(parts, value)
    return parts


def shared(value: Any) -> Any:
    """The value of rank 0, on every process; a collective call."""
    if process_count() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]
