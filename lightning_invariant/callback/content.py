"""What is kept of a batch, and a batch made of what was kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from lightning_invariant.batch import count_views, find_inputs, find_labels


@dataclass
class Content:
    """Reads columns off batches: `x`, `mask`, `y`, and with `whole` every other tensor that has a row for each input.

    Args:
        inputs: Reads the inputs off an unusual batch.
        labels: Reads the labels off an unusual batch.
        mask: Reads which points exist off a batch of padded sets.
        whole: Keep all that it takes to make a batch again.
        say: Takes a key and a finding.
    """

    inputs: Callable[[Any], Tensor] | None
    labels: Callable[[Any], Tensor] | None
    mask: Callable[[Any], Tensor] | None
    whole: bool
    say: Callable[[str, str], None]
    template: Any = None
    views: int = 1
    _leaves: dict[int, str] = field(default_factory=dict)

    def columns(self, batch: Any) -> dict[str, Tensor]:
        """Tensors of one length, none where the batch holds neither inputs nor labels."""
        x, y = find_inputs(batch, self.inputs), find_labels(batch, self.labels)
        rows = len(x) if x is not None else len(y) if y is not None else 0
        if y is not None and len(y) != rows:
            self.say("labels", f"labels were left out: expected one for each of {rows} inputs but got {len(y)}.")
            y = None
        mask = None if self.mask is None else self.mask(batch)
        self.views = count_views(batch) if self.inputs is None else 1
        found = {name: value for name, value in (("x", x), ("mask", mask), ("y", y)) if value is not None}
        return found | self._others(batch, found, rows) if self.whole else found

    def rebuilt(self, columns: Mapping[str, Tensor]) -> Any:
        """A batch like the last one, with these rows."""
        numbers = count()
        return apply_to_collection(
            self.template, Tensor, lambda leaf: columns[name] if (name := self._leaves.get(next(numbers))) else leaf
        )

    def _others(self, batch: Any, found: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
        leaves: list[Tensor] = []
        known = {id(value): name for name, value in found.items() if name != "y"}

        def stripped(leaf: Tensor) -> Tensor:
            leaves.append(leaf)
            return leaf.new_empty(0) if leaf.dim() and len(leaf) == rows else leaf

        self.template = apply_to_collection(batch, Tensor, stripped)
        aligned = {number: leaf for number, leaf in enumerate(leaves) if leaf.dim() and len(leaf) == rows}
        self._leaves = {number: known.get(id(leaf), f"leaf{number}") for number, leaf in aligned.items()}
        return {name: aligned[number] for number, name in self._leaves.items() if name.startswith("leaf")}

    @property
    def movable(self) -> bool:
        """Whether the inputs have a place in the batches that `rebuilt` makes."""
        return not self.whole or "x" in self._leaves.values()
