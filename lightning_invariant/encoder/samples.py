"""What comes in: tensors, arrays, images, datasets, loaders, folders and files, as batches."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from lightning_invariant.artifact.config import MASK
from lightning_invariant.batch import INPUT_KEYS, LABEL_KEYS
from lightning_invariant.encoder.images import ENDINGS, Images, collate, image_paths
from lightning_invariant.encoder.input_files import read_inputs
from lightning_invariant.errors import ArtifactError
from lightning_invariant.projections import GraphReadout

if TYPE_CHECKING:
    from lightning_invariant.encoder.encoder import InvariantEncoder


GRAPH_KEYS = ("x", "z", "pos", "edge_index", "edge_attr", "edge_weight", "batch")
"""Attributes of a batch of PyTorch Geometric, in the order in which networks take them."""


class Batch(NamedTuple):
    """One batch: as many inputs as the network takes, labels (B,) and names of files where there are any."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None
    names: list[str] | None


class Columns(NamedTuple):
    """Inputs, one tensor for each that the network takes, and labels."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.inputs[0])


class Samples:
    """Batches of columns, a dataset, images, a loader with its own, or any iterable of what loaders give.

    `single` says whether the caller gave one input alone, without an axis for the batch.
    """

    source: Any

    def __init__(
        self, source: Any, encoder: InvariantEncoder, batch_size: int, num_workers: int, *, single: bool = False
    ) -> None:
        self.graphs, self.specs = isinstance(encoder.projection, GraphReadout), encoder.config["inputs"]
        if self.graphs:
            single, source = False, _batches_of_graphs(source, batch_size, num_workers)
        self.source, self.batch_size, self.num_workers, self.single = source, batch_size, num_workers, single
        self.count, self.mask = len(encoder.config["inputs"]), encoder.config.get(MASK)
        self.raw = isinstance(source, Images)
        self.parts = not self.graphs and (isinstance(source, Columns) or _is_indexed(source))
        self.length: int | None = len(source) if self.parts else None if self.graphs else _length(source)

    def bounds(self, count: int) -> list[tuple[int, int]]:
        """About so many parts, each of whole batches."""
        length, size = self.length or 0, self.batch_size
        step = max(size, -(-length // count // size) * size)
        return [(start, min(start + step, length)) for start in range(0, length, step)]

    def part(self, start: int, end: int) -> Samples:
        """The samples of some rows."""
        part = copy.copy(self)
        if isinstance(self.source, Columns):
            labels = None if self.source.labels is None else self.source.labels[start:end]
            part.source = Columns(tuple(x[start:end] for x in self.source.inputs), labels)
        elif isinstance(self.source, Images):
            part.source = self.source.part(start, end)
        else:
            part.source = Subset(self.source, range(start, end))
        part.length = end - start
        return part

    def __iter__(self) -> Iterator[Batch]:
        source, size = self.source, self.batch_size
        if isinstance(source, Columns):
            columns = [x.split(size) for x in source.inputs]
            labels = [None] * len(columns[0]) if source.labels is None else source.labels.split(size)
            yield from (Batch(tuple(parts), y, None) for *parts, y in zip(*columns, labels, strict=True))
        elif isinstance(source, Images):
            loader = DataLoader(source, size, num_workers=self.num_workers, collate_fn=collate)
            yield from (Batch((x,), None, names) for x, names in loader)
        else:
            if self.parts or (isinstance(source, Dataset) and not self.graphs):
                source = DataLoader(source, batch_size=size, num_workers=self.num_workers)
            batches: Any = source
            yield from map(self._read, batches)

    def _read(self, batch: Any) -> Batch:
        inputs: tuple[Any, ...]
        if self.graphs:
            graph = _tensors_of(batch, self.specs)
            labels = getattr(batch, "y", None)
            return Batch(graph, labels if isinstance(labels, Tensor) and labels.dim() == 1 else None, None)
        if self.count > 1:
            parts = self._in_order(batch) if isinstance(batch, Mapping) else batch
            inputs = tuple(parts[: self.count]) if isinstance(parts, Sequence) else ()
            rest = list(parts[self.count :]) if isinstance(parts, Sequence) else []
        elif isinstance(batch, Mapping):
            inputs = tuple(batch[key] for key in INPUT_KEYS if batch.get(key) is not None)[:1]
            rest = [batch[key] for key in LABEL_KEYS if batch.get(key) is not None]
        elif isinstance(batch, Sequence) and len(batch):
            inputs, rest = (_first_view(batch[0]),), list(batch[1:])
        else:
            inputs, rest = (batch,), []
        if len(inputs) != self.count or not all(isinstance(x, Tensor) for x in inputs):
            kind = f"{type(batch).__name__} of {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else batch
            raise ArtifactError(
                f"Expected batches with {self.count} input tensor(s), as a tensor, (x, y) or {{'image': x}}, but got "
                f"{str(kind)[:200]}; give a loader of such batches."
            )
        labels = next((y for y in rest if isinstance(y, Tensor) and y.dim() == 1 and len(y) == len(inputs[0])), None)
        return Batch(inputs, labels, None)

    def _in_order(self, batch: Mapping[str, Any]) -> list[Any]:
        values = [value for name, value in batch.items() if name != MASK or self.mask is None]
        if self.mask is not None and MASK in batch:
            values.insert(self.mask, batch[MASK])
        return values


def open_samples(data: Any, encoder: InvariantEncoder, batch_size: int, num_workers: int = 0) -> Samples:
    """Read whatever the caller has."""
    single = False
    if isinstance(encoder.projection, GraphReadout) and not isinstance(data, (str, Path)):
        source = data
    elif isinstance(data, (str, Path)):
        source, single = _open_path(Path(data), encoder)
    elif _is_image(data):
        source, single = Images([data], encoder), True
    elif isinstance(data, (list, tuple)) and data and all(map(_is_image, data)):
        source = Images(list(data), encoder)
    elif isinstance(data, Tensor) or _is_array(data):
        source, single = _columns((data,), encoder)
    elif isinstance(data, tuple) and data and all(isinstance(x, Tensor) or _is_array(x) for x in data):
        source, single = _columns(data, encoder)
    elif isinstance(data, (DataLoader, Dataset)) or hasattr(data, "__iter__") or _is_indexed(data):
        source = data
    else:
        raise ArtifactError(
            f"Expected a tensor, array, image, dataset, loader or path but got {type(data).__name__}; wrap it in a "
            "DataLoader."
        )
    return Samples(source, encoder, batch_size, num_workers, single=single)


def _open_path(path: Path, encoder: InvariantEncoder) -> tuple[Any, bool]:
    if path.is_dir():
        images = Images((), encoder, path)
        images.images = image_paths(path)
        return images, False
    if path.suffix.lower() in ENDINGS:
        return Images([path], encoder), True
    inputs, labels = read_inputs(path, len(encoder.config["inputs"]), encoder.config.get(MASK))
    return Columns(tuple(inputs), labels), False


def _columns(data: tuple[Any, ...], encoder: InvariantEncoder) -> tuple[Columns, bool]:
    """Columns, and whether they are one input without an axis of the batch."""
    columns = tuple(torch.as_tensor(x) for x in data)
    ranks = [len(spec["shape"]) for spec in encoder.config["inputs"]]
    if len(columns) == len(ranks) and all(x.dim() == rank - 1 for x, rank in zip(columns, ranks, strict=True)):
        return Columns(tuple(x[None] for x in columns)), True
    return Columns(columns), False


def _batches_of_graphs(data: Any, batch_size: int, num_workers: int) -> Any:
    """Return batches of graphs: a loader as it is, one batch alone, and a data set of single graphs in batches."""
    if isinstance(data, Columns):
        return [data.inputs]
    if isinstance(data, tuple) or getattr(data, "batch", None) is not None:
        return [data]
    if hasattr(data, "__getitem__") and len(data) and hasattr(data[0], "edge_index"):
        from torch_geometric.loader import DataLoader as GraphLoader  # pyright: ignore[reportMissingImports]

        return GraphLoader(data, batch_size, num_workers=num_workers)
    return data


def _tensors_of(batch: Any, specs: Sequence[Mapping[str, Any]]) -> tuple[Tensor, ...]:
    """Return the tensors that the network takes, by type and shape, from a tuple or a batch of PyTorch Geometric."""
    if isinstance(batch, (tuple, list)) and len(batch) == len(specs) and all(isinstance(x, Tensor) for x in batch):
        return tuple(batch)
    left = {name: getattr(batch, name, None) for name in GRAPH_KEYS}
    found = []
    for spec in specs:
        if spec is specs[-1]:
            left = {"batch": left["batch"]}
        name = next((name for name, x in left.items() if _fits(x, spec)), None)
        if name is None:
            raise ArtifactError(
                f"Expected batches of graphs that hold {spec} but got {str(batch)[:200]}; give tuples of the "
                f"{len(specs)} tensors that the network takes, the graph of each node last."
            )
        found.append(left.pop(name))
    return tuple(found)


def _fits(x: Any, spec: Mapping[str, Any]) -> bool:
    if not isinstance(x, Tensor) or x.is_floating_point() != spec["dtype"].startswith("float"):
        return False
    sizes = zip(x.shape, spec["shape"], strict=False)
    return x.dim() == len(spec["shape"]) and all(size == want for size, want in sizes if isinstance(want, int))


def _first_view(inputs: Any) -> Any:
    """The first of several views of the same samples, as in contrastive learning."""
    return inputs[0] if isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], Tensor) else inputs


def _is_indexed(data: Any) -> bool:
    listed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return listed and not isinstance(data, (Mapping, DataLoader, Columns))


def _is_image(data: Any) -> bool:
    return hasattr(data, "tobytes") and hasattr(data, "convert") and hasattr(data, "getbands")


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array_interface__") and not _is_image(data)


def _length(source: Any) -> int | None:
    if not isinstance(source, DataLoader) or getattr(source, "drop_last", False):
        return None
    try:
        sampled = source.batch_sampler is not None or source.batch_size is None
        return len(source.sampler) if sampled else None  # type: ignore[arg-type]
    except TypeError:
        return None
