"""A set laid out as the cells are, small enough to train on in a test: shapes of four classes in any pose."""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from lightning_invariant.groups import O2
from lightning_invariant.groups.actions import ImageAction


def tiny_cells(count: int, side: int = 16, groups: int = 12) -> dict[str, np.ndarray]:
    """Arrays `images`, `labels` and `groups`: bars, ells, rings and forks in any pose, on their group's brightness."""
    generator = torch.Generator().manual_seed(0)
    shapes = torch.zeros(4, 1, 16, 16)
    shapes[0, :, 7:9, 3:13] = 1
    shapes[1, :, 3:13, 5:7] = shapes[1, :, 11:13, 5:11] = 1
    shapes[2, :, 4:12, 4:12] = 1
    shapes[2, :, 6:10, 6:10] = 0
    shapes[3, :, 7:9, 3:13] = shapes[3, :, 3:9, 7:9] = 1
    labels, group = torch.arange(count) % 4, torch.arange(count) // 4 % groups
    moved = ImageAction(O2()).transform(shapes[labels], O2().sample(count, generator))
    images = 0.2 + 0.03 * group[:, None, None, None] + 0.4 * F.interpolate(moved, (side, side), mode="bilinear")
    images = images + 0.05 * torch.rand(images.shape, generator=generator)
    pixels = (255 * images[:, 0]).clamp(0, 255).to(torch.uint8)
    return {"images": pixels.numpy(), "labels": labels.numpy(), "groups": group.numpy()}


def write_tiny_cells(folder: Path, count: int = 480, **names: str) -> Path:
    """Write the arrays as one .npz file; `groups="patients"` gives one another name."""
    np.savez(folder / "tiny.npz", **{names.get(name, name): array for name, array in tiny_cells(count).items()})
    return folder
