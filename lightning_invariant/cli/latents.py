"""Latents from files that somebody already has."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lightning_invariant.errors import LatentError

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("latents", "z", "features", "embeddings")
"""Under these names latents are looked for in a file with several arrays, in this order."""
LABELS = ("labels", "y", "targets")


def load_latents(path: str | Path) -> tuple[Tensor, Tensor | None]:
    """Read latents, and labels where the file holds them.

    Args:
        path: .npz or .safetensors with an array named latents, z, features or embeddings (or a single array), and
            labels, y or targets beside it; or .npy with the latents alone.

    Returns:
        Latents (B, ...) in floating point, and labels (B,) or None; class names become numbers in sorted order.

    Raises:
        LatentError: The file cannot be read, holds no latents, or a value is not finite.
    """
    arrays = _arrays(Path(path))
    name = next((name for name in NAMES if name in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        raise LatentError(
            f"Expected an array named {', '.join(NAMES)} in {path} but got {sorted(arrays)}; rename the latents."
        )
    labels = next((arrays[label] for label in LABELS if label in arrays and label != name), None)
    z = _checked(arrays[name], path)
    return z, None if labels is None else as_labels(labels, len(z))


def load_labels(path: str | Path, count: int) -> Tensor:
    """Read one label a latent from .npy, or the only or labelled array of .npz and .safetensors.

    Raises:
        LatentError: The file cannot be read or the number of labels is wrong.
    """
    arrays = _arrays(Path(path))
    found = next((arrays[label] for label in LABELS if label in arrays), None)
    if found is None and len(arrays) != 1:
        raise LatentError(f"Expected an array named {', '.join(LABELS)} in {path} but got {sorted(arrays)}.")
    return as_labels(next(iter(arrays.values())) if found is None else found, count)


def as_labels(labels: np.ndarray | Tensor, count: int) -> Tensor:
    """Classes as int64, or float targets.

    Raises:
        LatentError: Not one label a latent, or float targets that are not finite.
    """
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.shape != (count,):
        raise LatentError(f"Expected {count} labels, one a latent, but got shape {values.shape}.")
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise LatentError("Expected finite labels but got NaN or infinity; leave those rows out.")
        return torch.from_numpy(values.astype(np.float32))
    return torch.from_numpy(np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise LatentError(f"Expected a file of latents but found none at {path}.")
    try:
        if path.suffix == ".npz":
            # Pickled arrays could run code, so they are refused.
            with np.load(path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        if path.suffix == ".npy":
            return {"latents": np.load(path, allow_pickle=False)}
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return {k: (v.float() if v.dtype == torch.bfloat16 else v).numpy() for k, v in load_file(path).items()}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise LatentError(f"Expected plain arrays in {path} but reading failed: {error}") from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":
            raise
        raise LatentError(f"Expected a safetensors file at {path} but reading failed: {error}") from error
    raise LatentError(f"Expected a .npz, .npy or .safetensors file but got {path.name!r}.")


def _checked(array: np.ndarray, path: str | Path) -> Tensor:
    if array.dtype.kind not in "fiu" or array.ndim < 2 or len(array) < 4:
        raise LatentError(
            f"Expected at least 4 latents (B, ...) of real numbers in {path} but got {array.dtype} {array.shape}."
        )
    z = torch.from_numpy(array.astype(np.float64 if array.dtype == np.float64 else np.float32))
    bad = (~z.isfinite().flatten(1).all(dim=1)).nonzero().flatten()
    if len(bad):
        raise LatentError(
            f"Expected finite latents but {len(bad)} rows hold NaN or infinity, row {int(bad[0])} first; drop them."
        )
    return z
