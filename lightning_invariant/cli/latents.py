"""Latents from files that somebody already has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from lightning_invariant.encoder.input_files import LATENT_KEYS, read_arrays, take_labels
from lightning_invariant.errors import ArtifactError, LatentError

if TYPE_CHECKING:
    from torch import Tensor


def load_latents(path: str | Path) -> tuple[Tensor, Tensor | None]:
    """Read latents, and labels where the file holds them.

    Args:
        path: .npz, .safetensors or .parquet with an array named latents, z, features or embeddings (or a single array),
            and labels beside it under any name that `embed` and `verify` know; or .npy with the latents alone.

    Returns:
        Latents (B, ...) in floating point, and labels (B,) or None; class names become numbers in sorted order.

    Raises:
        LatentError: The file cannot be read, holds no latents, or a value is not finite.
    """
    arrays = _arrays(path)
    labels = take_labels(arrays)
    name = next((name for name in LATENT_KEYS if name in arrays), None)
    if name is None and len(arrays) == 1:
        name = next(iter(arrays))
    if name is None:
        raise LatentError(
            f"Expected an array named {', '.join(LATENT_KEYS)} in {path} but got {sorted(arrays)}; rename the latents."
        )
    z = _checked(arrays[name], path)
    return z, None if labels is None else as_labels(labels, len(z))


def load_pairs(path: str | Path) -> tuple[Tensor, Tensor, Tensor]:
    """Read latents, latents of the transformed inputs, and the elements that transformed them.

    Raises:
        LatentError: The file cannot be read, or lacks one of them.
    """
    arrays = _arrays(path)
    name = next((name for name in LATENT_KEYS if name in arrays), None)
    if name is None or not {"transformed", "elements"} <= set(arrays):
        raise LatentError(
            f"Expected latents, transformed and elements in {path} but got {sorted(arrays)}; write the latents of the "
            "inputs, those of the transformed inputs, and the element that transformed each."
        )
    elements = arrays["elements"]
    exact = elements.double() if elements.is_floating_point() else elements.long()
    return _checked(arrays[name], path), _checked(arrays["transformed"], path), exact


def load_labels(path: str | Path, count: int) -> Tensor:
    """Read one label a latent: the only array of a file, or that of a usual name.

    Raises:
        LatentError: The file cannot be read or the number of labels is wrong.
    """
    arrays = _arrays(path)
    found = take_labels(arrays, keep=0)
    if found is None and len(arrays) != 1:
        raise LatentError(f"Expected an array named labels in {path} but got {sorted(arrays)}.")
    return as_labels(next(iter(arrays.values())) if found is None else found, count)


def as_labels(labels: np.ndarray | Tensor, count: int) -> Tensor:
    """Return classes as int64, or float targets.

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


def _arrays(path: str | Path) -> dict[str, Tensor]:
    try:
        return read_arrays(Path(path))
    except ArtifactError as error:
        raise LatentError(str(error)) from error


def _checked(values: Tensor, path: str | Path) -> Tensor:
    if values.is_complex() or values.dtype == torch.bool or values.dim() < 2 or len(values) < 4:
        raise LatentError(
            f"Expected at least 4 latents (B, ...) of real numbers in {path} but got {values.dtype} "
            f"{tuple(values.shape)}."
        )
    z = values.to(torch.float64 if values.dtype == torch.float64 else torch.float32)
    bad = (~z.isfinite().flatten(1).all(dim=1)).nonzero().flatten()
    if len(bad):
        raise LatentError(
            f"Expected finite latents but {len(bad)} rows hold NaN or infinity, row {int(bad[0])} first; drop them."
        )
    return z
