"""Rows: which parts of a tree have one entry a sample, and how samples are taken out and put together."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import product
from typing import Any

import torch
from torch import Tensor

from lightning_invariant.batch.tree import (
    as_tensor,
    is_graph_batch,
    is_leaf,
    join_path,
    last_name,
    like,
    open_container,
    rebuild,
    walk,
)
from lightning_invariant.errors import BatchError

MOST_LAYOUTS = 16
MOST_DOUBTS = 7
"""Values with several readings whose combinations are listed; of further ones the likeliest reading is taken."""
EDGE_NAMES = ("edge_index", "edges", "edge_list", "adj_t")


class Role(IntEnum):
    """What a value is that has no axis for samples, in place of that axis."""

    LIST = -1
    """A list or tuple with one entry a sample."""
    GRAPHS = -2
    """A Batch of PyTorch Geometric, with one graph a sample."""
    CONSTANT = -3
    """The same for all samples."""
    NODES = -4
    """Rows for the nodes of all graphs."""
    EDGES = -5
    """Rows for the edges of all graphs."""
    EDGE_INDEX = -6
    """Pairs of nodes, (2, E)."""
    GRAPH_INDEX = -7
    """The graph of each node."""
    POINTERS = -8
    """Where each graph begins."""
    OPEN = -9
    """A list that holds no samples, but tensors that may have rows."""


@dataclass(frozen=True)
class RowLayout:
    """Which values of a tree have one entry a sample.

    Args:
        count: Number of samples in the tree that the layout was read off; other trees of the kind may have others.
        axes: Path of a tensor, list or batch of graphs to the axis that counts samples, or to what stands for one.

    Example:
        >>> layout = rows({"x": torch.arange(6).reshape(3, 2), "scale": 2.0}, 3)[0]
        >>> layout.select({"x": torch.arange(6).reshape(3, 2), "scale": 2.0}, [2, 0])["x"].tolist()
        [[4, 5], [0, 1]]
    """

    count: int
    axes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        words: dict[int, str] = {
            Role.LIST: "a list",
            Role.EDGE_INDEX: "pairs of nodes",
            Role.GRAPH_INDEX: "the graph of each node",
        }
        words |= {role: role.name.lower() for role in (Role.GRAPHS, Role.NODES, Role.EDGES, Role.POINTERS)}
        parts = [f"{path} ({words.get(axis, f'axis {int(axis)}')})" for path, axis in self.axes.items()]
        return f"{self.count} rows in {', '.join(parts)}" if parts else "no rows"

    def members(self, tree: Any) -> dict[str, Tensor | list[Tensor]]:
        """Return what varies from sample to sample, samples first.

        Args:
            tree: Of the kind that the layout was read off.

        Returns:
            Path to a tensor (B, ...), or to the list of a per-sample list's tensors under "path[]" (with further
            keys behind it where entries are containers). Of graphs: every tensor in them.
        """
        found: dict[str, Tensor | list[Tensor]] = {}
        for path, value in _parts(tree, self.axes):
            axis = self.axes.get(path, Role.CONSTANT)
            if axis == Role.LIST:
                for entry in value:
                    for inner, leaf in walk(entry, f"{path}[]"):
                        if is_leaf(leaf):
                            found.setdefault(inner, []).append(as_tensor(leaf))  # type: ignore[union-attr]
            elif axis == Role.GRAPHS:
                found.update({inner: as_tensor(leaf) for inner, leaf in walk(value, path) if is_leaf(leaf)})
            elif axis != Role.CONSTANT:
                found[path] = as_tensor(value).movedim(max(axis, 0), 0)
        return found

    def count_in(self, tree: Any) -> int:
        """Return how many samples a tree of the kind that the layout was read off holds."""
        if any(axis in (Role.GRAPH_INDEX, Role.GRAPHS) for axis in self.axes.values()):
            graph = self.graph_index(tree)
            return int(graph.max()) + 1 if graph is not None and len(graph) else 0
        for path, value in _parts(tree, self.axes):
            axis = self.axes.get(path, Role.CONSTANT)
            if axis != Role.CONSTANT:
                return len(value) if axis == Role.LIST else as_tensor(value).shape[max(axis, 0)]
        return 0

    def select(self, tree: Any, indices: Sequence[int] | Tensor) -> Any:
        """Return the tree of some samples.

        Args:
            tree: Of the kind that the layout was read off.
            indices: Which samples, in which order.
        """
        index = torch.as_tensor(indices, dtype=torch.int64).cpu()
        graphs = self._graph_selection(tree, index)

        def at(path: str, value: Any) -> Any:
            axis = self.axes.get(path, Role.CONSTANT)
            if axis == Role.LIST:
                return type(value)([value[i] for i in index.tolist()])
            if axis == Role.GRAPHS:
                return _batch_of(value.index_select(index.tolist()))
            if axis == Role.CONSTANT:
                return value
            if axis < 0:
                return like(graphs(axis, as_tensor(value)), value)
            tensor = as_tensor(value)
            return like(tensor.index_select(axis, index.to(tensor.device)), value)

        return rebuild(tree, at, whole=_whole(self.axes))

    def join(self, trees: Sequence[Any]) -> Any:
        """Return one tree of the samples of several.

        Raises:
            BatchError: Constants, shapes or containers differ.
        """
        parts = [dict(_parts(tree, self.axes)) for tree in trees]
        if not parts or any(list(p) != list(parts[0]) for p in parts):
            raise BatchError("Expected batches of one structure to join but they hold different members.")
        if any(axis in (Role.NODES, Role.EDGE_INDEX, Role.POINTERS) for axis in self.axes.values()):
            return self._join_graphs(trees, parts)

        def at(path: str, value: Any) -> Any:
            return self._join_one(path, value, [p[path] for p in parts])

        return rebuild(trees[0], at, whole=_whole(self.axes))

    def _join_one(self, path: str, value: Any, values: list[Any]) -> Any:
        axis = self.axes.get(path, Role.CONSTANT)
        if axis == Role.CONSTANT:
            if not all(_same(value, other) for other in values[1:]):
                raise BatchError(f"Expected one value of {path or 'the batch'} in all batches to join but it differs.")
            return value
        if axis == Role.LIST:
            return type(value)([entry for entries in values for entry in entries])
        if axis == Role.GRAPHS:
            return _batch_of([graph for batch in values for graph in batch.to_data_list()])
        tensors = [as_tensor(v) for v in values]
        rows_axis = max(axis, 0)
        shapes = {tuple(n for i, n in enumerate(t.shape) if i != rows_axis) for t in tensors}
        kinds = {(t.dtype, t.device, t.dim()) for t in tensors}
        if len(shapes) > 1 or len(kinds) > 1:
            found = ", ".join(sorted({str(tuple(t.shape)) for t in tensors}))
            raise BatchError(f"Expected {path or 'the batch'} of one shape to join batches but got {found}.")
        return like(torch.cat(tensors, dim=rows_axis), value)

    def graph_index(self, tree: Any) -> Tensor | None:
        """Return the graph of each node, (N,), where samples are graphs in one long list of nodes; else None."""
        for path, value in walk(tree):
            if self.axes.get(path) == Role.GRAPH_INDEX:
                return as_tensor(value)
        for path, value in _parts(tree, self.axes):
            if self.axes.get(path) == Role.GRAPHS:
                return value.batch
        return None

    def _graph_selection(self, tree: Any, index: Tensor) -> Any:
        whole = tuple(f"{path}." for path, axis in self.axes.items() if axis == Role.GRAPHS)
        listed = any(axis == Role.GRAPH_INDEX and not path.startswith(whole) for path, axis in self.axes.items())
        graph = self.graph_index(tree) if listed else None
        if graph is None:
            return None
        index = index.to(graph.device)
        nodes = torch.cat([(graph == i).nonzero()[:, 0] for i in index])
        place = torch.full((len(graph),), -1, dtype=torch.int64, device=graph.device)
        place[nodes] = torch.arange(len(nodes), device=graph.device)
        pairs = next((as_tensor(v) for p, v in walk(tree) if self.axes.get(p) == Role.EDGE_INDEX), None)
        edges = None
        if pairs is not None:
            edges = torch.cat([(graph[pairs[0]] == i).nonzero()[:, 0] for i in index])

        def taken(axis: int, value: Tensor) -> Tensor:
            if axis == Role.NODES:
                return value[nodes]
            if axis == Role.EDGES:
                return value[edges]
            if axis == Role.EDGE_INDEX:
                return place[value[:, edges]].to(value.dtype)
            sizes = torch.stack([(graph == i).sum() for i in index])
            if axis == Role.GRAPH_INDEX:
                return torch.arange(len(index), device=graph.device).repeat_interleave(sizes).to(value.dtype)
            return torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).to(value.dtype)

        return taken

    def _join_graphs(self, trees: Sequence[Any], parts: list[dict[str, Any]]) -> Any:
        counts = [torch.as_tensor(len(self.graph_index(tree))) for tree in trees]  # type: ignore[arg-type]
        graphs = [int(self.graph_index(tree).max()) + 1 for tree in trees]  # type: ignore[union-attr]
        nodes_before = torch.stack(counts).cumsum(0) - torch.stack(counts)
        graphs_before = torch.tensor(graphs).cumsum(0) - torch.tensor(graphs)

        def at(path: str, value: Any) -> Any:
            axis = self.axes.get(path, Role.CONSTANT)
            tensors = [as_tensor(p[path]) for p in parts] if axis not in (Role.CONSTANT, Role.LIST, Role.GRAPHS) else []
            if axis == Role.EDGE_INDEX:
                moved = [t + int(n) for t, n in zip(tensors, nodes_before, strict=True)]
                return like(torch.cat(moved, dim=1), value)
            if axis == Role.GRAPH_INDEX:
                return like(torch.cat([t + int(n) for t, n in zip(tensors, graphs_before, strict=True)]), value)
            if axis == Role.POINTERS:
                moved = [t[min(i, 1) :] + int(n) for i, (t, n) in enumerate(zip(tensors, nodes_before, strict=True))]
                return like(torch.cat(moved), value)
            return self._join_one(path, value, [p[path] for p in parts])

        return rebuild(trees[0], at, whole=_whole(self.axes))


def rows(tree: Any, count: int) -> list[RowLayout]:
    """List the ways in which a tree may hold a number of samples, the likeliest first.

    Args:
        tree: A batch, or the arguments of a call.
        count: Number of samples.

    Returns:
        At most 16 layouts; none where nothing has `count` entries. Axis 0 comes before axis 1 (time first), a list of
        `count` entries before tensors that happen to have that many rows in it, rows before constants. Graphs in one
        long list of nodes are found by a batch vector among the values.
    """
    options: dict[str, list[int]] = {}
    _collect(tree, "", count, options, ())
    graph = _graph_axes(tree, count)
    if graph is not None:
        options.update({path: [axis] for path, axis in graph.items() if axis != 0 or path not in options})
    if not options:
        return []
    if any(o == [Role.LIST] for o in options.values()):  # beside a list of samples another one is a list of samples too
        options = {path: [Role.LIST, Role.OPEN] if Role.OPEN in o else o for path, o in options.items()}
    doubtful = [path for path, o in options.items() if len(o) > 1][:MOST_DOUBTS]
    choices = list(product(*(range(len(options[path])) for path in doubtful)))
    choices.sort(key=lambda picks: _unlikeliness(picks, doubtful, options))
    layouts = []
    for picks in choices:
        chosen = {path: o[0] for path, o in options.items()}
        chosen.update({path: options[path][pick] for path, pick in zip(doubtful, picks, strict=True)})
        axes = {
            path: axis
            for path, axis in chosen.items()
            if axis not in (Role.CONSTANT, Role.OPEN) and not _is_inside(path, chosen)
        }
        layout = RowLayout(count, axes)
        if axes and layout not in layouts:
            layouts.append(layout)
    return layouts[:MOST_LAYOUTS]


def _unlikeliness(picks: Iterable[int], doubtful: list[str], options: dict[str, list[int]]) -> tuple[float, ...]:
    """Order of readings: few departures from the likeliest; all tensors time first beside one of them alone."""
    picks = tuple(picks)
    axes = [options[path][pick] for path, pick in zip(doubtful, picks, strict=True)]
    turned = sum(pick for path, pick in zip(doubtful, picks, strict=True) if Role.OPEN in options[path])
    constants = sum(axis == Role.CONSTANT for axis in axes)
    swapped = [axis == 1 and 0 in options[path] for path, axis in zip(doubtful, axes, strict=True)]
    possible = [0 in options[path] and 1 in options[path] for path in doubtful]
    together = bool(swapped) and any(swapped) and swapped == possible
    return (constants * 2 + 1.5 * turned + (1 if together else 1.5 * sum(swapped)) + 0.1 * sum(picks), *picks)


def _is_inside(path: str, chosen: dict[str, int]) -> bool:
    return any(
        axis == Role.LIST and path != other and path.startswith((other + "[", other + ".") if other else "")
        for other, axis in chosen.items()
    )


def _collect(node: Any, path: str, count: int, options: dict[str, list[int]], above: tuple[int, ...]) -> None:
    if is_leaf(node):
        shape = tuple(node.shape)
        axes = [axis for axis in (0, 1) if axis < len(shape) and shape[axis] == count]
        if axes:
            options[path] = [*axes, Role.CONSTANT]
        return
    if is_graph_batch(node):
        if int(node.num_graphs) == count:
            options[path] = [Role.GRAPHS]
        return
    children = None if id(node) in above else open_container(node)
    if children is None:
        return
    if type(node) in (list, tuple) and len(node) == count:
        inside: dict[str, list[int]] = {}
        for child in children:
            _collect(child.value, join_path(path, child), count, inside, (*above, id(node)))
        views = any(0 in axes for axes in inside.values())
        options[path] = [Role.OPEN, Role.LIST] if views else [Role.LIST, Role.OPEN] if inside else [Role.LIST]
        options.update(inside)
        return
    for child in children:
        _collect(child.value, join_path(path, child), count, options, (*above, id(node)))


def _graph_axes(tree: Any, count: int) -> dict[str, int] | None:
    """What each tensor is where samples are graphs in one long list of nodes; None where no batch vector tells."""
    tensors = {path: as_tensor(value) for path, value in walk(tree) if is_leaf(value)}
    vectors = [path for path, t in tensors.items() if _is_graph_index(path, t, count)]
    if not vectors:
        return None
    graph = tensors[vectors[0]]
    nodes = len(graph)
    axes: dict[str, int] = dict.fromkeys(vectors, Role.GRAPH_INDEX)
    pairs = [
        path
        for path, t in tensors.items()
        if t.dim() == 2 and len(t) == 2 and t.dtype == torch.int64 and _is_within(t, nodes) and path not in axes
    ]
    pairs = [path for path in pairs if last_name(path) in EDGE_NAMES] or pairs[:1]
    axes.update(dict.fromkeys(pairs, Role.EDGE_INDEX))
    edges = tensors[pairs[0]].shape[1] if pairs else None
    for path, t in tensors.items():
        if path in axes or not t.dim():
            continue
        if t.dim() == 1 and last_name(path) == "ptr" and len(t) == count + 1:
            axes[path] = Role.POINTERS
        elif len(t) == nodes:
            axes[path] = Role.NODES
        elif len(t) == edges:
            axes[path] = Role.EDGES
        elif len(t) == count:
            axes[path] = 0
    return axes


def _is_graph_index(path: str, t: Tensor, count: int) -> bool:
    if t.dim() != 1 or t.dtype != torch.int64 or len(t) <= count or "batch" not in last_name(path):
        return False
    return bool((t.diff() >= 0).all()) and int(t[0]) == 0 and int(t[-1]) == count - 1


def graph_of_nodes(tree: Any) -> Tensor | None:
    """Return the graph of each node, (N,), where a tree holds graphs in one long list of nodes; else None.

    Args:
        tree: A batch, or the arguments of a call. The batch vector is known by its own name, such as "batch".
    """
    for path, value in walk(tree):
        if is_leaf(value) and "batch" in path and (not path.endswith("]") or path.endswith(("']", '"]'))):
            vector = as_tensor(value)
            if vector.dim() == 1 and len(vector) and _is_graph_index(path, vector, int(vector[-1]) + 1):
                return vector
    return None


def _is_within(t: Tensor, nodes: int) -> bool:
    return t.numel() == 0 or (int(t.min()) >= 0 and int(t.max()) < nodes)


def _parts(tree: Any, axes: dict[str, int]) -> list[tuple[str, Any]]:
    """Values by path, where lists and batches of graphs that hold samples count as one value."""
    return list(walk(tree, whole=_whole(axes)))


def _whole(axes: dict[str, int]) -> set[str]:
    return {path for path, axis in axes.items() if axis in (Role.LIST, Role.GRAPHS)}


def _batch_of(graphs: list[Any]) -> Any:
    return sys.modules["torch_geometric.data"].Batch.from_data_list(graphs)


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if is_leaf(one) and is_leaf(other):
        a, b = as_tensor(one), as_tensor(other)
        same = a.shape == b.shape and a.dtype == b.dtype and a.device == b.device
        return same and bool(((a == b) | ((a != a) & (b != b))).all())  # NaN is the same as NaN
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # an object of a foreign class may compare in any way
        return False
