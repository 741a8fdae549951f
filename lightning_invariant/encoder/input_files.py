"""Arrays and labels from a file: .npy, .npz, .safetensors or .parquet; nothing in it is unpickled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_invariant.artifact.config import MASK, input_names
from lightning_invariant.batch import INPUT_KEYS, LABEL_KEYS
from lightning_invariant.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

ENDINGS = (".npy", ".npz", ".parquet", ".safetensors")
LATENT_KEYS = ("latents", "z", "features", "embeddings")
"""Names of latents in a file with several arrays, in the order in which they are looked for."""
_LABELS = (*LABEL_KEYS, "classes")


def read_inputs(path: Path, count: int = 1, mask: int | None = None) -> tuple[list[Tensor], Tensor | None]:
    """Read inputs, one tensor for each that the network takes, and labels where the file holds them.

    The first input is the array of a usual name (x, inputs, images, ...) or the only one; several are x0, x1, ... A
    mask is the array "mask".
    """
    arrays = read_arrays(path)
    labels = take_labels(arrays, keep=count)
    names = input_names(count, mask)
    if "x" in names:
        others = [key for key in arrays if key != MASK]
        known = next((key for key in INPUT_KEYS if key in arrays), others[0] if len(others) == 1 else "x")
        names[names.index("x")] = known
    if missing := [name for name in names if name not in arrays]:
        wanted = ", ".join(name if name != "x" else " or ".join(INPUT_KEYS) for name in missing)
        raise ArtifactError(f"Expected an array named {wanted} in {path} but got {sorted(arrays)}; rename the inputs.")
    inputs = [arrays[name] for name in names]
    if not all(x.dim() for x in inputs) or len({len(x) for x in inputs}) > 1:
        raise ArtifactError(
            f"Expected inputs of one length in {path} but got shapes {[tuple(x.shape) for x in inputs]}."
        )
    if labels is not None and labels.shape != inputs[0].shape[:1]:
        raise ArtifactError(f"Expected {len(inputs[0])} labels in {path} but got shape {tuple(labels.shape)}.")
    return inputs, labels


def take_labels(arrays: dict[str, Tensor], keep: int = 1) -> Tensor | None:
    """Take the labels out of the arrays of a file, unless so many are needed for something else."""
    return next((arrays.pop(key) for key in _LABELS if key in arrays and len(arrays) > keep), None)


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Read all arrays of a file by their names; that of a .npy file is "x", names of classes become numbers."""
    if not path.is_file():
        raise ArtifactError(f"Expected a folder or a file of inputs but found none at {path}.")
    readers = {".npy": _npy, ".npz": _npz, ".parquet": _parquet, ".safetensors": _safetensors}
    if path.suffix not in readers:
        raise ArtifactError(f"Expected a folder of images or a file ending in {', '.join(ENDINGS)} but got {path}.")
    try:
        return readers[path.suffix](path)
    except ImportError as error:
        raise ArtifactError(f"Expected {error.name} to be installed to read {path}; pip install it.") from error
    except Exception as error:  # readers fail in many ways on damaged files
        reason = str(error)[:300] or type(error).__name__
        raise ArtifactError(f"Expected {path} to be a {path.suffix} file but it cannot be read: {reason}.") from error


def _npy(path: Path) -> dict[str, Tensor]:
    import numpy as np

    # A file that is mapped is read batch by batch; pickled arrays could run code, so they are refused.
    return {"x": _as_tensor(np.load(path, mmap_mode="c", allow_pickle=False))}


def _npz(path: Path) -> dict[str, Tensor]:
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        return {name: _as_tensor(archive[name]) for name in archive.files}


def _as_tensor(value: object) -> Tensor:
    import numpy as np

    values = np.asarray(value)
    if values.dtype.kind in "US":  # names of classes become numbers in sorted order
        return torch.from_numpy(np.unique(values, return_inverse=True)[1].reshape(-1))
    if not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return torch.from_numpy(values)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)


def _parquet(path: Path) -> dict[str, Tensor]:
    import numpy as np
    import pyarrow.parquet as parquet

    table = parquet.read_table(path)
    return {name: _as_tensor(np.asarray(table.column(name).to_pylist())) for name in table.column_names}
