"""Inputs and labels from a file: .npy, .npz, .safetensors or .parquet; nothing in it is unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.batch import INPUT_KEYS, LABEL_KEYS
from lightning_invariant.errors import ArtifactError
from lightning_invariant.hub.masks import MASK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENDINGS = (".npy", ".npz", ".parquet", ".safetensors")


def read_inputs(path: Path, count: int = 1, mask: int | None = None) -> tuple[list[Tensor], Tensor | None]:
    """Inputs, one tensor for each that the network takes, and labels where the file holds them.

    The first input is the array of a usual name (x, inputs, images, ...) or the only one; several are x0, x1, ... A
    mask is the array "mask".

    Args:
        path: Of the file.
        count: How many inputs the network takes.
        mask: Which of them is a mask; None if none is.

    Raises:
        ArtifactError: The file cannot be read, or holds no such arrays.
    """
    arrays = _arrays(path)
    labels = next((arrays.pop(key) for key in (*LABEL_KEYS, "classes") if key in arrays and len(arrays) > count), None)
    names = _names(arrays, count if mask is None else count - 1)
    if mask is not None:
        names.insert(mask, MASK)
    if missing := [name for name in names if name not in arrays]:
        wanted = ", ".join(name if name != "None" else " or ".join(INPUT_KEYS) for name in missing)
        raise ArtifactError(f"Expected an array named {wanted} in {path} but got {sorted(arrays)}; rename the inputs.")
    inputs = [arrays[name] for name in names]
    if len({len(x) for x in inputs}) > 1 or not inputs[0].dim():
        raise ArtifactError(f"Expected inputs of one length in {path} but got {[tuple(x.shape) for x in inputs]}.")
    if labels is not None and labels.shape != inputs[0].shape[:1]:
        raise ArtifactError(f"Expected {len(inputs[0])} labels in {path} but got shape {tuple(labels.shape)}.")
    return inputs, labels


def _names(arrays: Mapping[str, Tensor], count: int) -> list[str]:
    if count > 1:
        return [f"x{i}" for i in range(count)]
    name = next((key for key in INPUT_KEYS if key in arrays), None)
    others = [key for key in arrays if key != MASK]
    return [others[0]] if name is None and len(others) == 1 else [str(name)]


def _arrays(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ArtifactError(f"Expected a folder or a file of inputs but found none at {path}.")
    readers = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise ArtifactError(f"Expected a folder of images or a file ending in {', '.join(ENDINGS)} but got {path}.")
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise ArtifactError(f"Expected {error.name} to be installed to read {path}; pip install it.") from error
    except ArtifactError:
        raise
    except Exception as error:  # readers fail in many ways on damaged files
        raise ArtifactError(f"Expected {path} to be a {path.suffix} file but it cannot be read: {error}.") from error


def _npy(path: Path) -> dict[str, Tensor]:
    import numpy as np

    # A file that is mapped is read batch by batch; pickled arrays could run code, so they are refused.
    return {"x": torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))}


def _npz(path: Path) -> dict[str, Tensor]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return {name: _as_tensor(value) for name, value in arrays.items()}


def _as_tensor(value: object) -> Tensor:
    import numpy as np

    values = np.asarray(value)
    if values.dtype.kind in "US":  # names of classes become numbers in sorted order
        return torch.from_numpy(np.unique(values, return_inverse=True)[1].reshape(-1))
    return torch.from_numpy(values)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)


def _parquet(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    columns = {}
    for name in table.column_names:
        values = table.column(name).to_pylist()
        columns[name] = _as_tensor(np.asarray(values))
    return columns
