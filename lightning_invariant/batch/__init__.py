"""Batches as trees: tensors by their paths, rows, labels."""

from lightning_invariant.batch.reader import INPUT_KEYS, LABEL_KEYS, BatchReader
from lightning_invariant.batch.rows import RowLayout, graph_of_nodes, rows
from lightning_invariant.batch.tree import clone, leaves, replace, to_device

__all__ = [
    "INPUT_KEYS",
    "LABEL_KEYS",
    "BatchReader",
    "RowLayout",
    "clone",
    "graph_of_nodes",
    "leaves",
    "replace",
    "rows",
    "to_device",
]
