"""Inputs, labels, masks and groups of samples, read off a batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_invariant.batch.tree import as_tensor, is_graph, is_leaf, last_name, leaves, walk
from lightning_invariant.errors import BatchError

INPUT_KEYS = ("x", "input", "inputs", "image", "images", "img", "pixel_values", "points", "pos", "features")
LABEL_KEYS = ("y", "label", "labels", "target", "targets")
Where = str | int | Callable[[Any], Any] | None
_STEP = re.compile(r"\[(?:'([^']*)'|\"([^\"]*)\"|(-?\d+))\]|\.?([A-Za-z_]\w*)|\.(\d+)")
COMBINED = 3
"""Lightning's CombinedLoader yields (batch, batch_idx, dataloader_idx)."""


@dataclass(frozen=True)
class BatchReader:
    """Where a batch holds what is needed beside the network's own inputs.

    Each argument is a key or attribute ("y"), an index (1), a path as messages print it ("batch['a'][1]"), or a
    function of the batch. What is not given is looked for: labels under a usual name, or as the one column that
    follows the inputs; nothing else is guessed.

    Args:
        inputs: The input, for thumbnails.
        labels: One class or value a sample, or several values a sample.
        mask: Which nodes or points exist, True for those that do.
        groups: What samples belong to that must not be told apart as independent ones, such as the video of a frame.

    Raises:
        BatchError: An argument of another kind.

    Example:
        >>> BatchReader().labels_from((torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 1])))
        'batch[1], 3 classes'
    """

    inputs_at: Where = None
    labels_at: Where = None
    mask_at: Where = None
    groups_at: Where = None

    def __init__(self, inputs: Where = None, labels: Where = None, mask: Where = None, groups: Where = None) -> None:
        for name, where in (("inputs", inputs), ("labels", labels), ("mask", mask), ("groups", groups)):
            if where is not None and (
                isinstance(where, bool) or not (isinstance(where, (str, int)) or callable(where))
            ):
                raise BatchError(
                    f"Expected a key, an index, a path such as \"batch['y']\" or a function of the batch for {name}= "
                    f"but got {where!r}."
                )
            if isinstance(where, str):
                _steps(where)
            object.__setattr__(self, f"{name}_at", where)

    def inputs(self, batch: Any) -> Tensor | None:
        """Return the inputs: those that were named, else a usual key's value, or the first tensor.

        Of a list of views of the same samples it is the first view.
        """
        if self.inputs_at is not None:
            return _tensor(_get(batch, self.inputs_at, "inputs"), "inputs")
        batch = _inner(batch)
        found = leaves(batch)
        named = [t for key in INPUT_KEYS for path, t in found.items() if last_name(path) == key and t.dim()]
        if isinstance(batch, Sequence) and not named:
            named = [t for t in found.values() if t.dim()][:1] if len(found) and _first(batch, found) else []
        elif is_leaf(batch):
            named = [as_tensor(batch)] if as_tensor(batch).dim() else []
        return named[0] if named else None

    def labels(self, batch: Any, rows: int | None = None) -> Tensor | None:
        """Return the labels of a batch.

        Args:
            batch: What the loader yields.
            rows: Number of samples; labels of another length are none. The length of the first tensor if None.

        Returns:
            Shape (B,), integers for classes and floats for values, or (B, T) for several; None if there are none.

        Raises:
            BatchError: Labels that were named are not there, are complex, or are not as many as samples.
        """
        if self.labels_at is None:
            path = self._find(batch, rows)[0]
            return None if path is None else _column(_get(batch, path, "labels"))
        labels = _column(_get(batch, self.labels_at, "labels"))
        if labels is None:
            return None
        if rows is not None and len(labels) != rows:
            raise BatchError(f"Expected {rows} labels, one a sample, but got {len(labels)}; check labels=.")
        return labels

    def labels_from(self, batch: Any, rows: int | None = None) -> str:
        """Return what labels are taken, in one line, or why there are none."""
        path, reason = self._find(batch, rows) if self.labels_at is None else (self.labels_at, "")
        if path is None:
            return reason
        labels = self.labels(batch, rows)
        if labels is None:
            return "none"
        name = path if isinstance(path, str) and path.startswith("batch") else _printed(batch, path)
        if labels.dim() == 2:
            return f"{name}, {labels.shape[1]} values a sample"
        return f"{name}, values" if labels.is_floating_point() else f"{name}, {len(labels.unique())} classes"

    def has_labels(self, batch: Any, rows: int | None = None) -> bool:
        """Return whether labels were named, or are found; arguments as of `labels`."""
        return self.labels_at is not None or self._find(batch, rows)[0] is not None

    def decide(self, batch: Any, rows: int | None = None) -> BatchReader:
        """Return a reader that takes the labels of every batch from where it finds them in this one."""
        if self.labels_at is not None:
            return self
        path = self._find(batch, rows)[0]
        where: Where = path if path is not None else _no_labels
        return BatchReader(self.inputs_at, where, self.mask_at, self.groups_at)

    def groups(self, batch: Any, rows: int | None = None) -> Tensor | None:
        """Return the group of each sample, (B,) int64; None if groups were not named.

        Raises:
            BatchError: They are not there, or not one whole number or string a sample.
        """
        if self.groups_at is None:
            return None
        groups = _column(_get(batch, self.groups_at, "groups"))
        if groups is None or groups.dim() != 1 or groups.is_floating_point():
            kind = None if groups is None else f"{groups.dtype} {tuple(groups.shape)}"
            raise BatchError(f"Expected one whole number or string a sample for groups= but got {kind}.")
        if rows is not None and len(groups) != rows:
            raise BatchError(f"Expected {rows} groups, one a sample, but got {len(groups)}; check groups=.")
        return groups.to(torch.int64)

    def mask(self, batch: Any) -> Tensor | None:
        """Return the mask that was named, as booleans; None if none was.

        Raises:
            BatchError: It is not there, or is no tensor.
        """
        return None if self.mask_at is None else _tensor(_get(batch, self.mask_at, "mask"), "mask").bool()

    def _find(self, batch: Any, rows: int | None) -> tuple[str | None, str]:
        prefix, batch = "batch", _inner(batch)
        values = dict(_columns(batch, prefix))
        count = rows if rows is not None else _count(batch)
        values = {
            path: c for path, value in values.items() if (c := _quiet_column(value)) is not None and len(c) == count
        }
        for key in LABEL_KEYS:
            named = [path for path in values if last_name(path) == key]
            if len(named) == 1:
                return named[0], ""
            if named:
                return None, _doubt(named)
        if not isinstance(batch, (list, tuple)) or hasattr(batch, "_fields"):
            nested = _nested_pairs(batch, values)
            return (nested[0], "") if len(nested) == 1 else (None, _doubt(nested))
        columns = [path for path in values if not path.startswith(f"{prefix}[0]")]
        single = [path for path in columns if values[path].dim() == 1]
        if len(batch) == 2 and not single:
            first = next(iter(leaves(batch).values()), None)
            wide = [path for path in columns if first is None or values[path].shape != first.shape]
            return (wide[0], "") if len(wide) == 1 else (None, _doubt(wide))
        if len(single) > 1:
            inputs = [t for path, t in leaves(batch, prefix).items() if path not in columns]
            single = [p for p in single if not _could_be_lengths(values[p], inputs)] or single
        if len(single) > 1:
            single = [p for p in single if not values[p].is_floating_point()] or single
        return (single[0], "") if len(single) == 1 else (None, _doubt(single))


def _no_labels(_: Any) -> None:
    """Labels that no batch has."""


def _doubt(paths: Sequence[str]) -> str:
    if not paths:
        return "none found"
    return f'none taken, since {" and ".join(paths)} could all be labels; choose one with labels="{paths[-1]}"'


def _could_be_lengths(column: Tensor, inputs: Sequence[Tensor]) -> bool:
    """Whether a column may hold how much of each padded input exists: whole numbers from 1 to the size of an axis."""
    if column.is_floating_point() or column.dtype == torch.bool or not len(column):
        return False
    longest = max((n for t in inputs for n in t.shape[1:]), default=0)
    return int(column.min()) >= 1 and int(column.max()) <= longest


def _nested_pairs(batch: Any, values: Mapping[str, Tensor]) -> list[str]:
    """The second member of pairs (x, y) in a mapping, as CombinedLoader yields them."""
    if not isinstance(batch, Mapping):
        return []
    pairs = [f"batch[{key!r}]" for key, value in batch.items() if isinstance(value, (list, tuple)) and len(value) == 2]
    return [f"{pair}[1]" for pair in pairs if f"{pair}[1]" in values and values[f"{pair}[1]"].dim() == 1]


def _columns(batch: Any, prefix: str) -> list[tuple[str, Any]]:
    """Values that may be columns: tensors, and lists of numbers, strings or tensors without axes."""
    whole = set()

    def look(node: Any, path: str) -> None:
        if isinstance(node, (list, tuple)) and node and all(_is_scalar(entry) for entry in node):
            whole.add(path)

    for path, node in _containers(batch, prefix):
        look(node, path)
    return list(walk(batch, prefix, whole))


def _containers(node: Any, path: str) -> list[tuple[str, Any]]:
    found = [(path, node)]
    if isinstance(node, Mapping):
        for key, value in node.items():
            found += _containers(value, f"{path}[{key!r}]")
    elif type(node) in (list, tuple):
        for index, value in enumerate(node):
            found += _containers(value, f"{path}[{index}]") if isinstance(value, (list, tuple, Mapping)) else []
    return found


def _is_scalar(value: Any) -> bool:
    return isinstance(value, (int, float, str)) or (isinstance(value, Tensor) and value.dim() == 0)


def _quiet_column(value: Any) -> Tensor | None:
    try:
        return _column(value)
    except BatchError:
        return None


def _column(value: Any) -> Tensor | None:
    """Labels as (B,) or (B, T)."""
    if value is None:
        return None
    if isinstance(value, (list, tuple)) and value and all(_is_scalar(entry) for entry in value):
        if all(isinstance(entry, str) for entry in value):
            return torch.tensor([_number(entry) for entry in value])
        value = torch.stack([torch.as_tensor(entry) for entry in value]) if value else None
    column = _tensor(value, "labels")
    if column.is_complex():
        raise BatchError(f"Expected whole or real numbers as labels but got {column.dtype}.")
    if column.dim() == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.dim() not in (1, 2):
        raise BatchError(f"Expected labels of shape (B,) or (B, T) but got {tuple(column.shape)}.")
    return column.long() if column.dtype == torch.bool else column


def _number(text: str) -> int:
    """The same 63-bit number for the same string in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _tensor(value: Any, name: str) -> Tensor:
    if not is_leaf(value):
        raise BatchError(f"Expected a tensor or an array for {name}= but got {type(value).__name__}.")
    return as_tensor(value)


def _is_combined(batch: Any) -> bool:
    return (
        type(batch) is tuple
        and len(batch) == COMBINED
        and all(type(index) is int for index in batch[1:])
        and not isinstance(batch[0], int)
    )


def _inner(batch: Any) -> Any:
    return batch[0] if _is_combined(batch) else batch


def _count(batch: Any) -> int | None:
    if is_graph(batch) and hasattr(batch, "num_graphs"):
        return int(batch.num_graphs)
    found = [t for t in leaves(batch).values() if t.dim()]
    if isinstance(batch, (list, tuple)) and batch and isinstance(batch[0], list) and len(batch[0]) > 2:
        return len(batch[0])
    return len(found[0]) if found else None


def _first(batch: Sequence[Any], found: Mapping[str, Tensor]) -> bool:
    first = next(iter(found))
    return first.startswith("[0]") and next(iter(found.values())).dim() > 0 and len(batch) > 0


def _printed(batch: Any, where: Where) -> str:
    if callable(where):
        return f"what {getattr(where, '__name__', 'labels')} reads"
    if isinstance(where, str) and not isinstance(batch, Mapping) and hasattr(batch, where):
        return f"batch.{where}"
    return f"batch[{where!r}]"


def _steps(path: str) -> list[str | int]:
    steps, position = [], 0
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            return [path]  # a key of any letters
        single, double, index, name, number = match.groups()
        steps.append(
            int(index or number) if index or number else next(s for s in (single, double, name) if s is not None)
        )
        position = match.end()
    return steps


def _get(batch: Any, where: Where, name: str) -> Any:
    if callable(where):
        return where(batch)
    if isinstance(where, int):
        return _step(_inner(batch), where, name, batch)
    if isinstance(where, str) and isinstance(_inner(batch), Mapping) and where in _inner(batch):
        return _inner(batch)[where]
    steps = _steps(str(where))
    value = _inner(batch)
    if len(steps) > 1 and steps[0] == "batch":
        inside = isinstance(value, Mapping) and "batch" in value and steps[1] not in value
        steps = steps if inside else steps[1:]
    for step in steps:
        value = _step(value, step, name, batch)
    return value


def _step(value: Any, step: str | int, name: str, batch: Any) -> Any:
    try:
        if isinstance(step, str) and not isinstance(value, Mapping) and hasattr(value, step):
            return getattr(value, step)
        return value[step]
    except (KeyError, IndexError, TypeError, AttributeError):
        known = ", ".join(path for path, _ in walk(batch, "batch"))[:300] or type(batch).__name__
        raise BatchError(f"Expected {name}={step!r} to be in the batch but it holds {known}.") from None
