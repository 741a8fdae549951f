"""What processes tell each other; every function but the first two is a collective call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import distributed

from lightning_invariant.errors import LatentError

T = TypeVar("T")


_ALONE = [False]


@contextmanager
def alone() -> Iterator[None]:
    """Work of one process while the block runs: no other takes part in what is a collective call elsewhere."""
    before, _ALONE[0] = _ALONE[0], True
    try:
        yield
    finally:
        _ALONE[0] = before


def process_count() -> int:
    """Return the number of processes that take part."""
    if _ALONE[0]:
        return 1
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_rank() -> int:
    """Return the number of this process, from 0."""
    if _ALONE[0]:
        return 0
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
