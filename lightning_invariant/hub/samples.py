"""What comes in: tensors, arrays, datasets, loaders, folders of images and files, as batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lightning_invariant.batch import find_inputs, find_labels
from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.masks import MASK, mask_of

if TYPE_CHECKING:
    from lightning_invariant.hub.encode import Request
    from lightning_invariant.hub.encoder import InvariantEncoder


class Batch(NamedTuple):
    """One batch: as many inputs as the network takes, labels (B,) and names of files where there are any."""

    inputs: tuple[Tensor, ...]
    labels: Tensor | None
    names: list[str] | None


class Samples:
    """Batches of some data.

    Args:
        batches: An iterable of what loaders give.
        length: Number of samples, if known.
        count: Number of inputs that the network takes.
        raw: Whether inputs are raw images.
        mask: Which of the inputs is a mask, which batches with names hold under "mask".
    """

    def __init__(
        self, batches: Any, length: int | None, count: int, *, raw: bool = False, mask: int | None = None
    ) -> None:
        self.batches, self.length, self.count, self.raw, self.mask = batches, length, count, raw, mask

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield batch if isinstance(batch, Batch) else self._read(batch)

    def _read(self, batch: Any) -> Batch:
        if self.count > 1:
            parts = self._in_order(batch) if isinstance(batch, Mapping) else batch
            inputs = tuple(parts[: self.count]) if isinstance(parts, Sequence) else ()
            rest = parts[self.count :] if isinstance(parts, Sequence) else ()
            labels = next((p for p in rest if isinstance(p, Tensor) and p.dim() == 1), None)
        else:
            found = find_inputs(batch)
            inputs, labels = tuple(x for x in [found] if x is not None), find_labels(batch)
        if len(inputs) != self.count or not all(isinstance(x, Tensor) for x in inputs):
            kind = f"{type(batch).__name__} of {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else batch
            raise ArtifactError(
                f"Expected batches with {self.count} input tensor(s), as a tensor, (x, y) or {{'image': x}}, but got "
                f"{str(kind)[:200]}; give a loader of such batches."
            )
        if labels is not None and len(labels) != next(map(len, inputs)):
            labels = None
        return Batch(inputs, labels, None)

    def _in_order(self, batch: Mapping[str, Any]) -> list[Any]:
        parts = {name: value for name, value in batch.items() if name != MASK or self.mask is None}
        values = list(parts.values())
        return (
            values
            if len(parts) == len(batch) or self.mask is None
            else [*values[: self.mask], batch[MASK], *values[self.mask :]]
        )


def open_samples(data: Any, encoder: InvariantEncoder, request: Request) -> Samples:
    """Batches of whatever the caller has.

    Raises:
        ArtifactError: Data of an unknown kind, a file that cannot be read, or a package for it is not installed.
    """
    count, size, mask = len(encoder.config["inputs"]), request.batch_size, mask_of(encoder.config)
    if isinstance(data, (str, Path)):
        return _open_path(Path(data), encoder, request)
    if isinstance(data, DataLoader):
        return Samples(data, _length(data), count, mask=mask)
    if isinstance(data, Tensor) or _is_array(data):
        x = torch.as_tensor(data)
        return Samples(x.split(size), len(x), count)
    if isinstance(data, tuple) and data and all(isinstance(x, Tensor) or _is_array(x) for x in data):
        columns = [torch.as_tensor(x) for x in data]
        return Samples(zip(*(x.split(size) for x in columns), strict=True), len(columns[0]), count)
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        loader = DataLoader(data, batch_size=size, num_workers=request.num_workers)  # type: ignore[arg-type]
        return Samples(loader, len(data), count, mask=mask)  # type: ignore[arg-type]
    if hasattr(data, "__iter__"):
        return Samples(data, None, count, mask=mask)
    raise ArtifactError(
        f"Expected a tensor, array, dataset, loader or path but got {type(data).__name__}; wrap it in a DataLoader."
    )


def _open_path(path: Path, encoder: InvariantEncoder, request: Request) -> Samples:
    from lightning_invariant.hub.image_folder import ImageFolder, collate
    from lightning_invariant.hub.input_files import read_inputs

    if path.is_dir():
        images = ImageFolder(path, encoder)
        loader = DataLoader(images, request.batch_size, num_workers=request.num_workers, collate_fn=collate)
        return Samples((Batch((x,), None, names) for x, names in loader), len(images), 1, raw=True)
    inputs, labels = read_inputs(path, len(encoder.config["inputs"]), mask_of(encoder.config))
    columns = [x.split(request.batch_size) for x in inputs]
    answers = [None] * len(columns[0]) if labels is None else labels.split(request.batch_size)
    batches = (Batch(tuple(parts), y, None) for *parts, y in zip(*columns, answers, strict=True))
    return Samples(batches, len(inputs[0]), len(inputs))


def _length(loader: DataLoader[Any]) -> int | None:
    if getattr(loader, "drop_last", False):
        return None
    try:
        sampler = loader.sampler
        return len(sampler) if loader.batch_sampler is not None or loader.batch_size is None else None  # type: ignore[arg-type]
    except TypeError:
        return None


def _is_array(data: Any) -> bool:
    return hasattr(data, "__array_interface__")
