"""A set in MNIST's format, small enough to train on in a test: bars of ten lengths and widths, drawn upright."""

import gzip
from pathlib import Path

import torch


def write_idx(path: Path, array: torch.Tensor, *, zipped: bool = True) -> None:
    """Write uint8 numbers as an idx file."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    data = bytes([0, 0, 8, array.dim()]) + sizes + array.to(torch.uint8).numpy().tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)


def write_tiny_mnist(folder: Path, training: int = 240, testing: int = 60) -> Path:
    """Write all four files of a set with ten classes."""
    generator = torch.Generator().manual_seed(0)
    for prefix, count in (("train", training), ("t10k", testing)):
        labels = torch.arange(count) % 10
        images = 30 * torch.rand(count, 28, 28, generator=generator)
        for image, label in zip(images, labels.tolist(), strict=True):
            image[14 - 4 - label % 5 : 14, 10 : 13 + 3 * (label // 5)] += 200
        write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)
    return folder
