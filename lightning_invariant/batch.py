"""Where inputs and labels stand in the usual kinds of batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

INPUT_KEYS = ("x", "input", "inputs", "image", "images", "img", "pixel_values", "points", "pos", "features")
LABEL_KEYS = ("y", "label", "labels", "target", "targets")


def find_inputs(batch: Any, choose: Callable[[Any], Tensor] | None = None) -> Tensor | None:
    """The input tensor of a batch: the batch itself, its first element, or the value of a usual key.

    Where that is a list of views of the same samples, as in contrastive learning, the first view counts.

    Args:
        batch: What the loader gives: a tensor, a sequence or a mapping.
        choose: Reads the inputs off a batch of another kind.

    Returns:
        A tensor of shape (B, ...), or None if there is none.
    """
    if choose is not None:
        return choose(batch)
    found = _inputs(batch)
    if _is_views(found):
        found = found[0]
    return found if isinstance(found, Tensor) and found.dim() >= 1 else None


def count_views(batch: Any) -> int:
    """How many views of each sample a batch holds."""
    found = _inputs(batch)
    return len(found) if _is_views(found) else 1


def find_labels(batch: Any, choose: Callable[[Any], Tensor] | None = None) -> Tensor | None:
    """The labels of a batch: the first one-dimensional tensor behind the inputs, or the value of a usual key.

    In a pair of inputs and a matrix of another shape, the matrix is taken: several labels, or several values, a sample.

    Args:
        batch: What the loader gives.
        choose: Reads the labels off a batch of another kind.

    Returns:
        A tensor of shape (B,), integers for classes and floats for values, or of shape (B, T); None if there is none.
    """
    if choose is not None:
        return _as_column(choose(batch))
    if isinstance(batch, Mapping):
        return _as_column(next((batch[key] for key in LABEL_KEYS if batch.get(key) is not None), None))
    if isinstance(batch, Sequence) and not isinstance(batch, str):
        columns = [column for part in batch[1:] if (column := _as_column(part)) is not None]
        if len(batch) == 2 and columns and columns[0].ndim == 2:
            return None if columns[0].shape == getattr(batch[0], "shape", None) else columns[0]
        return next((column for column in columns if column.ndim == 1), None)
    return None


def _inputs(batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return next((batch[key] for key in INPUT_KEYS if batch.get(key) is not None), None)
    if isinstance(batch, Sequence) and batch and not isinstance(batch, str):
        return batch[0]
    return batch


def _is_views(found: Any) -> bool:
    return (
        isinstance(found, Sequence)
        and len(found) > 0
        and all(isinstance(view, Tensor) and view.shape == found[0].shape for view in found)
    )


def _as_column(labels: Any) -> Tensor | None:
    if not isinstance(labels, Tensor):
        return None
    if labels.dim() == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return labels if labels.dim() in (1, 2) and not labels.is_complex() else None
